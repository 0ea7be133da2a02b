"""Scales of a population's members: spread over a ladder, and selected by what their episodes brought."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.noise.normals import normal

NEIGHBOURS = 10
"""Nearest behaviours whose mean distance is the novelty (Conti et al. 2018)."""
REFERENCES = 256
"""Members, at most and evenly spread, whose last episodes the others are compared with."""

_RIVAL, _CHANGE = 0, 1


@struct.dataclass
class Trial:
    """What the members' episodes have brought; P members, each judged in the first environment of its group."""

    returns: Any  # [P] float32, rewards of the running episode
    score: Any  # [P] float32, return or novelty of the last whole episode, NaN before there was one
    behaviour: Any = None  # Behaviours, if novelty is what counts


@struct.dataclass
class Behaviours:
    """Where episodes have been: mean and standard deviation of the normalised observations along them."""

    steps: Any  # [P] float32, of the running episode
    sums: Any  # [P, O] float32
    squares: Any  # [P, O] float32
    last: Any  # [P, 2 O] float32, of the last whole episode, NaN before there was one


def ladder(factor: float, count: int) -> Float[Array, " count"]:
    """``count`` numbers around 1, evenly spaced in the logarithm; the largest is ``factor`` times the smallest."""
    return jnp.exp(jnp.log(jnp.float32(factor)) * (jnp.linspace(0.0, 1.0, count, dtype=jnp.float32) - 0.5))


def begin(select: str, members: int, observation_size: int) -> Trial | None:
    """Nothing seen yet; None where nothing is selected."""
    if select == "none":
        return None
    unknown = jnp.full((members,), jnp.nan, jnp.float32)
    zeros = jnp.zeros((members, observation_size), jnp.float32)
    seen = None
    if select == "novelty":
        seen = Behaviours(zeros[:, 0], zeros, jnp.zeros_like(zeros), jnp.full((members, 2 * observation_size), jnp.nan))
    return Trial(jnp.zeros_like(unknown), unknown, seen)


def observe(trial: Trial, reward: Float[Array, " P"], done: Bool[Array, " P"], obs: Float[Array, "P O"]) -> Trial:
    """Add a step: its rewards and where it led; episodes that ended with it are scored."""
    returns = trial.returns + reward
    kept = jnp.where(done, jnp.zeros_like(returns), returns)
    if trial.behaviour is None:
        return Trial(kept, jnp.where(done, returns, trial.score))
    steps, sums, squares = (
        old + new
        for old, new in zip(
            (trial.behaviour.steps, trial.behaviour.sums, trial.behaviour.squares),
            (1.0, obs, jnp.square(obs)),
            strict=True,
        )
    )
    mean = sums / steps[:, None]
    spread = jnp.sqrt(jnp.maximum(squares / steps[:, None] - jnp.square(mean), 0.0))
    ended = done[:, None]
    last = jnp.where(ended, jnp.concatenate([mean, spread], axis=1), trial.behaviour.last)
    zeros = jnp.zeros_like(sums)
    seen = Behaviours(
        jnp.where(done, jnp.zeros_like(steps), steps),
        jnp.where(ended, zeros, sums),
        jnp.where(ended, zeros, squares),
        last,
    )
    return Trial(kept, trial.score, seen)


def novelty(behaviour: Float[Array, "P D"]) -> Float[Array, " P"]:
    """Mean distance to the nearest behaviours of other members; NaN rows are unknown and count for nobody.

    The reference is the population itself, each member by its last episode, in place of an archive of all times.
    Source: Conti et al. 2018 (arXiv 1712.06560), section 3.1.
    """
    members = behaviour.shape[0]
    chosen = jnp.arange(0, members, -(-members // REFERENCES))
    others = behaviour[chosen]
    square = (
        jnp.sum(jnp.square(behaviour), axis=1)[:, None]
        + jnp.sum(jnp.square(others), axis=1)[None]
        - 2.0 * behaviour @ others.T
    )
    distance = jnp.sqrt(jnp.maximum(square, 0.0))
    usable = jnp.isfinite(distance) & (jnp.arange(members)[:, None] != chosen[None])
    nearest = -jax.lax.top_k(-jnp.where(usable, distance, jnp.inf), min(NEIGHBOURS, chosen.shape[0]))[0]
    near = jnp.isfinite(nearest)
    count = jnp.sum(near, axis=1, dtype=jnp.float32)
    return jnp.where(count > 0, jnp.sum(jnp.where(near, nearest, 0.0), axis=1) / count, jnp.nan)


def duel(
    key: PRNGKeyArray, score: Float[Array, " S"], ended: Bool[Array, " S"], mutation: float
) -> tuple[Bool[Array, " S"], Any, Float[Array, " S"]]:
    """Who takes over whose scale: (loses, rival, factor).

    Each scale whose episode has ended meets another one, drawn at random; it loses where that one's score is higher,
    and then takes its place with the rival's scale times ``factor``, log-normal with deviation ``mutation``. Winners,
    ties and those without a score keep what they have. A tournament of two in a steady state, with the log-normal step
    of self-adaptive evolution strategies (Schwefel 1981; Beyer and Schwefel 2002).
    """
    count = score.shape[0]
    own = jnp.arange(count, dtype=jnp.int32)
    step = 1 + jax.random.randint(jax.random.fold_in(key, _RIVAL), (count,), 0, count - 1, jnp.int32)
    rival = (own + step) % count
    factor = jnp.exp(mutation * normal(jax.random.fold_in(key, _CHANGE), (count,)))
    return ended & (score[rival] > score), rival, factor
