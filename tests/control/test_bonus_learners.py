"""A bonus in learners of values and of rollouts: what each learns from it, against NumPy in float64."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import program
from jaxpsn.control.agents import AGENTS, dqn
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.state import Transition
from jaxpsn.core import errors
from jaxpsn.networks.values import incurious

KEY = jax.random.key(0)
RATE = {"lr": jnp.float32(1e-2)}


def _batch():
    rng = np.random.default_rng(0)
    obs, following = (jnp.asarray(rng.normal(size=(6, 3)), jnp.float32) for _ in range(2))
    action = jnp.asarray(rng.integers(0, 2, 6), jnp.int32)
    reward, flag = jnp.asarray(rng.normal(size=6), jnp.float32), jnp.arange(6) < 3
    own = Transition(None, None, jnp.abs(reward), flag & False, flag & False, following, jnp.full(6, 0.9, jnp.float32))
    return Transition(obs, action, reward, flag, ~flag, following, intrinsic=own)


@pytest.mark.parametrize("head", [False, True])
def test_dqn_learns_two_values_and_explores_by_their_sum(head):
    config = AGENTS.make(f"dqn(hidden=8, head_scale=0.5, tau=0.5, policy_head={str(head).lower()})")
    agent = config.build(3, 2)
    before, batch = agent.init(KEY, RATE, {}), _batch()
    state = agent.intrinsic(jax.random.key(1), before, jnp.float32(2.0), jnp.float32(0.01))
    update = jax.jit(agent.update)
    after, told = update(KEY, state, batch, RATE, jnp.int32(0))
    plain, alone = update(KEY, before, batch, RATE, jnp.int32(0))
    # The values of the task learn as they do without, and those of the bonus as they would from what it pays alone.
    slot = dqn.slots(config)
    for name in (slot.weights, slot.target):
        ours = incurious(getattr(after, name))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), ours, getattr(plain, name))
    assert told["critic_loss"][0] == pytest.approx(float(alone["critic_loss"][0]), rel=1e-6)
    own, paid = state.intrinsic, batch.intrinsic.replace(obs=batch.obs, action=batch.action)
    places = {slot.weights: own.critic, slot.target: own.target_critic, slot.optimizer: own.critic_optimizer}
    theirs, _ = update(KEY, before.replace(**places), paid, RATE, jnp.int32(0))
    for mine, name in ((after.intrinsic.critic, slot.weights), (after.intrinsic.target_critic, slot.target)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), mine, getattr(theirs, name))
    if head:
        return
    # What explores is the sum, at sizes that beta says; what is evaluated is the task's alone.
    q, paid = (np.asarray(agent.policy.scores(one, batch.obs), np.float64) for one in (plain.actor, theirs.actor))
    sizes = [max(np.abs(one - one.mean(axis=-1, keepdims=True)).mean(), 0.01) for one in (q, paid)]
    np.testing.assert_allclose(agent.policy.raw(after.actor, batch.obs), q + 2 * sizes[0] / sizes[1] * paid, rtol=1e-4)
    np.testing.assert_array_equal(agent.policy(after.actor, batch.obs), q.argmax(axis=-1))


def test_rollouts_add_advantages_of_a_stream_without_ends():
    agent = "ppo(actor_hidden=8, critic_hidden=8, rollout=6, minibatches=2, epochs=1, head_scale=0.5, gae_lambda=0.9)"
    task = EnvConfig(name="probe/held_exploration", num_envs=4, episode_length=4)
    bonus = "rnd(hidden=8, features=4, ladder=4, beta=0.5, gamma=0.97, lr=1e-2)"
    made = program.make(ControlConfig(task, agent, "parameter(groups=2)", 4, bonus=bonus))

    @jax.jit
    def look(key):
        state = made.init(key, made.hyper)
        state, _ = jax.lax.scan(lambda state, _: made.step(state), state, None, length=5)
        after, last = made.step(state)
        gain = jnp.arange(24, dtype=jnp.float32).reshape(2, 12) - 12.0
        # As the step that completes the rollout finds it: all rows, the old weights, the statistics before.
        filled = after.replace(learner=state.learner, statistics=state.statistics)
        mixed, paid = made._paid(filled, gain, jnp.zeros((6, 4), bool))
        own, rows = state.learner.intrinsic, after.replay.data
        follows = jnp.concatenate([rows.obs[1:], after.envs.obs[None]])
        value, then = (made.agent.value(own.critic, made.normalise(state.statistics, x)) for x in (rows.obs, follows))
        return mixed, paid, value, then, made.bonus.reward(after.bonus, rows.next_obs), rows, last, own.beta, after

    mixed, paid, value, then, reward, rows, last, beta, after = look(KEY)
    assert np.asarray(rows.truncated).any(), "an episode ends within the rollout"
    value, then, reward = (np.asarray(x, np.float64) for x in (value, then, reward))
    found, later = np.zeros_like(value), 0.0
    for t in reversed(range(6)):
        later = reward[t] + 0.97 * then[t] - value[t] + 0.97 * 0.9 * later
        found[t] = later
    turn = np.moveaxis(found, 0, 1).reshape(2, 12)
    gain = np.arange(24.0).reshape(2, 12) - 12
    rungs = float(beta) * np.array([[0.5], [2.0]])
    expected = gain / np.abs(gain).mean() + rungs * turn / max(np.abs(turn).mean(), 0.01)
    np.testing.assert_allclose(mixed, expected, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(paid.target, turn + np.moveaxis(value, 0, 1).reshape(2, 12), rtol=2e-4, atol=1e-6)
    # The step that completes the rollout learns from it.
    assert last["bonus_critic_loss"][1] == 2 and after.learner.intrinsic.beta == beta
    assert float(last["bonus_critic_loss"][0]) > 0


@pytest.mark.parametrize("agent", ["ppo(actor_hidden=8, critic_hidden=8", "pqn(hidden=8"])
def test_a_rollout_is_learnt_once_after_it_was_paid_for(agent):
    task = EnvConfig(name="probe/held_exploration" if agent.startswith("ppo") else "probe/choice", num_envs=4)
    explore = "none" if agent.startswith("ppo") else "epsilon_greedy(0.5)"
    made = program.make(
        ControlConfig(task, f"{agent}, rollout=6, minibatches=2, epochs=1)", explore, 4, bonus="counts")
    )
    # It pays as much as was learnt: nothing for the first rollout, 24 a step for the second.
    pays = made.bonus._replace(
        reward=lambda state, reached: jnp.full(reached.shape[:-1], state.learnt["novelty"].sum())
    )
    state, step, visits, told, losses = made.init(KEY, made.hyper), jax.jit(replace(made, bonus=pays).step), [], [], []
    for _ in range(12):
        state, metrics = step(state)
        visits.append(float(jnp.sum(state.bonus.learnt["novelty"])))
        told.append(float(metrics["cells_visited"][1]))
        losses.append(float(metrics["bonus_critic_loss"][0]))
    assert visits == [0] * 5 + [24] * 6 + [48] and told == ([0] * 5 + [2]) * 2
    assert 0 < losses[5] < 10 and losses[11] > 100, losses


def test_returns_of_a_bonus_pass_through_ends():
    agent = AGENTS.make("pqn(hidden=8, head_scale=0.5, q_lambda=0.5)").build(3, 2)
    state = agent.intrinsic(jax.random.key(1), agent.init(KEY, RATE, {}), jnp.float32(1.0), jnp.float32(0.01))
    batch = jax.tree.map(lambda leaf: leaf.reshape(3, 2, *leaf.shape[1:]), _batch())
    paid = np.asarray(agent.samples(KEY, state, batch).paid)
    own = batch.intrinsic
    value = np.asarray(agent.policy.scores(state.intrinsic.critic, own.next_obs), np.float64).max(axis=-1)
    found, later = [], value[2]
    for t in (2, 1, 0):
        later = np.asarray(own.reward[t]) + 0.9 * (0.5 * value[t] + 0.5 * later)
        found.insert(0, later)
    np.testing.assert_allclose(paid, found, rtol=1e-5)


def test_values_of_several_networks_take_no_bonus():
    with pytest.raises(errors.UserError) as caught:
        ControlConfig(EnvConfig(name="probe/choice", num_envs=8), "dqn", "bootstrap", bonus="rnd")
    assert "bonus = 'rnd': none, or another rule than bootstrap" in str(caught.value)
    ControlConfig(EnvConfig(name="probe/choice", num_envs=8), "dqn(policy_head=true)", "noisynet", bonus="rnd")
