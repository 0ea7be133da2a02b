"""Spaces of actions: what is drawn, stored, executed and measured in each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import envs
from jaxpsn.core.errors import UserError
from jaxpsn.envs.brax_api import Env, State

BOX, CHOICES = envs.Box(3), envs.Discrete(5)


class Steps(Env):
    """A point on a line that moves by -1, 0 or 1; its state remembers the dtype of what it was given."""

    observation_size, action_size, backend, dt = 1, 3, "none", 1.0
    action_space = envs.Discrete(3)

    def reset(self, rng):
        return State(None, jnp.zeros((1,)), jnp.float32(0), jnp.float32(0))

    def step(self, state, action):
        assert action.shape == () and action.dtype == jnp.int32
        place = state.obs + (action - 1).astype(jnp.float32)
        return state.replace(obs=place, reward=place[0], done=(place[0] >= 2).astype(jnp.float32))


def test_spaces_say_what_an_action_is():
    assert BOX.zeros(4).shape == (4, 3) and BOX.zeros(4).dtype == jnp.float32 and BOX.size == 3
    assert CHOICES.zeros(4).shape == (4,) and CHOICES.zeros(4).dtype == jnp.int32 and CHOICES.size == 5
    for space in (BOX, CHOICES):
        drawn = space.uniform(jax.random.key(0), 7)
        assert drawn.shape == (7, *space.example.shape) and drawn.dtype == space.example.dtype


def test_uniform_actions_are_uniform_and_those_of_a_box_keep_their_bits():
    key = jax.random.key(3)
    np.testing.assert_array_equal(BOX.uniform(key, 9), jax.random.uniform(key, (9, 3), jnp.float32, -1.0, 1.0))
    counts = np.bincount(np.asarray(CHOICES.uniform(key, 50_000)), minlength=5)
    assert len(counts) == 5 and (np.abs(counts / 10_000 - 1) < 0.05).all()


def test_executed_actions_and_what_is_measured_of_them():
    beyond = jnp.array([[2.0, -3.0, 0.5]])
    np.testing.assert_array_equal(BOX.executed(beyond), [[1.0, -1.0, 0.5]])
    assert float(BOX.report(jnp.array([[1.0, -1.0, 0.5, 0.0]]))["saturation"]) == 0.5
    assert float(BOX.distance(jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 4.0]]))) == pytest.approx(12.5**0.5)
    choice = jnp.array([0, 4, 2, 2], jnp.int32)
    assert CHOICES.executed(choice) is choice and CHOICES.report(choice) == {}
    assert float(CHOICES.distance(choice, jnp.array([0, 1, 2, 3], jnp.int32))) == 0.5


def test_an_environment_says_its_space_or_has_a_box():
    assert envs.space_of(Steps()) == envs.Discrete(3)
    assert envs.space_of(envs.make("probe/action")) == envs.Box(1)


def test_episodes_of_choices():
    episodes = envs.Episodes(Steps(), 2, 4)
    assert episodes.space == envs.Discrete(3) and episodes.action_size == 3
    state, step = episodes.reset(jax.random.key(0)), jax.jit(episodes.step)
    ends = []
    for _ in range(4):
        state, outcome = step(state, jnp.array([2, 1], jnp.int32))
        ends.append((outcome.terminated.tolist(), outcome.truncated.tolist()))
    assert ends[1] == ([True, False], [False, False])
    assert ends[3] == ([True, False], [False, True])


def test_an_environment_whose_size_is_another_is_refused():
    class Four(Steps):
        action_size = 4

    with pytest.raises(UserError, match="an action_size of 3, as its action_space is Discrete"):
        envs.check_given(Four(), 5)
    envs.check_given(Steps(), 5)
