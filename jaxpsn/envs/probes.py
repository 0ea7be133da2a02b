"""Probe environments: each needs one ability of a learner, and its optimal values are known in closed form."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.envs import own, shapes
from jaxpsn.envs.brax_api import State


@struct.dataclass
class ProbeState:
    """What little a probe remembers."""

    value: Any  # [] the number observed (for the corridor, position in cells)


class Probe(own.OwnEnv):
    """One observed number, one action, and the optimal answers: ``optimal_value`` and ``optimal_action``."""

    dt = 1.0
    episode_length = 10
    observation_dim = 1

    def observe(self, physics: ProbeState) -> Float[Array, "1"]:
        """The number itself."""
        return physics.value[None]

    def optimal_value(self, observation: float, gamma: float) -> float:
        """Discounted return of the best policy from ``observation``."""
        raise NotImplementedError

    def optimal_action(self, observation: float) -> float | None:
        """The best action there, or None where any will do."""
        return None

    def scene_bodies(self) -> dict[str, Any]:
        """A bead on a rail."""
        rail = shapes.geom("polyline", (), shapes.GREY, points=((-1.0, 0.0, 0.0), (1.0, 0.0, 0.0)))
        bead = shapes.body("bead", shapes.geom("sphere", (0.08,), shapes.BLUE))
        return {"bodies": [shapes.body("world", rail), bead], "camera": shapes.camera(3.0, (0.0, 0.0, 0.0))}

    def scene_poses(self, physics: ProbeState) -> Float[Array, "2 7"]:
        """The bead lies at the observed number."""
        zero = jnp.zeros((), jnp.float32)
        return jnp.stack((shapes.world_pose(), shapes.flat_pose(self.observe(physics)[0], zero, zero)))


class ConstantReward(Probe):
    """One step, observation 0, reward 1: can the critic learn a constant?"""

    name = "probe/constant_reward"

    def reset(self, rng: jax.Array) -> State:
        """Always the same."""
        return self.begin(ProbeState(jnp.zeros((), jnp.float32)))

    def step(self, state: State, action: jax.Array) -> State:
        """The only step."""
        return self.advance(state, state.pipeline_state, 1.0, 1.0)

    def optimal_value(self, observation: float, gamma: float) -> float:
        """1."""
        return 1.0


class ObservationReward(Probe):
    """One step, observation -1 or 1 at random, reward equal to it: does the critic use the observation?"""

    name = "probe/observation_reward"

    def reset(self, rng: jax.Array) -> State:
        """-1 or 1."""
        return self.begin(ProbeState(_sign(rng)))

    def step(self, state: State, action: jax.Array) -> State:
        """The only step."""
        return self.advance(state, state.pipeline_state, state.pipeline_state.value, 1.0)

    def optimal_value(self, observation: float, gamma: float) -> float:
        """The observation."""
        return float(observation)


class Discounting(Probe):
    """Two steps, observations 0 then 1, reward 1 at the end: are values carried back by gamma?"""

    name = "probe/discounting"

    def reset(self, rng: jax.Array) -> State:
        """The first of two states."""
        return self.begin(ProbeState(jnp.zeros((), jnp.float32)))

    def step(self, state: State, action: jax.Array) -> State:
        """On to the second state, or the end."""
        last = state.pipeline_state.value
        return self.advance(state, ProbeState(jnp.ones_like(last)), last, last)

    def optimal_value(self, observation: float, gamma: float) -> float:
        """gamma in the first state, 1 in the second."""
        return 1.0 if observation == 1 else gamma


class ActionReward(Probe):
    """One step, observation 0, reward 1 - (a - 0.5)^2: does the actor follow the critic?"""

    name = "probe/action"

    def reset(self, rng: jax.Array) -> State:
        """Always the same."""
        return self.begin(ProbeState(jnp.zeros((), jnp.float32)))

    def step(self, state: State, action: jax.Array) -> State:
        """The only step."""
        return self.advance(state, state.pipeline_state, 1.0 - (own.clipped(action)[0] - 0.5) ** 2, 1.0)

    def optimal_value(self, observation: float, gamma: float) -> float:
        """1."""
        return 1.0

    def optimal_action(self, observation: float) -> float:
        """0.5."""
        return 0.5


class ObservationActionReward(Probe):
    """One step, observation o = -1 or 1, reward 1 - (a + o / 2)^2: does the actor use the observation?"""

    name = "probe/observation_action"

    def reset(self, rng: jax.Array) -> State:
        """-1 or 1."""
        return self.begin(ProbeState(_sign(rng)))

    def step(self, state: State, action: jax.Array) -> State:
        """The only step."""
        missed = own.clipped(action)[0] + 0.5 * state.pipeline_state.value
        return self.advance(state, state.pipeline_state, 1.0 - missed**2, 1.0)

    def optimal_value(self, observation: float, gamma: float) -> float:
        """1."""
        return 1.0

    def optimal_action(self, observation: float) -> float:
        """Minus half the observation."""
        return -0.5 * observation


class HeldExploration(Probe):
    """A corridor whose goal only a held action finds: 25 cells ahead, at most one cell a step, 50 steps.

    The position (observed as a fraction of the way, walls at -1 and 1) moves by the action; reaching the goal gives 1
    and ends the episode. Independent noise of standard deviation 0.6 on an action of 0 spreads to about 4 cells in 50
    steps, 6 standard deviations short; an offset of at least 0.5 that is held for the episode arrives.
    """

    name = "probe/held_exploration"
    episode_length = 50
    cells = 25

    def reset(self, rng: jax.Array) -> State:
        """At the near end."""
        return self.begin(ProbeState(jnp.zeros((), jnp.float32)))

    def step(self, state: State, action: jax.Array) -> State:
        """Move by the action."""
        position = jnp.clip(state.pipeline_state.value + own.clipped(action)[0], -self.cells, self.cells)
        arrived = position >= self.cells
        return self.advance(state, ProbeState(position), arrived, arrived)

    def observe(self, physics: ProbeState) -> Float[Array, "1"]:
        """Fraction of the way."""
        return physics.value[None] / self.cells

    def optimal_value(self, observation: float, gamma: float) -> float:
        """gamma to the number of steps that remain after the next one, at full speed."""
        return gamma ** (max(int(np.ceil(self.cells * (1.0 - observation) - 1e-4)), 1) - 1)

    def optimal_action(self, observation: float) -> float:
        """Full speed ahead."""
        return 1.0


def _sign(rng: jax.Array) -> Float[Array, ""]:
    return jax.random.rademacher(rng, (), jnp.float32)


PROBES = (ConstantReward, ObservationReward, Discounting, ActionReward, ObservationActionReward, HeldExploration)
"""All six."""
