"""Returns of several steps from the ring of replay, which end with the episode and with what is stored."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxpsn.control.replay import Places, Replay
from jaxpsn.control.state import Transition


def take(replay: Replay, clock: Int[Array, ""], drawn: Places, steps: int, gamma: float) -> Transition:
    """Transitions over up to ``steps`` rows of one environment, from the first on, which was drawn.

    ``reward`` is ``sum_i gamma^i r_i`` of the m rows that it spans, ``discount`` is ``gamma^m``; the ends and
    ``next_obs`` are those of the last of them. A true end, a time limit, and the newest row that is stored end it
    early, with m below ``steps``: never is an episode chained to the next, or the newest row to the oldest.
    Source: Watkins 1989; Sutton and Barto 2018, equation 7.1. ``clock``: vector steps inserted so far.
    """
    data: Any = replay.data
    age, env, held = drawn  # age 0: the oldest row

    def at(leaf: Array, ages: Array, envs: Array) -> Array:
        return leaf.at[row(replay, clock, held, ages), envs].get(mode="promise_in_bounds")

    offsets = jnp.arange(steps, dtype=age.dtype).reshape(*(1,) * age.ndim, steps)
    ahead = age[..., None] + offsets
    beside = jnp.broadcast_to(env[..., None], ahead.shape)
    over = (at(data.terminated, ahead, beside) | at(data.truncated, ahead, beside)).astype(jnp.int32)
    before = jnp.cumsum(over, axis=-1, dtype=jnp.int32) - over
    counts = (ahead < held) & (before == 0)
    weight = jnp.where(counts, gamma ** offsets.astype(jnp.float32), 0.0)
    spanned = jnp.sum(counts, axis=-1, dtype=age.dtype)
    last = age + spanned - 1
    return Transition(
        obs=at(data.obs, age, env),
        action=at(data.action, age, env),
        reward=jnp.sum(weight * at(data.reward, ahead, beside), axis=-1),
        terminated=at(data.terminated, last, env),
        truncated=at(data.truncated, last, env),
        next_obs=at(data.next_obs, last, env),
        discount=gamma ** spanned.astype(jnp.float32),
        mask=None if data.mask is None else at(data.mask, age, env),
    )


def row(replay: Replay, clock: Int[Array, ""], held: Int[Array, ""], age: Int[Array, "*shape"]) -> Int[Array, "*shape"]:
    """The rows of the ring whose ages are ``age``, of ``held`` that it has."""
    return (clock - held + age) % replay.rows
