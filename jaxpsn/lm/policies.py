"""Policies: whose weights a function runs with, for each of M members at once.

``policy.apply(fn, x)`` is ``fn(weights of member m, x[m])`` for every member: leaves of ``x`` and of the result are
``[members, ...]``. ``policy.shared(fn, x)`` gives every member the same ``x`` (no member axis).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxpsn import noise
from jaxpsn.core.errors import refuse

Function = Callable[[Any, Any], Any]


def _repeated(x: Any, members: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (members, *leaf.shape)), x)


@struct.dataclass
class Clean:
    """``count`` members that all have the clean weights."""

    params: Any
    count: int = struct.field(pytree_node=False, default=1)

    @property
    def members(self) -> int:
        """Number of members."""
        return self.count

    def apply(self, fn: Function, x: Any) -> Any:
        """``fn(params, x[m])`` for every member."""
        return jax.vmap(fn, (None, 0))(self.params, x)

    def shared(self, fn: Function, x: Any) -> Any:
        """``fn(params, x)``, computed once and repeated."""
        return _repeated(fn(self.params, x), self.count)


@struct.dataclass
class Fused:
    """Member m has ``W + sigma E_m``: the matrix products with W are shared, no perturbed matrix is formed.

    ``draw`` comes from ``kind.init(key, spec, members)``, where ``spec`` was planned on a pass without a cache; the
    structure and ``sigma`` are those of ``noise.fused``.
    """

    params: Any
    draw: Any  # noise.Draw
    sigma: Any  # f32[] or f32[members], or path -> either

    @property
    def members(self) -> int:
        """Number of members."""
        return self.draw.members

    def apply(self, fn: Function, x: Any) -> Any:
        """``fn(W + sigma E_m, x[m])`` for every member."""
        act = noise.fused(fn, self.draw.spec, self.draw.kind, exact_zero=False)
        return act(self.params, self.draw, self.sigma, x)

    def shared(self, fn: Function, x: Any) -> Any:
        """``fn(W + sigma E_m, x)`` for every member."""
        return self.apply(fn, _repeated(x, self.members))


@struct.dataclass
class Stacked:
    """Member m has its own whole copy of the weights: leaves of ``copies`` are ``[members, ...]``."""

    copies: Any

    @property
    def members(self) -> int:
        """Number of members."""
        return jax.tree.leaves(self.copies)[0].shape[0]

    def apply(self, fn: Function, x: Any) -> Any:
        """``fn(copies[m], x[m])`` for every member."""
        return jax.vmap(fn)(self.copies, x)

    def shared(self, fn: Function, x: Any) -> Any:
        """``fn(copies[m], x)`` for every member."""
        return jax.vmap(fn, (0, None))(self.copies, x)


@struct.dataclass
class Single:
    """One member with one copy of the weights (the paper's dense noise: one draw for a whole step)."""

    params: Any

    @property
    def members(self) -> int:
        """One."""
        return 1

    def apply(self, fn: Function, x: Any) -> Any:
        """``fn(params, x[0])``, with the member axis put back."""
        for leaf in jax.tree.leaves(x):
            if leaf.shape[:1] != (1,):
                refuse("x", leaf.shape, "a leading axis of one member")
        return self.shared(fn, jax.tree.map(lambda leaf: leaf[0], x))

    def shared(self, fn: Function, x: Any) -> Any:
        """``fn(params, x)``, with a member axis of one."""
        return _repeated(fn(self.params, x), 1)


Policy = Clean | Fused | Stacked | Single
