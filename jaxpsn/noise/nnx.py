"""Flax NNX modules as the ``(apply, params)`` pair that the rest of the room works on."""

from collections.abc import Callable
from typing import Any

import jax

from jaxpsn.noise import inputs


def nnx_policy(module: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """``module`` as ``apply(params, *inputs)`` and its ``nnx.Param`` values as nested dicts.

    Everything else the module holds (statistics, counters, random streams) is kept as it is now; what a call writes
    to it is dropped, so that every call starts from the same. Dropout that is switched on hence drops the same units
    at every call and for every member: call ``module.eval()`` before, or hand a key of each member over as an input.
    """
    from flax import nnx  # late: whoever has no NNX module does not wait for it

    inputs.of_type("module", module, nnx.Module, "an instance of flax.nnx.Module")
    graph, template, rest = nnx.split(module, nnx.Param, ...)
    # Variables are references: the module's own may change later, and the copies must never hold a call's tracers.
    template, rest = _copied(template), _copied(rest)

    def apply(params: dict[str, Any], *given: Any) -> Any:
        state = _copied(template)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state, _copied(rest))(*given)

    return apply, nnx.to_pure_dict(template)


def _copied(state: Any) -> Any:
    """A state of fresh variables, which belong to whoever makes them."""
    return jax.tree.map(lambda value: value, state)
