"""White action noise: one standard deviation for all environments, or one for each."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control.exploration.rules import ActionNoise
from jaxpsn.control.types import Hyper
from jaxpsn.noise.normals import normal


@struct.dataclass
class WhiteState:
    """Standard deviations in use."""

    std: Any  # [] (gaussian) or [N, 1] (mixed) float32


def gaussian(num_envs: int, action_size: int) -> ActionNoise:
    """Independent Gaussian noise at every step, standard deviation ``hyper.action_std``."""
    return ActionNoise(
        init=lambda key, hyper: WhiteState(hyper.action_std),
        sample=_sampler(num_envs, action_size),
        begin=lambda key, state, done: state,
    )


def mixed(num_envs: int, action_size: int, low: float, high: float) -> ActionNoise:
    """Gaussian noise with a standard deviation per environment, redrawn from U(low, high) at its episode start.

    Source: per-environment scales as in PQL (arXiv 2307.12983) and FastTD3 (arXiv 2505.22642).
    """

    def draw(key: PRNGKeyArray) -> Float[Array, "N 1"]:
        return jax.random.uniform(key, (num_envs, 1), jnp.float32, low, high)

    def init(key: PRNGKeyArray, hyper: Hyper) -> WhiteState:
        return WhiteState(draw(key))

    def begin(key: PRNGKeyArray, state: WhiteState, done: Bool[Array, " N"]) -> WhiteState:
        return WhiteState(jnp.where(done[:, None], draw(key), state.std))

    return ActionNoise(init, _sampler(num_envs, action_size), begin)


def _sampler(num_envs: int, action_size: int) -> Any:
    def sample(key: PRNGKeyArray, state: WhiteState) -> tuple[Float[Array, "N A"], WhiteState]:
        return state.std * normal(key, (num_envs, action_size)), state

    return sample
