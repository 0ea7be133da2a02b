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
from jaxpsn.lm import apart
from jaxpsn.noise.holds import turns
from jaxpsn.noise.lazy import units
from jaxpsn.noise.structures import sizes

Function = Callable[[Any, Any], Any]
TURNS = 0x5455524E
"""Folded into the key of draws: when they are redrawn."""


class _Held:
    """Weights that stay as they are for whole answers."""

    def at(self, token: Any) -> Any:
        """The policy that draws token number ``token`` of each answer: this one."""
        return self

    def over(self, tokens: int) -> Any:
        """The policy for answers of so many tokens: this one."""
        return self

    def apart(self) -> Any:
        """The same policy with its layers side by side (``lm.apart``), None where it cannot be taken apart."""
        return None


def _repeated(x: Any, members: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (members, *leaf.shape)), x)


@struct.dataclass
class Clean(_Held):
    """``count`` members that all have the clean weights."""

    params: Any
    count: int = struct.field(pytree_node=False, default=1)

    @property
    def members(self) -> int:
        """Number of members."""
        return self.count

    def apart(self) -> "Clean":
        """The same policy with its layers side by side."""
        return self.replace(params=apart.weights(self.params))

    def apply(self, fn: Function, x: Any) -> Any:
        """``fn(params, x[m])`` for every member."""
        return jax.vmap(fn, (None, 0))(self.params, x)

    def shared(self, fn: Function, x: Any) -> Any:
        """``fn(params, x)``, computed once and repeated."""
        return _repeated(fn(self.params, x), self.count)


@struct.dataclass
class Fused(_Held):
    """Member m has ``W + sigma E_m``: the matrix products with W are shared, no perturbed matrix is formed.

    ``draw`` comes from ``kind.init(key, spec, members)``, where ``spec`` was planned on a pass without a cache; the
    structure and ``sigma`` are those of ``noise.fused``.
    """

    params: Any
    draw: Any  # noise.Draw
    sigma: Any  # f32[] or f32[members], or path -> either; None: the noise of the draw has its size (placed)
    rms: Any = None  # of the weights, as noise.lazy.units gives it; None: to be taken anew at every pass

    @property
    def members(self) -> int:
        """Number of members."""
        return self.draw.members

    def over(self, tokens: int) -> "Fused":
        """The policy for answers of so many tokens: where weights are narrower than float32, with its noise placed."""
        dtypes = {leaf.dtype for leaf in jax.tree.leaves(self.params) if jnp.issubdtype(leaf.dtype, jnp.floating)}
        if len(dtypes) > 1 or self.sigma is None or jnp.finfo(dtype := dtypes.pop()).bits >= 32:
            return self
        rms = units(self.params, self.draw.spec) if self.rms is None else self.rms
        placed = self.draw.kind.placed(self.draw, sizes(self.draw, self.sigma, rms), dtype)
        return self if placed is None else self.replace(draw=placed, sigma=None)

    def apart(self) -> "Fused | None":
        """The same policy with its layers side by side, None for noise that some layers share."""
        if not apart.fits(self.draw):
            return None
        layers = apart.count(self.params)
        rms = None if self.rms is None else apart.by_leaf(self.rms, layers, 0)
        sigma = apart.by_leaf(self.sigma, layers) if isinstance(self.sigma, dict) else self.sigma
        return Fused(apart.weights(self.params), apart.drawn(self.draw, layers), sigma, rms)

    def apply(self, fn: Function, x: Any) -> Any:
        """``fn(W + sigma E_m, x[m])`` for every member."""
        act = noise.fused(fn, self.draw.spec, self.draw.kind, exact_zero=False)
        return act(self.params, self.draw, self.sigma, x, self.rms)

    def shared(self, fn: Function, x: Any) -> Any:
        """``fn(W + sigma E_m, x)`` for every member."""
        return self.apply(fn, _repeated(x, self.members))


@struct.dataclass
class Stacked(_Held):
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
class Single(_Held):
    """One member with one copy of the weights (the paper's dense noise: one draw for a whole step)."""

    params: Any

    @property
    def members(self) -> int:
        """One."""
        return 1

    def apart(self) -> "Single":
        """The same policy with its layers side by side."""
        return Single(apart.weights(self.params))

    def apply(self, fn: Function, x: Any) -> Any:
        """``fn(params, x[0])``, with the member axis put back."""
        for leaf in jax.tree.leaves(x):
            if leaf.shape[:1] != (1,):
                refuse("x", leaf.shape, "a leading axis of one member")
        return self.shared(fn, jax.tree.map(lambda leaf: leaf[0], x))

    def shared(self, fn: Function, x: Any) -> Any:
        """``fn(params, x)``, with a member axis of one."""
        return _repeated(fn(self.params, x), 1)


def perturbed(params: Any, draw: noise.Draw, sigma: Any, rms: Any = None) -> "Fused | Stacked | Single":
    """All members of a draw as one policy; ``sigma`` is a scalar or ``[members]``; ``rms`` where it is known already.

    Dense noise is added to whole copies of the weights, one for each member (the paper's form); the others never form
    a perturbed matrix.
    """
    kind, members = draw.kind, draw.members
    if not isinstance(kind, noise.Dense):
        return Fused(params, draw, sigma, units(params, draw.spec) if rms is None else rms)
    if members == 1:
        return Single(kind.materialise(params, draw, sigma, 0))
    sigmas = jnp.broadcast_to(jnp.asarray(sigma, jnp.float32), (members,))
    form = jax.vmap(lambda member: kind.materialise(params, draw, sigmas, member))
    return Stacked(form(jnp.arange(members)))


@struct.dataclass
class Redrawn:
    """Members whose noise is redrawn within an answer, by a hold rule of which a token is a decision.

    A draw is a function of (key, member, token). The first of an answer is ``draw``, which reads the prompt too. What
    a pass wrote into the cache stays as it was: token t sees earlier positions as the noise of their time left them. It
    has no weights of its own for a whole text: ``at(token)`` has, once ``over`` has said how many tokens there are.
    """

    params: Any
    draw: Any  # noise.Draw
    sigma: Any  # f32[] or f32[members]
    key: Any  # typed: that of the draw
    hold: Any = struct.field(pytree_node=False)  # a HoldRule
    rms: Any = None  # of the weights, as for Fused
    turns: Any = None  # u32[tokens, members, ...]: redraws before each token

    @property
    def members(self) -> int:
        """Number of members."""
        return self.draw.members

    def over(self, tokens: int) -> "Redrawn":
        """The policy for answers of so many tokens at most."""
        key = jax.random.fold_in(self.key, TURNS)
        return self.replace(turns=turns(self.hold.build(), key, self.draw.number, tokens + 1))

    def apart(self) -> None:
        """None: each token would take its new noise apart."""

    def at(self, token: Any) -> "Fused | Stacked | Single":
        """The policy that draws token number ``token`` of each answer."""
        counter = self.draw.counter + self.turns[token]
        return perturbed(self.params, self.draw.kind.again(self.key, self.draw, counter), self.sigma, self.rms)


Policy = Clean | Fused | Stacked | Single | Redrawn
