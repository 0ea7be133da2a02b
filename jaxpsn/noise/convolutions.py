"""The clean computation inside a branch, summed as it is outside of one."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from jaxpsn.noise.interpret import bind, results, walk

_CALLS = ("jit", "pjit", "closed_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call")
_BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def as_outside(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, to be called in a branch of ``lax.cond``, with the bits that it has outside of one.

    On a CPU, XLA brings convolutions into the order (batch, space, channels) where it can, but not in branches, where
    those of other orders are summed otherwise. Here they are brought into that order beforehand. Without derivatives.
    """

    def run(*args: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        if not _convolves(closed.jaxpr):
            return function(*args)
        values = [lax.stop_gradient(leaf) for leaf in jax.tree.leaves(args)]
        return jax.tree.unflatten(jax.tree.structure(shapes), walk(closed, values, _step))

    return run


def _body(eqn: Any) -> Any:
    """The program that a call runs, None for other equations."""
    found = [eqn.params[name] for name in _BODIES if name in eqn.params]
    return found[0] if found and eqn.primitive.name in _CALLS else None


def _convolves(jaxpr: Any) -> bool:
    bodies = [_body(eqn) for eqn in jaxpr.eqns]
    if any(eqn.primitive.name == "conv_general_dilated" for eqn in jaxpr.eqns):
        return True
    return any(_convolves(getattr(body, "jaxpr", body)) for body in bodies if body is not None)


def _step(eqn: Any, values: list[Any]) -> list[Any]:
    if eqn.primitive.name == "conv_general_dilated":
        return [_convolve(eqn, *values)]
    body = _body(eqn)
    if body is not None and _convolves(getattr(body, "jaxpr", body)):
        return walk(body, values, _step)
    return results(eqn, values)


def _convolve(eqn: Any, x: Any, kernel: Any) -> Any:
    """The convolution in the order (batch, space, channels), its kernel as (space, in, out)."""
    lhs, rhs, out = eqn.params["dimension_numbers"]  # (batch, channels, *space), (out, in, *space), as the first
    ends, space = x.ndim - 1, tuple(range(1, x.ndim - 1))
    inner = (ends, ends - 1, *range(ends - 1))
    numbers = lax.ConvDimensionNumbers((0, ends, *space), inner, (0, ends, *space))
    x, kernel = x.transpose((lhs[0], *lhs[2:], lhs[1])), kernel.transpose((*rhs[2:], rhs[1], rhs[0]))
    y = bind(eqn, x, kernel, dimension_numbers=numbers)
    order = (out[0], *out[2:], out[1])
    return y.transpose([order.index(axis) for axis in range(y.ndim)])
