"""Ornstein-Uhlenbeck action noise with an explicit time step."""

import math
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control.exploration.rules import ActionNoise
from jaxpsn.control.types import Hyper
from jaxpsn.core import errors
from jaxpsn.noise.normals import normal


@struct.dataclass
class OUState:
    """Where each environment's process is."""

    value: Any  # [N, A] float32
    std: Any  # [] float32, the diffusion


def ornstein_uhlenbeck(num_envs: int, action_size: int, theta: float, dt: float) -> ActionNoise:
    """x' = x - theta x dt + std sqrt(dt) xi, from x = 0 at every episode start; std is ``hyper.action_std``.

    Successive values correlate by ``a = 1 - theta dt``, over about ``1 / (theta dt)`` steps; the stationary standard
    deviation, reached after as many, is ``std sqrt(dt / (1 - a**2))``. At theta 0.15 and std 0.2 that is 0.365 over 667
    steps for dt 0.01 and 0.380 over 6.7 steps for dt 1.
    Source: Lillicrap et al. 2016 (arXiv 1509.02971); dt 0.01 as in OpenAI baselines.
    """
    if theta * dt >= 2.0:
        errors.refuse("exploration.ou_dt", dt, f"below 2 / ou_theta = {2.0 / theta:g}, beyond which the noise explodes")
    decay, spread = 1.0 - theta * dt, math.sqrt(dt)

    def init(key: PRNGKeyArray, hyper: Hyper) -> OUState:
        return OUState(jnp.zeros((num_envs, action_size), jnp.float32), hyper.action_std)

    def sample(key: PRNGKeyArray, state: OUState) -> tuple[Float[Array, "N A"], OUState]:
        shock = normal(key, state.value.shape)
        value = decay * state.value + state.std * spread * shock
        return value, OUState(value, state.std)

    def begin(key: PRNGKeyArray, state: OUState, done: Bool[Array, " N"]) -> OUState:
        return OUState(jnp.where(done[:, None], 0.0, state.value), state.std)

    return ActionNoise(init, sample, begin)
