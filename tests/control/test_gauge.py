"""Rewards over the running deviation of their discounted sum, and a learner of 2026 that learns from them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import gauge, program, replay, returns
from jaxpsn.control.agents import AGENTS, learner
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.core import errors, replaced

GAMMA, STEPS = 0.9, 500
AGENT = (
    "td3(network=hyperspherical(expansion=2), actor_hidden=16, critic_hidden=16, critic=c51(low=-5, high=5, atoms=51), "
    "scale_rewards=true, return_bound=5, n_step=2, actor_lr=3e-3, critic_lr=1e-2, batch_size=64, updates=2, gamma=0.9, "
    "tau=0.05, target_noise=0.05, replay_capacity=20000, warmup=128)"
)


def _reference(rewards, done, gamma):
    """Sums, their deviation and the greatest, of ``[T, N]`` in float64, all sums of all environments alike."""
    sums, all_sums = np.zeros(rewards.shape[1]), []
    for reward, ended in zip(np.asarray(rewards, np.float64), done, strict=True):
        sums = gamma * sums + reward
        all_sums.append(sums)
        sums = np.where(ended, 0.0, sums)
    return sums, np.std(all_sums), np.abs(all_sums).max()


def test_the_deviation_is_that_of_all_discounted_sums():
    rng = np.random.default_rng(0)
    rewards, done = rng.normal(2.0, 3.0, (60, 4)).astype(np.float32), rng.random((60, 4)) < 0.1
    seen = gauge.init(4)
    for row in zip(rewards, done, strict=True):
        seen = gauge.observe(seen, *map(jnp.asarray, row), GAMMA)
    sums, deviation, greatest = _reference(rewards, done, GAMMA)
    np.testing.assert_allclose(seen.sums, sums, rtol=1e-5)
    assert gauge.size(seen, 0.0) == pytest.approx(deviation, rel=1e-5)
    assert gauge.size(seen, 0.5) == pytest.approx(greatest / 0.5, rel=1e-5)
    assert gauge.size(seen, 0.5) > gauge.size(seen, 0.0)
    assert gauge.size(seen, 100.0) == gauge.size(seen, 0.0)
    still = gauge.observe(gauge.init(4), jnp.zeros(4), jnp.zeros(4, bool), GAMMA)
    assert gauge.size(still, 5.0) == pytest.approx(1e-4), "no reward is divided by nothing"


@pytest.fixture(scope="module")
def trained():
    config = ControlConfig(
        EnvConfig(name="probe/observation_action", num_envs=8), AGENTS.make(AGENT), "gaussian(std=0.3)", eval_envs=8
    )
    made = program.make(config)

    def run(key):
        return jax.lax.scan(lambda s, _: made.step(s), made.init(key, made.hyper), None, length=STEPS)

    return made, *jax.jit(run)(jax.random.key(0))


def test_replay_stays_raw_and_every_step_counts_once(trained):
    made, state, metrics = trained
    data = jax.tree.map(lambda leaf: leaf[:STEPS], state.replay.data)
    _, deviation, greatest = _reference(data.reward, data.terminated | data.truncated, GAMMA)
    np.testing.assert_allclose(metrics["reward"], data.reward.mean(axis=1), atol=1e-6)
    size = gauge.size(state.gauge, 5.0)
    assert size == pytest.approx(max(deviation, greatest / 5.0), rel=1e-4) == metrics["reward_scale"][-1]
    key = jax.random.key(3)
    drawn = replay.places(key, state.replay, state.clock, (16,))
    raw = returns.take(state.replay, state.clock, drawn, 2, GAMMA)
    scaled = made._batches(key, state, (16,))
    np.testing.assert_allclose(scaled.reward, raw.reward / size, rtol=1e-6)


def test_weights_stay_on_the_sphere_and_the_probe_is_solved(trained):
    made, state, _ = trained
    for tree, axis in ((state.learner.actor, 0), (state.learner.critic, 1)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if path[-1].key == "kernel":
                np.testing.assert_allclose(jnp.linalg.norm(leaf, axis=axis), 1, rtol=1e-5)
    obs = [-1.0, 1.0]
    seen = made.normalise(state.statistics, jnp.asarray(obs, jnp.float32)[:, None])
    action = made.agent.policy(state.learner.actor, seen)
    nets = learner.networks(made.config.agent, 1, 1, 2)
    value = nets.form.value(nets.critics(state.learner.critic, seen, action))[0] * gauge.size(state.gauge, 5.0)
    np.testing.assert_allclose(action[:, 0], [made.env.optimal_action(one) for one in obs], atol=0.15)
    np.testing.assert_allclose(value, [made.env.optimal_value(one, GAMMA) for one in obs], atol=0.1)


@pytest.mark.parametrize(
    "text,said",
    [
        ("td3(return_bound=5)", "scale_rewards is false"),
        ("td3(network=hyperspherical, critic_hidden=64x32)", "equal widths, one a block"),
        ("sac(network=hyperspherical, layer_norm=false)", "true, the default, as network is hyperspherical"),
        ("ddpg(network=hyperspherical, weight_decay=0.1)", "0, the default, as network"),
        ("ppo(scale_rewards=true)", "scale_rewards"),
    ],
)
def test_what_would_do_nothing_is_refused(text, said):
    with pytest.raises(errors.UserError, match=said):
        AGENTS.make(text)


def test_learners_without_it_keep_their_state():
    made = program.make(ControlConfig(EnvConfig(name="probe/action", num_envs=8)))
    state = jax.eval_shape(made.init, jax.random.key(0), made.hyper)
    assert state.gauge is None
    dqn = ControlConfig(EnvConfig(name="chain(length=5)", num_envs=2), "dqn(scale_rewards=true)", "epsilon_greedy")
    made = program.make(replace(dqn, agent=replaced(dqn.agent, {"hidden": (8,), "replay_capacity": 1000})))
    assert "reward_scale" in jax.eval_shape(made.step, jax.eval_shape(made.init, jax.random.key(0), made.hyper))[1]
