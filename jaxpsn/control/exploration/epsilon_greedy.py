"""Random actions in the place of the policy's, now and then: for a few choices, what white noise is for vectors."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxpsn.control.exploration.family import EXPLORATION, ActionNoise, Space
from jaxpsn.control.exploration.rules import NoiseFunctions
from jaxpsn.core import errors
from jaxpsn.core.components import Tune
from jaxpsn.core.fields import Real, Traced, Whole
from jaxpsn.envs.spaces import Discrete

KEPT = -1
"""In place of an action: the policy's own is kept."""
_WHERE, _WHICH = 0, 1
_START = 1.0
Chance = Traced[Annotated[float, Real(0.0, 1.0)]]


@struct.dataclass
class GreedyState:
    """How often actions are random now."""

    count: Any  # [] int32, decisions of one environment so far
    hyper: Any  # dict: path -> float32, the traced fields
    epsilon: Any  # [] float32, of the next decision


@EXPLORATION.register("epsilon_greedy")
@dataclass(frozen=True)
class EpsilonGreedy(ActionNoise):
    """With probability epsilon a uniformly random choice, at every step; its schedule starts after the warm-up.

    A floor under another rule as a sum: ``parameter(target=0.1) + epsilon_greedy(0.01)``, as in Plappert et al. 2018
    (arXiv 1706.01905, section 4). Source: Mnih et al. 2015 (Nature 518).
    """

    tune, scaled_by = Tune("epsilon", (0.01, 0.05, 0.1, 0.3)), "epsilon"
    spaces = (Discrete,)

    epsilon: Chance = 0.1
    """Probability of a random choice, which may be the policy's own; at the end of the schedule if there is one."""
    start: Chance = _START
    """Probability at the start of the schedule."""
    steps: Annotated[int, Whole(0, 1 << 40)] = 0
    """Decisions of all environments together in which it goes linearly from start to epsilon; 0: no schedule."""

    def validate(self) -> None:
        if not self.steps and self.start != _START:
            errors.refuse("epsilon_greedy.start", self.start, f"{_START:g}, the default, as steps is 0")

    def alone(self) -> "EpsilonGreedy":
        return EpsilonGreedy(self.epsilon)

    def build(self, space: Space) -> NoiseFunctions:
        count = space.num_envs

        def at(done: Int[Array, ""], hyper: Any) -> Float[Array, ""]:
            return scheduled(done, hyper["start"], hyper["epsilon"], self.steps / count)

        def init(key: PRNGKeyArray, hyper: Any) -> GreedyState:
            return GreedyState(jnp.int32(0), dict(hyper), at(jnp.int32(0), hyper))

        def sample(key: PRNGKeyArray, state: GreedyState) -> tuple[Int[Array, " N"], GreedyState]:
            where = jax.random.uniform(jax.random.fold_in(key, _WHERE), (count,)) < state.epsilon
            which = space.actions.uniform(jax.random.fold_in(key, _WHICH), count)
            after = state.count + 1
            return jnp.where(where, which, KEPT), state.replace(count=after, epsilon=at(after, state.hyper))

        def begin(key: PRNGKeyArray, state: GreedyState, done: Bool[Array, " N"]) -> GreedyState:
            return state

        return NoiseFunctions(init, sample, begin, lambda state: {"epsilon": state.epsilon})


def scheduled(done: Int[Array, ""], start: Float[Array, ""], end: Float[Array, ""], steps: float) -> Float[Array, ""]:
    """From ``start`` linearly to ``end`` in so many ``steps``, and ``end`` from then on; ``end`` at once if 0."""
    if not steps:
        return end
    left = jnp.maximum(1.0 - done.astype(jnp.float32) / steps, 0.0)
    return end + left * (start - end)
