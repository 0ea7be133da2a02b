"""Running mean and variance of observations; never perturbed, never learnt."""

from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

FLOOR = 1e-2  # smallest standard deviation: dimensions that hardly move are not blown up


@struct.dataclass
class Statistics:
    """Mean and variance per dimension. The variance, not the sum of squares, is kept: it does not grow."""

    count: Any  # float32 scalar; once it no longer grows the mean forgets with a horizon of > 1e8 samples
    mean: Any  # [O] float32
    variance: Any  # [O] float32


def init(size: int) -> Statistics:
    """No samples yet: normalising is then the identity up to the clip."""
    return Statistics(jnp.zeros((), jnp.float32), jnp.zeros((size,), jnp.float32), jnp.ones((size,), jnp.float32))


def update(statistics: Statistics, batch: Float[Array, "n o"], where: Bool[Array, " n"] | None = None) -> Statistics:
    """Merge a batch (Chan, Golub, LeVeque 1983, in the form that keeps means), or those of its rows in ``where``."""
    chosen = None if where is None else where[:, None]
    added = batch.shape[0] if where is None else jnp.sum(where, dtype=jnp.float32)
    batch_mean = jnp.mean(batch, axis=0, where=chosen)
    batch_variance = jnp.mean(jnp.square(batch - batch_mean[None]), axis=0, where=chosen)
    count = statistics.count + added
    share = added / count
    delta = batch_mean - statistics.mean
    variance = statistics.variance + share * (batch_variance - statistics.variance + (1 - share) * jnp.square(delta))
    return Statistics(count, statistics.mean + share * delta, variance)


def normalise(statistics: Statistics, obs: Float[Array, "*batch o"], clip: float) -> Float[Array, "*batch o"]:
    """``(obs - mean) / std``, clipped to plus or minus ``clip``."""
    std = jnp.maximum(jnp.sqrt(statistics.variance), FLOOR)
    lead = (1,) * (obs.ndim - 1)
    scaled = (obs - statistics.mean.reshape(*lead, -1)) / std.reshape(*lead, -1)
    return jnp.clip(scaled, -clip, clip)
