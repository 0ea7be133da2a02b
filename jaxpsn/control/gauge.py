"""The size of rewards: the running deviation of their discounted sum, by which an agent may scale what it learns from.

``r / max(sqrt(var(G) + 1e-8), max|G| / bound)``, ``G`` the sum ``gamma G + r`` of each environment's running episode
(Engstrom et al. 2020, arXiv 2005.12729; with the bound SimbaV2, arXiv 2502.15280, section 4.2, and FlashSAC, arXiv
2604.04539). Every step of every environment counts once, when it is made; what is stored stays raw, so that a reward is
scaled as is known when it is sampled.
"""

from typing import Any

import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxpsn.control import statistics

_TINY = 1e-8


@struct.dataclass
class Gauge:
    """What is known of the size of rewards."""

    sums: Any  # [N] float32, discounted sums of the running episodes
    seen: Any  # Statistics of one number, of all sums so far
    greatest: Any  # [] float32, the greatest |sum| so far


def init(num_envs: int) -> Gauge:
    """Nothing seen yet."""
    return Gauge(jnp.zeros((num_envs,), jnp.float32), statistics.init(1), jnp.zeros((), jnp.float32))


def observe(gauge: Gauge, reward: Float[Array, " n"], done: Bool[Array, " n"], gamma: float) -> Gauge:
    """Add one step of every environment; sums start anew after the end of an episode, of either kind."""
    sums = gamma * gauge.sums + reward
    seen = statistics.update(gauge.seen, sums[:, None])
    greatest = jnp.maximum(gauge.greatest, jnp.max(jnp.abs(sums)))
    # As with statistics of observations: what is stored is what is used, bit for bit.
    return lax.optimization_barrier(Gauge(jnp.where(done, 0.0, sums), seen, greatest))


def size(gauge: Gauge, bound: float) -> Float[Array, ""]:
    """What rewards are divided by; ``bound`` 0: the deviation alone."""
    deviation = jnp.sqrt(gauge.seen.variance[0] + _TINY)
    return jnp.maximum(deviation, gauge.greatest / bound) if bound else deviation
