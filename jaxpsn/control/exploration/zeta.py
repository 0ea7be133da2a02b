"""Action noise that repeats itself for a random, heavy-tailed number of steps."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control.exploration.rules import ActionNoise
from jaxpsn.control.types import Hyper
from jaxpsn.noise import holds
from jaxpsn.noise.normals import normal

_HOLD, _VALUE = 0, 1


@struct.dataclass
class ZetaState:
    """The noise that each environment repeats."""

    value: Any  # [N, A] float32, unit variance
    hold: Any  # state of the hold rule
    std: Any  # [] float32


def repeated(num_envs: int, action_size: int, exponent: float, maximum: int) -> ActionNoise:
    """Gaussian noise of standard deviation ``hyper.action_std``, repeated for n steps, P(n) ~ n ** -exponent.

    ``n <= maximum``. Every environment counts for itself and draws anew at its episode start. Source: FlashSAC
    (arXiv 2604.04539), after the repeated actions of Dabney et al. 2021 (arXiv 2006.01782).
    """
    rule = holds.zeta(exponent, maximum)

    def draw(key: PRNGKeyArray) -> Float[Array, "N A"]:
        return normal(jax.random.fold_in(key, _VALUE), (num_envs, action_size))

    def init(key: PRNGKeyArray, hyper: Hyper) -> ZetaState:
        return ZetaState(draw(key), rule.init(jax.random.fold_in(key, _HOLD), num_envs), hyper.action_std)

    def sample(key: PRNGKeyArray, state: ZetaState) -> tuple[Float[Array, "N A"], ZetaState]:
        return state.std * state.value, state

    def begin(key: PRNGKeyArray, state: ZetaState, done: Bool[Array, " N"]) -> ZetaState:
        after, where = rule.step(jax.random.fold_in(key, _HOLD), state.hold, done)
        return state.replace(value=jnp.where(where[:, None], draw(key), state.value), hold=after)

    return ActionNoise(init, sample, begin)
