"""The probes' known values, by playing them out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import envs
from jaxpsn.envs import probes

GAMMA = 0.9


def outcome(env, state, action):
    after = env.step(state, jnp.array([action], jnp.float32))
    return after, float(after.reward), bool(after.done)


def best(env, state, depth):
    """Brute force over a grid of actions: (value, first action)."""
    found = (-np.inf, None)
    for action in np.linspace(-1, 1, 9):
        after, reward, done = outcome(env, state, action)
        future = 0.0 if done or depth == 1 else best(env, after, depth - 1)[0]
        found = max(found, (reward + GAMMA * future, float(action)))
    return found


@pytest.mark.parametrize("kind", probes.PROBES[:5], ids=lambda kind: kind.name)
def test_optimal_values_and_actions(kind):
    env = kind()
    seen = set()
    for seed in range(6):
        state = env.reset(jax.random.key(seed))
        observation = float(state.obs[0])
        if observation in seen:
            continue
        seen.add(observation)
        value, action = best(env, state, 2)
        assert value == pytest.approx(env.optimal_value(observation, GAMMA), abs=1e-6)
        if env.optimal_action(observation) is not None:
            assert action == env.optimal_action(observation)
    assert seen == ({-1.0, 1.0} if "observation" in kind.name else {0.0})


def test_the_second_state_of_discounting():
    env = probes.Discounting()
    second, reward, done = outcome(env, env.reset(jax.random.key(0)), 0.3)
    assert (float(second.obs[0]), reward, done) == (1.0, 0.0, False)
    assert outcome(env, second, 0.3)[1:] == (1.0, True)
    assert env.optimal_value(1.0, GAMMA) == 1.0 and env.optimal_value(0.0, GAMMA) == GAMMA


def test_the_corridor_by_value_iteration():
    env = probes.HeldExploration()
    cells = np.arange(-25, 26)
    value = np.zeros(51)
    for _ in range(60):
        fresh = value.copy()
        for i, a in itertools.product(range(50), (-1, 0, 1)):
            j = np.clip(i + a, 0, 50)
            fresh[i] = max(fresh[i], 1.0 if j == 50 else GAMMA * value[j])
        value = fresh
    known = [env.optimal_value(cell / 25, GAMMA) for cell in cells[:-1]]
    np.testing.assert_allclose(known, value[:-1], rtol=1e-6)
    state = env.begin(probes.ProbeState(jnp.float32(24)))
    assert outcome(env, state, 1.0)[1:] == (1.0, True) and outcome(env, state, 0.9)[1:] == (0.0, False)


def test_the_corridor_needs_held_noise():
    episodes = envs.Episodes(envs.make("probe/held_exploration"), 512, 50)

    def play(actions):
        def step(state, action):
            state, out = episodes.step(state, action)
            return state, out.terminated

        return jnp.any(jax.lax.scan(step, episodes.reset(jax.random.key(0)), actions)[1], axis=0)

    fresh = 0.6 * jax.random.normal(jax.random.key(1), (50, 512, 1))
    held = jnp.broadcast_to(fresh[:1], fresh.shape)
    play = jax.jit(play)
    assert not play(fresh).any()
    assert 0.1 < play(held).mean() < 0.3
