"""Learning, end to end, where the answers are known in closed form."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import gauge, program
from jaxpsn.control.agents import AGENTS, learner
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.core import replaced
from jaxpsn.envs.brax_api import Env, State

OBSERVATIONS = {
    "constant_reward": [0.0],
    "observation_reward": [-1.0, 1.0],
    "discounting": [0.0, 1.0],
    "action": [0.0],
    "observation_action": [-1.0, 1.0],
}

SETTINGS = {
    "td3": {"target_noise": 0.05},
    "sac": {"temperature": 1e-3, "tune_temperature": False},  # values are then those of the rewards alone
}

XQC = {
    "network": "xqc(momentum=0.9)", "critic": "c51(low=-5, high=5, atoms=51)", "scale_rewards": True,
    "return_bound": 5.0, "normalize_observations": False,
}  # fmt: skip


def _config(name, algorithm="td3", **agent):
    return ControlConfig(
        env=EnvConfig(name=name, num_envs=8),
        agent=replaced(
            AGENTS.make(algorithm),
            dict(
                actor_hidden=(16, 16), critic_hidden=(16, 16), actor_lr=3e-3, critic_lr=1e-2, batch_size=64, updates=2,
                gamma=0.9, tau=0.05, replay_capacity=20_000, warmup=128, **agent,
            ) | SETTINGS.get(algorithm, {}),
        ),
        explore="gaussian(std=0.3)",
        eval_envs=8,
    )  # fmt: skip


def _train(made, steps, seed=0):
    def run(key):
        return jax.lax.scan(lambda s, _: (made.step(s)[0], None), made.init(key, made.hyper), None, length=steps)[0]

    return jax.jit(run)(jax.random.key(seed))


def _beliefs(made, state, observations):
    """The first critic's value of the policy's action, and that action."""
    config = made.config.agent
    obs = made.normalise(state.statistics, jnp.asarray(observations, jnp.float32)[:, None])
    action = made.agent.policy(state.learner.actor, obs)
    critics = jax.tree.leaves(state.learner.critic)[0].shape[0]
    nets = learner.networks(config, 1, 1, critics)
    said = nets.form.value(nets.critics(state.learner.critic, obs, action)[0])
    scale = 1.0 if state.gauge is None else gauge.size(state.gauge, config.return_bound)
    return np.asarray(scale * said), np.asarray(action)[:, 0]


@pytest.mark.parametrize(
    "algorithm,fields,steps",
    [
        ("ddpg", {}, 500),
        ("td3", {}, 500),
        ("sac", {}, 500),
        *(pytest.param(name, XQC, 1000, marks=pytest.mark.slow, id=f"{name}-xqc") for name in ("td3", "sac")),
    ],
)
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_probes_are_solved(name, algorithm, fields, steps):
    made = program.make(_config(f"probe/{name}", algorithm, **fields))
    state = _train(made, steps)
    value, action = _beliefs(made, state, OBSERVATIONS[name])
    for i, obs in enumerate(OBSERVATIONS[name]):
        assert value[i] == pytest.approx(made.env.optimal_value(obs, 0.9), abs=0.05)
        best = made.env.optimal_action(obs)
        assert best is None or action[i] == pytest.approx(best, abs=0.15)


class Endless(Env):
    """Reward 1 at every step for ever, one observation: worth 1 / (1 - gamma), if a time limit is no end."""

    observation_size = action_size = 1
    backend = "none"

    def reset(self, rng):
        """The only state."""
        return State(None, jnp.zeros(1), jnp.zeros(()), jnp.zeros(()))

    def step(self, state, action):
        """Stay."""
        return state.replace(reward=jnp.ones(()))


@pytest.mark.parametrize("terminal,value", [(False, 1 / (1 - 0.5)), (True, 1 / (1 - 0.5 * 3 / 4))])
def test_a_time_limit_bootstraps_unless_the_release_is_asked_for(terminal, value):
    config = _config("endless", time_limit_terminal=terminal)
    config = replace(config, agent=replace(config.agent, gamma=0.5), env=replace(config.env, episode_length=4))
    made = program.make(config, env=Endless())
    state = _train(made, 300)
    data = jax.tree.map(lambda x: np.asarray(x)[:300], state.replay.data)
    assert data.truncated.mean() == 1 / 4 and not data.terminated.any()
    assert _beliefs(made, state, [0.0])[0][0] == pytest.approx(value, abs=0.15)


@pytest.mark.parametrize(
    "rule,solving", [("parameter(sigma=0.6, target=0.6, probes=4)", (4,)), ("gaussian(std=0.6)", (0, 1, 2))]
)
@pytest.mark.parametrize("algorithm", ["ddpg", "td3"])
def test_only_held_perturbations_find_the_end_of_the_corridor(rule, solving, algorithm):
    """In each of four seeds; white noise gets there by luck, in about one of four."""
    config = _config("probe/held_exploration", algorithm, observation_clip=5.0)
    made = program.make(replace(config, explore=rule, agent=replace(config.agent, gamma=0.97)))

    @jax.jit
    def ends(key):
        start = made.init(key, made.hyper)
        state = jax.lax.scan(lambda s, _: (made.step(s)[0], None), start, None, length=1500)[0]
        found = jnp.sum(state.replay.data.terminated[:1500])
        return found, made.evaluate(jax.random.key(1), state)["eval_return"]

    solved = [
        int(found) > 10 and float(score) > 0.99 for found, score in map(ends, jax.random.split(jax.random.key(0), 4))
    ]
    assert sum(solved) in solving, solved


@pytest.mark.parametrize(
    "rule,algorithm,fields",
    [
        ("zeta(std=0.5)", "ddpg", {}),
        ("gsde(std=0.5, hold=episode)", "td3", {}),
        ("lattice(std=0.5, hold=episode)", "ddpg", {}),
        ("noisynet(probes=4)", "ddpg", {}),
        ("noisynet(probes=4)", "td3", {}),
        ("noisynet(probes=4)", "sac", {}),
        ("parameter(sigma=0.3, target=0.3, probes=4)", "sac", {"behaviour": "mean"}),
        ("gsde(std=0.5, hold=episode)", "sac", {"behaviour": "mean"}),
        ("pink(std=1)", "sac", {"behaviour": "driven", "log_std_low": -2.0, "log_std_high": -1.0}),
    ],
)
def test_every_rival_learns_from_the_actions_that_it_executed(rule, algorithm, fields):
    config = _config("probe/observation_action", algorithm, **fields)
    made = program.make(replace(config, explore=rule))
    state = _train(made, 500)
    data = jax.tree.map(lambda x: np.asarray(x)[:500], state.replay.data)
    np.testing.assert_allclose(data.reward, 1 - (data.action[..., 0] + data.obs[..., 0] / 2) ** 2, atol=1e-5)
    alike = data.obs[-100:, :, 0] == 1.0
    # By then NoisyNet has learnt that its noise costs reward.
    assert data.action[-100:][alike].std() > (0.01 if "noisynet" in rule else 0.05), "it explores to the end"
    _, action = _beliefs(made, state, [-1.0, 1.0])
    np.testing.assert_allclose(action, [0.5, -0.5], atol=0.15)
