"""Action noise that repeats itself for a random, heavy-tailed number of steps."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control.exploration.family import EXPLORATION, ActionNoise, Space
from jaxpsn.control.exploration.gaussian import TUNE, Std
from jaxpsn.control.exploration.rules import NoiseFunctions
from jaxpsn.core.fields import Real, Whole
from jaxpsn.noise import holds
from jaxpsn.noise.normals import normal

_HOLD, _VALUE = 0, 1


@struct.dataclass
class ZetaState:
    """The noise that each environment repeats."""

    value: Any  # [N, A] float32, unit variance
    hold: Any  # state of the hold rule
    std: Any  # [] float32


@EXPLORATION.register("zeta", stream=6)
@dataclass(frozen=True)
class Zeta(ActionNoise):
    """Gaussian noise, repeated for n steps, P(n) proportional to ``n ** -exponent``.

    Every environment counts for itself and draws anew at its episode start. Source: FlashSAC (arXiv 2604.04539), after
    the repeated actions of Dabney et al. 2021 (arXiv 2006.01782).
    """

    tune, scaled_by = TUNE, "std"

    std: Std = 0.2
    """Standard deviation."""
    exponent: Annotated[float, Real(1.0, 10.0, open_low=True)] = 2.0
    """How fast long repeats become rare."""
    repeat_max: Annotated[int, Whole(1, 1 << 20)] = 16
    """Decisions for which it repeats itself at most."""

    def build(self, space: Space) -> NoiseFunctions:
        rule = holds.zeta(self.exponent, self.repeat_max)

        def draw(key: PRNGKeyArray) -> Float[Array, "N A"]:
            return normal(jax.random.fold_in(key, _VALUE), (space.num_envs, space.action_size))

        def init(key: PRNGKeyArray, hyper: Any) -> ZetaState:
            return ZetaState(draw(key), rule.init(jax.random.fold_in(key, _HOLD), space.num_envs), hyper["std"])

        def sample(key: PRNGKeyArray, state: ZetaState) -> tuple[Float[Array, "N A"], ZetaState]:
            return state.std * state.value, state

        def begin(key: PRNGKeyArray, state: ZetaState, done: Bool[Array, " N"]) -> ZetaState:
            after, where = rule.step(jax.random.fold_in(key, _HOLD), state.hold, done)
            return state.replace(value=jnp.where(where[:, None], draw(key), state.value), hold=after)

        return NoiseFunctions(init, sample, begin)
