"""How long a perturbation is held: per episode, for a number of steps, or for a random, heavy-tailed time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from jaxpsn.core import checks
from jaxpsn.noise.inputs import mask


class Hold(NamedTuple):
    """A hold rule: ``init(key, members) -> state`` and ``step(key, state, done) -> (state, where)``.

    ``step`` is called once after every decision; ``done[members]`` are the members whose episode has just ended
    (booleans, or floats of 0 and 1) and ``where[members]`` those that must redraw now. A ``done`` always redraws and
    starts a new hold. ``key`` must be another one at every call; member i's lengths do not depend on the others.
    """

    init: Callable[[Any, int], Any]
    step: Callable[[Any, Any, Any], tuple[Any, Any]]


@struct.dataclass
class HoldState:
    """Decisions for which each member's present perturbation is still to be held; None if only episodes count."""

    remaining: Any  # [members] int32, or None


def per_episode() -> Hold:
    """A perturbation is held for its whole episode (Plappert et al. 2018, section 3)."""
    return Hold(lambda key, members: HoldState(None), lambda key, state, done: (state, mask("done", done)))


def every(n: int) -> Hold:
    """A perturbation is held for ``n`` decisions, or to the end of the episode if that comes first."""
    checks.whole("n", n, 1, 1 << 30)
    return _counted(lambda key, members: jnp.full((members,), n, jnp.int32))


def zeta(exponent: float = 2.0, maximum: int = 1000) -> Hold:
    """A perturbation is held for a random number of decisions, P(n) proportional to ``n ** -exponent``, n <= maximum.

    Source: temporally extended epsilon-greedy, Dabney et al. 2021 (arXiv 2006.01782), there for repeated actions.
    """
    checks.real("exponent", exponent, 0.0, open_low=True)
    checks.whole("maximum", maximum, 1, 1 << 20)
    mass = np.arange(1, maximum + 1, dtype=np.float64) ** -exponent
    # Lengths 1 .. maximum by inverse CDF: the last edge (1) is left out, so that no rounding leads beyond the maximum.
    edges = (np.cumsum(mass) / np.sum(mass))[:-1].astype(np.float32)

    def draw(key: PRNGKeyArray, members: int) -> Int[Array, " members"]:
        chance = jax.random.uniform(key, (members,), jnp.float32)
        return 1 + jnp.searchsorted(jnp.asarray(edges), chance, side="right").astype(jnp.int32)

    return _counted(draw)


def _counted(draw: Callable[[Any, int], Any]) -> Hold:
    """A rule that counts down from the lengths that ``draw(key, members)`` gives."""

    def start(key: PRNGKeyArray, members: int) -> HoldState:
        checks.whole("members", members, 1)
        return HoldState(draw(key, members))

    def step(key: PRNGKeyArray, state: HoldState, done: Any) -> tuple[HoldState, Bool[Array, " members"]]:
        remaining = state.remaining - 1
        where = mask("done", done, remaining) | (remaining <= 0)
        return HoldState(jnp.where(where, draw(key, where.shape[0]), remaining)), where

    return Hold(start, step)
