"""How long a perturbation is held: per episode, for a number of steps, for a random time, or not at all: it drifts."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Int, PRNGKeyArray, UInt32

from jaxpsn.core import checks
from jaxpsn.core.compat import anywhere
from jaxpsn.noise.draws import Draw
from jaxpsn.noise.drifting import drifted
from jaxpsn.noise.inputs import mask
from jaxpsn.noise.structures import Structure


def redrawn(kind: Structure, key: PRNGKeyArray, draw: Draw, where: Any) -> Draw:
    """``draw`` with new perturbations of the members in ``where``, in a branch that is skipped where there are none."""

    def every(old: Draw) -> Draw:
        return kind.redraw(key, old, where)

    def some(old: Draw) -> Draw:
        return lax.cond(anywhere(where), every, lambda old: old, old)

    # Elsewhere than on a CPU the numbers of a cheap kind are drawn for all members anyway: nobody need wait.
    return lax.platform_dependent(draw, cpu=some, default=every) if kind.cheap else some(draw)


class Hold(NamedTuple):
    """A hold rule: ``init(key, members) -> state`` and ``step(key, state, done) -> (state, where)``.

    ``step`` is called once after every decision; ``done[members]`` are the members whose episode has just ended
    (booleans, or floats of 0 and 1) and ``where[members]`` those that must redraw now. A ``done`` always redraws and
    starts a new hold. ``key`` must be another one at every call; member i's lengths do not depend on the others.
    ``move(kind, key, draw, where) -> draw`` then does to the perturbations what the rule wants, with the key of the
    first draw.
    """

    init: Callable[[Any, int], Any]
    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    move: Callable[[Structure, Any, Draw, Any], Draw] = redrawn


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


def geometric(mean: float) -> Hold:
    """A perturbation is redrawn with probability ``1 / mean`` at every decision, and at the end of its episode.

    The same at every decision and without a memory: it has no first moment and no clock to fall into step with.
    """
    checks.real("mean", mean, 1.0)

    def step(key: PRNGKeyArray, state: HoldState, done: Any) -> tuple[HoldState, Bool[Array, " members"]]:
        done = mask("done", done)
        return state, done | (jax.random.uniform(key, done.shape, jnp.float32) < np.float32(1.0 / mean))

    return Hold(lambda key, members: HoldState(None), step)


def per_component(means: Sequence[float]) -> Hold:
    """For the components of a :class:`jaxpsn.noise.Multiscale`: each is held :func:`geometric` by a mean of its own.

    The end of an episode redraws all of them. So every episode starts from a perturbation of the nominal law,
    independent of the past: a slow component that went on would be over-represented after the short episodes that it
    causes. As holds have no memory, a new perturbation is a piece of the same stationary process from its first
    decision on: within an episode the colour is whole. ``where`` is a tuple, a mask or True for each component.
    """
    holds = [geometric(mean) for mean in means]

    def step(key: PRNGKeyArray, state: HoldState, done: Any) -> tuple[HoldState, tuple[Any, ...]]:
        keys = [jax.random.fold_in(key, k) for k in range(len(holds))]
        masks = [hold.step(one, state, done)[1] for hold, one in zip(holds, keys, strict=True)]
        return state, tuple(True if mean == 1.0 else one for mean, one in zip(means, masks, strict=True))

    def move(kind: Structure, key: PRNGKeyArray, draw: Draw, where: Any) -> Draw:
        return kind.redraw(key, draw, where)

    return Hold(lambda key, members: HoldState(None), step, move)


def drift(rho: float) -> Hold:
    """A perturbation is never held: it moves at every decision as :func:`jaxpsn.noise.drifted` says.

    The end of an episode starts a new one.
    """
    checks.real("rho", rho, 0.0, 1.0)

    def move(kind: Structure, key: PRNGKeyArray, draw: Draw, where: Any) -> Draw:
        return drifted(kind, key, draw, where, rho)

    return per_episode()._replace(move=move)


def turns(hold: Hold, key: PRNGKeyArray, number: UInt32[Array, " members"], length: int) -> UInt32[Array, "length ..."]:
    """How often members have redrawn by each of an episode's first ``length`` decisions: ``[length, members]``.

    Of several components ``[length, members, components]``. A function of (key, number, decision) alone, so that every
    decision's perturbation can be drawn again (:meth:`jaxpsn.noise.Structure.again`) without those before it.
    """

    def of(number: Any) -> Any:
        own = jax.random.fold_in(key, number)
        going = jnp.zeros((1,), bool)

        def step(state: Any, decision: Any) -> tuple[Any, Any]:
            state, where = hold.step(jax.random.fold_in(own, decision), state, going)
            entries = where if isinstance(where, tuple) else (where,)
            moved = [jnp.broadcast_to(mask("where", entry, going), (1,))[0] for entry in entries]
            return state, jnp.stack(moved) if isinstance(where, tuple) else moved[0]

        begun = hold.init(jax.random.fold_in(own, 0), 1)
        _, moved = lax.scan(step, begun, jnp.arange(1, length, dtype=jnp.uint32))
        count = jnp.cumsum(moved.astype(jnp.uint32), axis=0, dtype=jnp.uint32)
        return jnp.concatenate([jnp.zeros_like(count, shape=(1, *count.shape[1:])), count])

    return jax.vmap(of, out_axes=1)(number)


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
