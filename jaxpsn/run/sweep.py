"""Hyper-parameter sweeps: runs side by side that differ in a traced hyper-parameter, as if in a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxpsn.core import errors
from jaxpsn.run.program import Metrics, Program, State, since


@dataclass(frozen=True, eq=False)
class Swept:
    """A program whose runs have hyper-parameters of their own; see :class:`jaxpsn.run.program.Program`."""

    program: Program
    hyper: Any
    """Every leaf has a leading axis of runs."""

    @property
    def steps_per_call(self) -> int:
        """Environment steps of one call of ``step``."""
        return self.program.steps_per_call

    @property
    def place(self) -> Any:
        """Where its arrays lie, if the program says so."""
        return getattr(self.program, "place", None)

    @property
    def lower(self) -> Any:
        """Which fields make it smaller, if the program says so."""
        return getattr(self.program, "lower", {})

    def passing(self, state: State) -> Any:
        """What a run holds beside its state, if the program says so."""
        return getattr(self.program, "passing", lambda _: {})(state)

    def since(self, clock: int, hyper: Any = None) -> "Swept":
        """The same for calls from ``clock`` on."""
        program = since(self.program, clock, self.hyper)
        return self if program is self.program else replace(self, program=program)

    @property
    def starts(self) -> Any:
        """What makes start states, if the program has it."""
        return getattr(self.program, "starts", None)

    def init(self, key: PRNGKeyArray, hyper: Any, *starts: Any) -> State:
        """The state of one run; ``hyper`` is its own, without the axis of runs."""
        return self.program.init(key, hyper, *starts)

    @property
    def ahead(self) -> Any:
        """What makes the draws of calls ahead of them, if the program has it."""
        return getattr(self.program, "ahead", None)

    def step(self, state: State, *drawn: Any) -> tuple[State, Metrics]:
        """One call of one run."""
        return self.program.step(state, *drawn)

    def evaluate(self, key: PRNGKeyArray, state: State, *starts: Any) -> Metrics:
        """Judge one run."""
        return self.program.evaluate(key, state, *starts)

    def watch(self, state: State, metrics: Metrics) -> dict[str, Any]:
        """What must stay finite."""
        return self.program.watch(state, metrics)

    def axes(self, state: State) -> Any:
        """Axes of ``jax.vmap`` over runs."""
        return self.program.axes(state)


def over(program: Program, name: str, values: Sequence[float], seeds: int) -> Swept:
    """``program`` with ``seeds`` runs for each of ``values`` of the hyper-parameter ``name``, its path.

    Run i has ``values[i // seeds]``, all else as in ``program.hyper``; it is started with a RunConfig of
    ``len(values) * seeds`` seeds, so run i has a seed of its own too. Raises UserError for a name that is no leaf of
    the program's hyper-parameters, and where there is only one run.
    """
    name = named(program.hyper, name, "sweep")
    runs = len(values) * seeds
    if runs < 2:
        errors.refuse("sweep", f"{len(values)} values of {seeds} seeds", "at least two runs")
    hyper = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (runs, *leaf.shape)), program.hyper)
    return Swept(program, hyper | {name: jnp.repeat(jnp.asarray(values, jnp.float32), seeds)})


def named(hyper: Mapping[str, Any], name: str, where: str) -> str:
    """The whole path of a hyper-parameter: ``name`` itself, or the only one that ends with it. Raises UserError."""
    found = [name] if name in hyper else [path for path in hyper if path.endswith(f".{name}")]
    if len(found) != 1:
        allowed = f"a whole path: {', '.join(found)}" if found else errors.nearest(name, hyper)
        errors.refuse(where, name, allowed)
    return found[0]


def first(hyper: Any) -> Any:
    """The hyper-parameters of the first run."""
    return jax.tree.map(lambda leaf: leaf[0], hyper)
