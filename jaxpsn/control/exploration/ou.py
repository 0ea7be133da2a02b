"""Ornstein-Uhlenbeck action noise with an explicit time step."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control.exploration.family import EXPLORATION, ActionNoise, Space
from jaxpsn.control.exploration.gaussian import TUNE, Std
from jaxpsn.control.exploration.rules import NoiseFunctions
from jaxpsn.core import errors
from jaxpsn.core.fields import Real
from jaxpsn.noise.normals import normal


@struct.dataclass
class OUState:
    """Where each environment's process is."""

    value: Any  # [N, A] float32
    std: Any  # [] float32, the diffusion


@EXPLORATION.register("ou", stream=2)
@dataclass(frozen=True)
class OrnsteinUhlenbeck(ActionNoise):
    """x' = x - theta x dt + std sqrt(dt) xi, from x = 0 at every episode start.

    Successive values correlate by ``a = 1 - theta dt``, over about ``1 / (theta dt)`` steps; the stationary standard
    deviation, reached after as many, is ``std sqrt(dt / (1 - a**2))``. At theta 0.15 and std 0.2 that is 0.365 over 667
    steps for dt 0.01 and 0.380 over 6.7 steps for dt 1.
    Source: Lillicrap et al. 2016 (arXiv 1509.02971); dt 0.01 as in OpenAI baselines.
    """

    tune, scaled_by = TUNE, "std"

    std: Std = 0.2
    """Diffusion."""
    theta: Annotated[float, Real(0.0, 100.0, open_low=True)] = 0.15
    """Mean reversion per unit of time."""
    dt: Annotated[float, Real(0.0, 100.0, open_low=True)] = 0.01
    """Time step; it decides the correlation time (paper's release: 0.01)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.theta * self.dt >= 2.0:
            most = f"below 2 / theta = {2.0 / self.theta:g}, beyond which the noise explodes"
            errors.refuse("ou.dt", self.dt, most)

    def build(self, space: Space) -> NoiseFunctions:
        decay, spread = 1.0 - self.theta * self.dt, math.sqrt(self.dt)

        def init(key: PRNGKeyArray, hyper: Any) -> OUState:
            return OUState(jnp.zeros((space.num_envs, space.action_size), jnp.float32), hyper["std"])

        def sample(key: PRNGKeyArray, state: OUState) -> tuple[Float[Array, "N A"], OUState]:
            shock = normal(key, state.value.shape)
            value = decay * state.value + state.std * spread * shock
            return value, OUState(value, state.std)

        def begin(key: PRNGKeyArray, state: OUState, done: Bool[Array, " N"]) -> OUState:
            return OUState(jnp.where(done[:, None], 0.0, state.value), state.std)

        return NoiseFunctions(init, sample, begin)
