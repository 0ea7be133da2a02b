"""Coloured action noise: power falls as 1 / f ** beta (0 white, 1 pink, 2 red)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control.exploration.family import EXPLORATION, ActionNoise, Space
from jaxpsn.control.exploration.gaussian import TUNE, Std
from jaxpsn.control.exploration.rules import NoiseFunctions
from jaxpsn.core import compat
from jaxpsn.core.fields import Real
from jaxpsn.noise.normals import normal


@struct.dataclass
class PinkState:
    """Each environment's series and how far it has been read; N * T * A floats."""

    series: Any  # [N, T, A] float32, unit variance
    cursor: Any  # [N] int32, the next entry
    std: Any  # [] float32


@EXPLORATION.register("pink", stream=3)
@dataclass(frozen=True)
class Pink(ActionNoise):
    """Coloured noise: one series per environment and action dimension.

    A series is one episode of decisions long; it is redrawn at its environment's episode start and when it is used up.
    Source: Eberhard et al. 2023, pink noise is all you need, after Timmer and Koenig 1995.
    """

    tune, scaled_by = TUNE, "std"

    std: Std = 0.2
    """Standard deviation."""
    beta: Annotated[float, Real(0.0, 4.0)] = 1.0
    """Spectral exponent: 0 white, 1 pink, 2 red."""

    def build(self, space: Space) -> NoiseFunctions:
        horizon = space.episode_length
        draw = series(horizon, space.action_size, self.beta)
        rows = jnp.arange(space.num_envs, dtype=jnp.int32)

        def init(key: PRNGKeyArray, hyper: Any) -> PinkState:
            whole = jax.vmap(lambda row: draw(jax.random.fold_in(key, row)))(rows)
            return PinkState(whole, jnp.zeros((space.num_envs,), jnp.int32), hyper["std"])

        def sample(key: PRNGKeyArray, state: PinkState) -> tuple[Float[Array, "N A"], PinkState]:
            noise = jax.vmap(lambda one, at: one[at])(state.series, state.cursor)
            return state.std * noise, state.replace(cursor=state.cursor + 1)

        def begin(key: PRNGKeyArray, state: PinkState, done: Bool[Array, " N"]) -> PinkState:
            stale = done | (state.cursor >= horizon)
            cursor = jnp.where(stale, 0, state.cursor)
            return state.replace(series=_refill(key, draw, state.series, stale), cursor=cursor)

        return NoiseFunctions(init, sample, begin)


def series(horizon: int, action_size: int, beta: float) -> Callable[[PRNGKeyArray], Float[Array, "T A"]]:
    """Sampler of independent Gaussian series ``[horizon, action_size]`` of unit variance at every step.

    Inverse real FFT of Gaussian coefficients with standard deviation f ** (-beta / 2); the constant term takes the
    power of the lowest frequency. White noise (beta 0) comes out independent from step to step.
    """
    frequencies = np.fft.rfftfreq(horizon)
    frequencies[0] = 1.0 / horizon
    size = frequencies ** (-beta / 2.0)
    # Real coefficients (the constant, and Nyquist's if the length is even) carry all of their power in one number.
    single = np.zeros(size.shape, bool)
    single[0] = True
    single[-1] |= horizon % 2 == 0
    real, imaginary = np.where(single, math.sqrt(2.0), 1.0) * size, np.where(single, 0.0, 1.0) * size
    variance = np.sum(np.where(single, 2.0, 4.0) * size**2) / horizon**2
    scale = jnp.asarray(np.stack([real, imaginary]) / math.sqrt(variance), jnp.float32)

    def draw(key: PRNGKeyArray) -> Float[Array, "T A"]:
        parts = scale[:, :, None] * normal(key, (2, size.size, action_size))
        return jnp.fft.irfft(lax.complex(parts[0], parts[1]), n=horizon, axis=0)

    return draw


def _refill(
    key: PRNGKeyArray, draw: Callable[[Any], Any], whole: Float[Array, "N T A"], stale: Bool[Array, " N"]
) -> Float[Array, "N T A"]:
    """Redraw the stale rows, a block at a time: the cost follows the number of ended episodes, mostly none."""
    rows = stale.shape[0]
    block = math.isqrt(rows - 1) + 1

    def refill(carry: tuple[Any, Any]) -> tuple[Any, Any]:
        whole, stale = carry
        which = jnp.nonzero(stale, size=block, fill_value=rows)[0].astype(jnp.int32)
        fresh = jax.vmap(lambda row: draw(jax.random.fold_in(key, row)))(which)
        return whole.at[which].set(fresh, mode="drop"), stale.at[which].set(False, mode="drop")

    # The condition is shared by vmapped seeds; a seed that has nothing left to redraw drops all of its writes.
    return lax.while_loop(lambda carry: compat.anywhere(carry[1]), refill, (whole, stale))[0]
