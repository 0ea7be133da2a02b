"""The interface of a bonus: pure functions over one explicit state. ``hyper``: its traced fields, path -> float32."""

from collections.abc import Callable
from typing import Any, NamedTuple


class BonusFunctions(NamedTuple):
    """A bonus as the control loop sees it. N environments, observations of size O as the environment gives them."""

    init: Callable[..., Any]
    """``init(key, hyper) -> state``"""
    observe: Callable[..., tuple[Any, Any, dict[str, Any]]]
    """``observe(key, state, row[N]) -> (state, row, metrics)``: once after every vector step, what it brought (a
    Transition, or a row of a rollout); the row that is returned is what is stored."""
    reward: Callable[..., Any] | None = None
    """``reward(state, reached[..., O]) -> [...]``: what reaching these observations is worth now; asked for whenever
    transitions are sampled. None: nothing is paid apart, and there are no critics for it."""
    gamma: float = 0.0
    """Discount of what is paid."""
    learn: Callable[..., tuple[Any, dict[str, Any]]] | None = None
    """``learn(key, state, reached[N, O]) -> (state, metrics)``: from observations that are new, once each: with replay
    those of a vector step; without it those of a rollout, in minibatches, after agents have learnt what it paid."""
