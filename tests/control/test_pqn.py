"""PQN: what it learns from, against NumPy in float64, and its update against optax's rectified Adam."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpsn.control.agents import AGENTS
from jaxpsn.control.state import Transition
from jaxpsn.core import compat
from tests.control.test_dqn import HYPER, KEY, OBS, A, _f32, _values

T, N = 7, 3
SMALL = "pqn(hidden=8x6, head_scale=0.5, gamma=0.9, q_lambda=0.7{})"


@functools.cache
def _agent(more=""):
    config = AGENTS.make(SMALL.format(more))
    agent = config.build(OBS, A)
    return config, agent, agent.init(KEY, HYPER, {})


def _rows():
    rng = np.random.default_rng(4)
    obs, after, reward = _f32(rng.normal(size=(T, N, OBS)), rng.normal(size=(T, N, OBS)), rng.normal(size=(T, N)))
    terminated, truncated = (jnp.asarray(one) for one in rng.random((2, T, N)) < 0.2)
    return Transition(obs, jnp.asarray(rng.integers(0, A, (T, N)), jnp.int32), reward, terminated, truncated, after)


@pytest.mark.parametrize("trace", ["peng", "watkins"])
def test_returns_bootstrap_from_the_best_values_and_end_before_cuts(trace):
    _, agent, state = _agent(f", trace={trace}")
    rows = _rows()
    found = agent.samples(KEY, state, rows)
    following, own = _values(state.actor, rows.next_obs), _values(state.actor, rows.obs)
    for i in range(N):
        later = 0.0
        for t in reversed(range(T)):
            last = t == T - 1 or rows.terminated[t, i] or rows.truncated[t, i]
            last = last or (trace == "watkins" and own[t + 1, i].argmax() != rows.action[t + 1, i])
            best = following[t, i].max()
            follows = 0.0 if rows.terminated[t, i] else best if last else 0.3 * best + 0.7 * later
            later = float(rows.reward[t, i]) + 0.9 * follows
            assert float(found.returns[t, i]) == pytest.approx(later, abs=1e-5)


def test_an_update_is_rectified_adam_on_a_clipped_gradient():
    config, agent, state = _agent(", gradient_clip=0.01")
    batch = jax.tree.map(lambda leaf: leaf.reshape(T * N, *leaf.shape[2:]), agent.samples(KEY, state, _rows()))

    def loss(params):
        out = agent.policy.raw(params, batch.obs)
        taken = jnp.stack([out[i, batch.action[i]] for i in range(T * N)])
        return jnp.mean(jnp.square(taken - batch.returns))

    gradient = jax.grad(loss)(state.actor)
    assert float(optax.tree.norm(gradient)) > config.gradient_clip
    rule = optax.chain(optax.clip_by_global_norm(config.gradient_clip), optax.radam(1e-2))
    with compat.foreign():
        step, _ = rule.update(gradient, rule.init(state.actor), state.actor)
    expected = optax.apply_updates(state.actor, step)
    after, told = jax.jit(agent.update)(KEY, state, batch, HYPER)
    assert told["critic_loss"][0] == pytest.approx(float(loss(state.actor)), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.actor, expected)
    assert after.critic is None and after.target_actor is None
