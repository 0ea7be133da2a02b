"""White action noise: one standard deviation for all environments, or one for each."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control.exploration.family import EXPLORATION, ActionNoise, Space
from jaxpsn.control.exploration.rules import NoiseFunctions
from jaxpsn.core import errors
from jaxpsn.core.components import Tune
from jaxpsn.core.fields import Real, Traced
from jaxpsn.noise.normals import normal


@struct.dataclass
class WhiteState:
    """Standard deviations in use."""

    std: Any  # [] (gaussian) or [N, 1] (mixed) float32


Std = Traced[Annotated[float, Real(0.0, 100.0)]]
"""A standard deviation of actions, which are in [-1, 1]."""
TUNE = Tune("std", (0.1, 0.3, 0.6, 1.0))


@EXPLORATION.register("gaussian", stream=1)
@dataclass(frozen=True)
class Gaussian(ActionNoise):
    """Independent Gaussian noise of actions at every step."""

    tune, scaled_by = TUNE, "std"

    std: Std = 0.2
    """Standard deviation."""

    def build(self, space: Space) -> NoiseFunctions:
        return NoiseFunctions(
            init=lambda key, hyper: WhiteState(hyper["std"]),
            sample=_sampler(space.num_envs, space.action_size),
            begin=lambda key, state, done: state,
        )


@EXPLORATION.register("mixed", stream=4)
@dataclass(frozen=True)
class Mixed(ActionNoise):
    """Gaussian noise with a standard deviation per environment, redrawn from U(low, high) at its episode start.

    Source: per-environment scales as in PQL (arXiv 2307.12983) and FastTD3 (arXiv 2505.22642).
    """

    low: Annotated[float, Real(0.0, 100.0)] = 0.05
    """Smallest standard deviation of an environment."""
    high: Annotated[float, Real(0.0, 100.0)] = 0.8
    """Largest standard deviation of an environment."""

    def validate(self) -> None:
        if self.low > self.high:
            errors.refuse("mixed.low", self.low, f"at most high = {self.high:g}")

    def build(self, space: Space) -> NoiseFunctions:
        def draw(key: PRNGKeyArray) -> Float[Array, "N 1"]:
            return jax.random.uniform(key, (space.num_envs, 1), jnp.float32, self.low, self.high)

        def init(key: PRNGKeyArray, hyper: Any) -> WhiteState:
            return WhiteState(draw(key))

        def begin(key: PRNGKeyArray, state: WhiteState, done: Bool[Array, " N"]) -> WhiteState:
            return WhiteState(jnp.where(done[:, None], draw(key), state.std))

        return NoiseFunctions(init, _sampler(space.num_envs, space.action_size), begin)


def _sampler(num_envs: int, action_size: int) -> Any:
    def sample(key: PRNGKeyArray, state: WhiteState) -> tuple[Float[Array, "N A"], WhiteState]:
        return state.std * normal(key, (num_envs, action_size)), state

    return sample
