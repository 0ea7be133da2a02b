"""DQN: its formulas against NumPy in float64, what is clean and what is perturbed, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import exploration
from jaxpsn.control.agents import AGENTS, dqn, learner, losses, rounds
from jaxpsn.control.agents.critics.huber import Huber
from jaxpsn.control.state import Transition
from jaxpsn.core import replaced
from jaxpsn.networks import values

A, OBS, B = 3, 4, 12
RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
HYPER = {"lr": jnp.float32(1e-2)}
SMALL = {"hidden": (8, 6), "head_scale": 0.5, "tau": 0.1, "gamma": 0.9}


def _f32(*arrays):
    return [jnp.asarray(one, jnp.float32) for one in arrays]


@functools.cache
def _agent(learnt=None, **changes):
    """A config, its agent and networks, and a state whose targets differ from its weights."""
    config = replaced(AGENTS.make("dqn"), SMALL | changes)
    noise = exploration.learnt_noise(exploration.EXPLORATION.make(learnt)) if learnt else None
    agent, nets = config.build(OBS, A, noise), dqn.networks(config, OBS, A, noise)
    agent = agent._replace(update=jax.jit(agent.update))
    state = jax.jit(agent.init)(KEY, HYPER, {"sigma": jnp.float32(0.5)})
    slot = dqn.slots(config)
    moved = jax.tree.map(lambda x: 1.3 * x, getattr(state, slot.target))
    return config, agent, nets, state.replace(**{slot.target: moved})


def _batch():
    rng = np.random.default_rng(3)
    obs, after, reward = _f32(rng.normal(size=(B, OBS)), rng.normal(size=(B, OBS)), rng.normal(size=B))
    ended = jnp.asarray(np.arange(B) % 3 == 0)
    action = jnp.asarray(rng.integers(0, A, B), jnp.int32)
    discount = jnp.asarray(np.where(np.arange(B) % 2, 0.9, 0.81), jnp.float32)
    return Transition(obs, action, reward, ended, jnp.zeros(B, bool), after, discount)


def _equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool(jnp.array_equal(x, y)), a, b)))


def _dense(x, layer):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def _hidden(x, layer):
    x = _dense(x, layer["dense"])
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return np.maximum(x * np.asarray(layer["norm"]["scale"], np.float64) + np.asarray(layer["norm"]["bias"]), 0.0)


def _values(params, obs, duelling=False):
    """The networks' values, layer by layer."""
    tree, obs = params["params"], np.asarray(obs, np.float64)
    x = _hidden(obs, tree["hidden_0"])
    if not duelling:
        return _dense(_hidden(x, tree["hidden_1"]), tree["head"])
    value = _dense(_hidden(x, tree["hidden_value"]), tree["head_value"])
    advantage = _dense(_hidden(x, tree["hidden_advantage"]), tree["head_advantage"])
    return np.array([[value[i, 0] + advantage[i, a] - advantage[i].mean() for a in range(A)] for i in range(len(obs))])


@pytest.mark.parametrize("duelling", [False, True])
def test_values_and_their_streams(duelling):
    _, agent, _, state = _agent(duelling=duelling)
    obs = _batch().obs
    expected = _values(state.actor, obs, duelling)
    np.testing.assert_allclose(agent.policy.raw(state.actor, obs), expected, atol=1e-5)
    np.testing.assert_array_equal(agent.policy(state.actor, obs), expected.argmax(axis=1))
    assert agent.policy(state.actor, obs).dtype == jnp.int32


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("head", [False, True])
def test_the_target(double, head):
    config, _, nets, state = _agent(double=double, policy_head=head)
    batch, slot = _batch(), dqn.slots(config)
    online, target = getattr(state, slot.weights), getattr(state, slot.target)
    ours = dqn.td_target(config, nets, online, target, batch, learner.purposes(KEY, False))
    chooses, said = (_values(one, batch.next_obs) for one in (online if double else target, target))
    for i in range(B):
        rest = 0.0 if batch.terminated[i] else float(batch.discount[i]) * said[i, chooses[i].argmax()]
        assert ours[i] == pytest.approx(float(batch.reward[i]) + rest, abs=1e-5)


def test_the_huber_loss():
    out, target = 3 * RNG.normal(size=(2, B)), RNG.normal(size=B)
    for delta in (0.5, 2.0):
        sizes = np.abs(out - target)
        expected = np.where(sizes <= delta, 0.5 * sizes**2, delta * (sizes - 0.5 * delta)).mean(axis=1).sum()
        assert Huber(delta=delta).loss(*_f32(out, target)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("critic", ["huber", "squared", "c51(atoms=11)"])
def test_one_update_descends_the_loss_of_the_taken_action(critic):
    config, agent, nets, state = _agent(critic=AGENTS.make(f"dqn(critic={critic})").critic)
    batch = _batch()
    target = dqn.td_target(config, nets, state.actor, state.target_actor, batch, learner.purposes(KEY, False))

    def loss(params):
        out = nets.values(params, batch.obs, None)
        taken = jnp.stack([out[i, batch.action[i]] for i in range(B)])
        return config.critic.loss(taken[None], target)

    after, told = agent.update(KEY, state, batch, HYPER, jnp.int32(0))
    assert told["critic_loss"][0] == pytest.approx(float(loss(state.actor)), rel=1e-5)
    moved, _ = learner.descend(
        learner.optimizer(0.0), state.actor, state.actor_optimizer, jax.grad(loss)(state.actor), HYPER["lr"]
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), after.actor, moved)
    followed = jax.tree.map(lambda t, o: t + 0.1 * (o - t), state.target_actor, after.actor)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.target_actor, followed)
    assert after.critic is None and after.target_critic is None


def test_hard_targets_are_copies_every_few_updates():
    _, agent, _, state = _agent(tau=1.0, target_every=3)
    for count in range(4):
        after, _ = agent.update(KEY, state, _batch(), HYPER, jnp.int32(count))
        assert _equal(after.target_actor, after.actor if count == 2 else state.target_actor)
        state = after
    assert agent.update._cache_size() == 1


def test_the_loss_of_the_policy_head():
    logits, action = RNG.normal(size=(B, A)), RNG.integers(0, A, B)
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.mean([-np.log(chance[i, action[i]]) for i in range(B)])
    assert dqn.policy_loss(_f32(logits)[0], jnp.asarray(action)) == pytest.approx(expected, rel=1e-5)


def test_a_policy_head_leaves_the_values_alone_and_learns_to_choose_their_best():
    _, plain, _, one = _agent()
    _, agent, nets, two = _agent(policy_head=True)
    assert two.target_actor is None and set(two.actor["params"]) == set(one.actor["params"])
    batch = _batch()
    for count in range(3):
        wanted = values.best(nets.values(two.critic, batch.obs, None))
        loss = dqn.policy_loss(nets.logits(two.actor, batch.obs, None), wanted)
        one = one.replace(actor=two.critic, target_actor=two.target_critic, actor_optimizer=two.critic_optimizer)
        two, told = agent.update(KEY, two, batch, HYPER, jnp.int32(count))
        one, metrics = plain.update(KEY, one, batch, HYPER, jnp.int32(count))
        assert told["policy_loss"][0] == pytest.approx(float(loss), abs=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), two.critic, one.actor)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), two.target_critic, one.target_actor)
    assert {"critic_loss", "q", "policy_loss"} == told.keys() and "policy_loss" not in metrics
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (400, *x.shape)), batch)
    two, _ = jax.jit(functools.partial(rounds.learn, agent))(KEY, two, many, HYPER, jnp.int32(0))
    chosen, wanted = agent.policy(two.actor, batch.obs), values.best(nets.values(two.critic, batch.obs, None))
    assert (chosen == wanted).mean() > 0.9 and len(set(wanted.tolist())) > 1


def test_noisy_values_take_a_draw_for_each_purpose():
    config, agent, nets, state = _agent("noisynet")
    batch, keys = _batch(), learner.purposes(KEY, True)
    assert "sigma" in state.actor and agent.policy.raw(state.actor, batch.obs).shape == (B, A)
    target = dqn.td_target(config, nets, state.actor, state.target_actor, batch, keys)
    for name, looks in (("target", True), ("smoothing", True), ("online", False)):
        other = keys._replace(**{name: jax.random.key(7)})
        again = dqn.td_target(config, nets, state.actor, state.target_actor, batch, other)
        assert _equal(target, again) != looks, name
    after, _ = agent.update(KEY, state, batch, HYPER, jnp.int32(0))
    assert not _equal(after.actor["sigma"], state.actor["sigma"])
    np.testing.assert_allclose(
        losses.polyak(state.target_actor, after.actor, 0.1)["sigma"]["head"]["bias"],
        after.target_actor["sigma"]["head"]["bias"], atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["action", "kl"])
def test_distances_are_the_epsilon_that_departs_as_far(kind):
    """Perturbed scores at the distance of epsilon-greedy have distance epsilon."""
    clean, noisy = RNG.normal(size=(40, A)), RNG.normal(size=(40, A))
    if kind == "action":
        share = np.mean([clean[i].argmax() != noisy[i].argmax() for i in range(40)])
        expected = share / (1 - 1 / A)
    else:
        p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (clean, noisy))
        divergence = (p * np.log(p / q)).sum(axis=1).mean()
        expected = (1 - np.exp(-divergence)) / (1 - 1 / A)
        assert -np.log(1 - expected + expected / A) == pytest.approx(divergence)
    policy = values.Greedy(values.Values(A))
    assert policy.distances[kind](*_f32(clean, noisy)) == pytest.approx(expected, rel=1e-4)
    many = policy.distances[kind](*_f32(clean.reshape(4, 10, A), noisy.reshape(4, 10, A)), 1)
    assert many.shape == (4,)


def test_heads_learn_from_their_own_share_and_priors_stay():
    _, agent, _, state = _agent("bootstrap(heads=4, prior=2, keep=0.5)")
    mask = jnp.asarray(RNG.integers(0, 16, B), jnp.uint32)
    batch = _batch().replace(mask=mask)
    every = [jax.tree.map(lambda x, h=h: x[h], state.actor) for h in range(4)]
    targets = [jax.tree.map(lambda x, h=h: x[h], state.target_actor) for h in range(4)]

    def said(params, obs):
        return _values(params, obs) + _values({"params": params["prior"]}, obs)

    expected = 0.0
    for h in range(4):
        q, after = said(every[h], batch.obs), said(targets[h], batch.next_obs)
        chosen = said(every[h], batch.next_obs).argmax(axis=1)
        for i in range(B):
            rest = 0.0 if batch.terminated[i] else float(batch.discount[i]) * after[i, chosen[i]]
            error = abs(q[i, batch.action[i]] - float(batch.reward[i]) - rest)
            expected += (int(mask[i]) >> h & 1) * (error**2 / 2 if error <= 1 else error - 0.5) / B
    after, told = agent.update(KEY, state, batch, HYPER, jnp.int32(0))
    assert told["critic_loss"][0] == pytest.approx(expected, rel=1e-4)
    assert _equal(after.actor["prior"], state.actor["prior"])
    without, _ = agent.update(KEY, state, batch.replace(mask=mask & ~jnp.uint32(2)), HYPER, jnp.int32(0))
    moved = (without.actor["params"]["head"]["bias"] != state.actor["params"]["head"]["bias"]).any(axis=1)
    assert moved.tolist() == [True, False, True, True], "the second head has no share in any"


def test_the_clean_policy_of_heads_is_their_majority():
    _, agent, _, state = _agent("bootstrap(heads=4, prior=2, keep=0.5)")
    obs = _batch().obs
    scores = np.asarray(jax.jit(agent.policy.heads)(state.actor, obs))
    votes = [np.bincount(scores[i].argmax(axis=1), minlength=A) for i in range(B)]
    assert scores.shape == (B, 4, A) and len({tuple(scores[0, h]) for h in range(4)}) == 4
    np.testing.assert_array_equal(agent.policy(state.actor, obs), np.argmax(votes, axis=1))


def test_marks_are_drawn_for_each_head():
    heads = exploration.Heads(20, 0.0, 0.3)
    drawn = dqn.shares(dqn.marks(heads, KEY, 4000), heads)
    np.testing.assert_allclose(drawn.mean(axis=1), 0.3, atol=0.04)
    assert np.abs(np.corrcoef(drawn) - np.eye(20)).max() < 0.08
    assert (dqn.shares(dqn.marks(heads._replace(keep=1.0), KEY, 7), heads) == 1).all()
