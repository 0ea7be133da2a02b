"""What exploration has reached so far: the first reward, and the states visited."""

from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxpsn import envs

Metrics = dict[str, Any]


@struct.dataclass
class Diagnosis:
    """Of one run, since its start; warm-up included."""

    visited: Any  # [cells] bool
    first: Any  # [] int32, vector steps up to the first positive reward; 0 before there was one


def init(cells: envs.Cells) -> Diagnosis:
    """Nothing seen yet."""
    return Diagnosis(jnp.zeros((cells.count,), bool), jnp.int32(0))


def observe(
    seen: Diagnosis, cells: envs.Cells, obs: Float[Array, "n o"], reward: Float[Array, " n"], clock: Int[Array, ""]
) -> Diagnosis:
    """Add a vector step: ``obs`` after it, its rewards, and the clock that now is."""
    now = (seen.first == 0) & jnp.any(reward > 0)
    return Diagnosis(seen.visited.at[cells.index(obs)].set(True), jnp.where(now, clock, seen.first))


def report(seen: Diagnosis, steps_per_call: int) -> Metrics:
    """``first_reward`` (environment steps, absent before) and ``coverage`` (cells visited)."""
    first = jnp.where(seen.first == 0, jnp.nan, (seen.first * steps_per_call).astype(jnp.float32))
    return {"first_reward": first, "coverage": jnp.sum(seen.visited, dtype=jnp.float32)}


def distance(
    space: envs.ActionSpace, executed: Array, clean: Array, behaves: Bool[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Of executed from clean actions, as (total, count); random actions of the warm-up count for nothing."""
    present = behaves.astype(jnp.float32)
    return present * space.distance(executed, clean), present
