"""DQN and PQN in the loop: probes are solved, heads and noise act, runs are exact, and what does not fit is refused."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import envs
from jaxpsn.control import exploration, program
from jaxpsn.control.agents import AGENTS
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.core import errors, replaced
from jaxpsn.networks import Greedy, Values
from jaxpsn.run.checkpoints.store import Store, digest

OBSERVATIONS = {
    "choice_value": [0.0],
    "choice_observation_value": [-1.0, 1.0],
    "choice_discounting": [0.0, 1.0],
    "choice": [0.0],
    "observation_choice": [-1.0, 1.0],
}
SMALL = {
    "hidden": (16, 16), "lr": 1e-2, "batch_size": 64, "updates": 2, "gamma": 0.9, "tau": 0.05,
    "replay_capacity": 20_000, "warmup": 128,
}  # fmt: skip
ROLLED = {
    "hidden": (16, 16), "lr": 1e-2, "gamma": 0.9, "rollout": 8, "minibatches": 2, "epochs": 2, "q_lambda": 0.6,
}  # fmt: skip


def _config(name, explore="epsilon_greedy(0.2)", agent="dqn", **fields):
    agent = replaced(AGENTS.make(agent), (SMALL if agent == "dqn" else ROLLED) | fields)
    return ControlConfig(EnvConfig(name=f"probe/{name}", num_envs=8), agent, explore, eval_envs=8)


def _train(made, steps, seed=0):
    def run(key):
        return jax.lax.scan(lambda s, _: (made.step(s)[0], None), made.init(key, made.hyper), None, length=steps)[0]

    return jax.jit(run)(jax.random.key(seed))


def _beliefs(made, state, observations):
    """Values of the states' best choices, where the network that acts says values, and those choices."""
    obs = made.normalise(state.statistics, jnp.asarray(observations, jnp.float32)[:, None])
    policy = made.agent.policy
    return np.asarray(policy.raw(state.learner.actor, obs)).max(axis=1), np.asarray(policy(state.learner.actor, obs))


def _solved(made, state, name, values=True):
    value, choice = _beliefs(made, state, OBSERVATIONS[name])
    for i, obs in enumerate(OBSERVATIONS[name]):
        if values:
            assert value[i] == pytest.approx(made.env.optimal_value(obs, 0.9), abs=0.07)
        best = made.env.optimal_action(obs)
        assert best is None or choice[i] == best


SLOW = pytest.mark.slow
QUICK = ("choice_discounting",)


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else SLOW) for name in OBSERVATIONS])
@pytest.mark.parametrize("agent", ["dqn", pytest.param("pqn", marks=SLOW)])
def test_probes_are_solved(name, agent):
    made = program.make(_config(name, agent=agent))
    _solved(made, _train(made, 400), name)


@pytest.mark.parametrize(
    "explore,fields",
    [
        pytest.param("epsilon_greedy(0.2)", {"duelling": True, "double": False, "n_step": 2}, marks=SLOW),
        ("parameter(target=0.2, probes=4) + epsilon_greedy(0.01)", {"policy_head": True}),
        pytest.param(
            "parameter(distance=kl, target=0.1, probes=4)", {"critic": "c51(atoms=21, low=-2, high=2)"}, marks=SLOW
        ),
        pytest.param("noisynet(probes=4)", {}, marks=SLOW),
        ("bootstrap(heads=4, prior=1)", {"tau": 1.0, "target_every": 10}),
        (
            "parameter(target=0.2, probes=4, structure=dense) + epsilon_greedy(0.01)",
            {"agent": "pqn", "policy_head": True, "critic": "hl_gauss(atoms=21, low=-2, high=2)", "lr_steps": 8000},
        ),
        pytest.param("noisynet(probes=4)", {"agent": "pqn", "trace": "watkins"}, marks=SLOW),
        pytest.param("bootstrap(heads=4, prior=1)", {"agent": "pqn"}, marks=SLOW),
    ],
)
def test_every_kind_solves_a_probe(explore, fields):
    made = program.make(_config("observation_choice", explore, **fields))
    state = _train(made, 500)
    _solved(made, state, "observation_choice", values="policy_head" not in fields and "bootstrap" not in explore)
    assert float(jax.jit(made.evaluate)(jax.random.key(1), state)["eval_return"]) == pytest.approx(1.0)
    stored = state.replay.data.action[:500]
    assert stored.dtype == jnp.int32 and len(np.unique(stored)) > 1
    assert (state.replay.data.mask is not None) == ("bootstrap" in explore)


@functools.cache
def _stepped(explore, agent="dqn"):
    """A program and its compiled step."""
    made = program.make(_config("observation_choice", explore, agent, policy_head="parameter" in explore))
    return made, jax.jit(made.step)


HEADS = "bootstrap(heads=4)"


def test_heads_act_for_an_episode_and_learn_from_their_marks():
    made, step = _stepped(HEADS)
    state, heads = made.init(jax.random.key(0), made.hyper), []
    for _ in range(40):
        heads.append(np.asarray(state.explore.behaviour.head))
        after = step(state)[0]
        ended = np.asarray(after.envs.episode != state.envs.episode)
        moved = np.asarray(after.explore.behaviour.head) != heads[-1]
        assert not moved[~ended].any(), "a head is followed to the end of the episode"
        state = after
    assert len(np.unique(heads)) == 4
    marks = np.asarray(state.replay.data.mask[:40]).ravel()
    np.testing.assert_allclose([(marks >> head & 1).mean() for head in range(4)], 0.5, atol=0.12)


@pytest.mark.parametrize(
    "explore,agent",
    [
        (HEADS, "dqn"),
        pytest.param("parameter(probes=4) + epsilon_greedy(0.05, start=1, steps=200)", "dqn", marks=SLOW),
        ("parameter(probes=2, hold=steps(3))", "pqn"),
    ],
)
def test_seeds_side_by_side_are_single_runs_and_a_run_that_goes_on_is_the_whole(explore, agent, tmp_path):
    made, step = _stepped(explore, agent)
    axes = made.axes(jax.eval_shape(made.init, jax.random.key(0), made.hyper))
    keys = jax.random.split(jax.random.key(0), 2)
    many = jax.jit(jax.vmap(lambda key: made.init(key, made.hyper), out_axes=axes))(keys)
    steps = jax.jit(jax.vmap(made.step, in_axes=(axes,), out_axes=(axes, 0)))
    one, store = made.init(keys[1], made.hyper), Store(tmp_path, 2)
    for index in range(40):
        if index == 25:
            store.save(index, one, {})
        (many, _), (one, _) = steps(many), step(one)
    assert steps._cache_size() == 1 and step._cache_size() == 1
    second = jax.tree.map(lambda leaf: leaf[1], many.learner)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), second, one.learner)
    store.wait()
    back = store.restore(jax.eval_shape(lambda: one)).state
    for _ in range(15):
        back, _ = step(back)
    assert digest(back) == digest(one)


def test_the_target_falls_as_a_schedule_of_epsilon_does():
    rule = "parameter(target=0.1, target_from=10, target_over=5, probes=2, structure=dense)"
    policy = Greedy(Values(3, hidden=(4,)))
    params = policy.actor.init(jax.random.key(0), jnp.zeros(2))
    made = exploration.make(rule, policy, params, exploration.Space(2, 2, 3, 10, None, envs.Discrete(3)))
    state = made.init(jax.random.key(0), params, exploration.hyper_of(exploration.EXPLORATION.make(rule)))
    adapt, told, obs = jax.jit(made.adapt), [], jax.random.normal(jax.random.key(1), (16, 2))
    for i in range(8):
        told.append(float(made.report(state)["target"]))
        state = adapt(jax.random.fold_in(jax.random.key(2), i), params, state, obs)
    np.testing.assert_allclose(told, [0.1 * (1 + 9 * max(1 - i / 5, 0.0)) for i in range(8)], rtol=1e-5)


@pytest.mark.parametrize(
    "agent,explore,env,said",
    [
        ("sac", "epsilon_greedy", "probe/action", "explore = 'epsilon_greedy': "),
        ("dqn", "ou", "probe/choice", "explore = 'ou': .*epsilon_greedy"),
        ("dqn", "none", "probe/action", "agent = 'dqn': .*td3"),
        ("td3", "none", "probe/choice", "agent = 'td3': dqn, pqn"),
        ("pqn", "none", "probe/action", "agent = 'pqn': .*td3"),
        ("pqn", "natural", "probe/choice", "explore = 'natural': another rule, as pqn learns values"),
        ("pqn(minibatches=7)", "none", "probe/choice", "agent.minibatches = 7: a divisor of the 256 steps"),
        ("pqn(rollout=100)", "none", "probe/choice", "agent.rollout = 100: at most the 50 vector steps of 400 steps"),
        ("td3", "bootstrap", "probe/action", "explore = 'bootstrap': "),
        ("dqn(policy_head=true)", "bootstrap", "probe/choice", "agent.policy_head = True: false, as bootstrap"),
        ("dqn(critic=c51)", "bootstrap", "probe/choice", "agent.critic = 'c51': squared or huber, as bootstrap"),
        ("dqn(updates=1, warmup=0, target_every=100)", "none", "probe/choice", "or the targets never move"),
        ("dqn", "parameter(target_from=3)", "probe/choice", "above 1 and target_over above 0"),
        ("td3", "parameter(distance=kl)", "probe/action", "action, as the policy of td3 has no distribution"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(agent, explore, env, said):
    with pytest.raises(errors.UserError, match=said):
        config = ControlConfig(EnvConfig(name=env, num_envs=8), AGENTS.make(agent), explore)
        if "target_every" in agent or "rollout" in agent:
            config.refuse_idle(400)
        program.make(replace(config, eval_envs=2))
