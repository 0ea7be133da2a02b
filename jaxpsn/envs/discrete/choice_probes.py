"""Probes with three choices: value, discounting, one choice, and a choice that depends on what is seen."""

import jax
import jax.numpy as jnp

from jaxpsn.envs import probes
from jaxpsn.envs.brax_api import State


class ChoiceValue(probes.ConstantReward):
    """One step, observation 0, reward 1 whatever is chosen: is a constant learnt for every choice?"""

    name = "probe/choice_value"
    choices = 3


class ChoiceObservationValue(probes.ObservationReward):
    """One step, observation -1 or 1 at random, reward equal to it whatever is chosen: is the observation used?"""

    name = "probe/choice_observation_value"
    choices = 3


class ChoiceDiscounting(probes.Discounting):
    """Two steps, observations 0 then 1, reward 1 at the end: are values carried back by gamma?"""

    name = "probe/choice_discounting"
    choices = 3


class Choice(probes.Probe):
    """One step, observation 0, reward 1 for the last of three choices, else 0: does the greedy choice follow values?"""

    name = "probe/choice"
    choices = 3

    def reset(self, rng: jax.Array) -> State:
        """Always the same."""
        return self.begin(probes.ProbeState(jnp.zeros((), jnp.float32)))

    def step(self, state: State, action: jax.Array) -> State:
        """The only step."""
        return self.advance(state, state.pipeline_state, action == 2, 1.0)

    def optimal_value(self, observation: float, gamma: float) -> float:
        """1."""
        return 1.0

    def optimal_action(self, observation: float) -> int:
        """The last."""
        return 2


class ObservationChoice(Choice):
    """One step, observation o = -1 or 1, reward 1 for the first choice at -1 and the last at 1, else 0."""

    name = "probe/observation_choice"

    def reset(self, rng: jax.Array) -> State:
        """-1 or 1."""
        return self.begin(probes.ProbeState(jax.random.rademacher(rng, (), jnp.float32)))

    def step(self, state: State, action: jax.Array) -> State:
        """The only step."""
        wanted = jnp.where(state.pipeline_state.value > 0, 2, 0)
        return self.advance(state, state.pipeline_state, action == wanted, 1.0)

    def optimal_action(self, observation: float) -> int:
        """The first at -1, the last at 1."""
        return 2 if observation > 0 else 0


PROBES = (ChoiceValue, ChoiceObservationValue, ChoiceDiscounting, Choice, ObservationChoice)
"""All five."""
