"""Flax NNX modules as the ``(apply, params)`` pair that the rest of the room works on."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx


def nnx_policy(module: nnx.Module) -> tuple[Callable[..., Any], dict[str, Any]]:
    """``module`` as ``apply(params, *inputs)`` and its ``nnx.Param`` values as nested dicts.

    Everything else the module holds (statistics, random streams) is kept as it is now; what a call writes
    to it is dropped.
    """
    graph, template, rest = nnx.split(module, nnx.Param, ...)

    def apply(params: dict[str, Any], *inputs: Any) -> Any:
        # Fresh variables: the template must never hold the tracers of a call.
        state = jax.tree.map(lambda value: value, template)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state, rest)(*inputs)

    return apply, nnx.to_pure_dict(template)
