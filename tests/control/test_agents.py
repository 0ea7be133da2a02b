"""One update of each algorithm against NumPy, and what it may and may not touch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpsn.control.agents import AGENTS, ddpg, learner, losses, rounds, td3
from jaxpsn.control.presets import PRESETS
from jaxpsn.control.state import Transition
from jaxpsn.control.types import hyper, of_agent
from jaxpsn.core import compat, replaced

SMALL = {"actor_hidden": (8,), "critic_hidden": (8,), "head_scale": 0.5, "tau": 0.1}
HYPER = {"actor_lr": jnp.float32(1e-2), "critic_lr": jnp.float32(1e-2)}
KEY = jax.random.key(0)


def _batch(*lead):
    rng = np.random.default_rng(len(lead))

    def normal(*shape):
        return jnp.asarray(rng.normal(size=(*lead, *shape)), jnp.float32)

    flag = jnp.asarray(rng.random(lead) < 0.3)
    return Transition(normal(3), jnp.tanh(normal(2)), normal(), flag, ~flag, normal(3))


def _equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool(jnp.array_equal(x, y)), a, b)))


def _agent(algorithm, **changes):
    delay = {"policy_delay": 3} if algorithm == "td3" else {}
    config = replaced(AGENTS.make(algorithm), SMALL | delay | changes)
    agent = config.build(3, 2)
    return config, agent, agent.init(KEY, HYPER, {})


def test_targets_are_the_papers_formulas():
    batch, rng = _batch(16), np.random.default_rng(5)
    for algorithm, count in (("ddpg", 1), ("td3", 2)):
        config, _, state = _agent(algorithm)
        nets = learner.networks(config, 3, 2, count)
        noisy = [jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), t)
                 for t in (state.target_actor, state.target_critic)]  # fmt: skip
        state = state.replace(target_actor=noisy[0], target_critic=noisy[1])
        action = nets.policy(noisy[0], batch.next_obs)
        if algorithm == "ddpg":
            ours = ddpg.critic_target(config, nets, state, batch).target
        else:
            ours = td3.critic_target(config, nets, state, batch, KEY).target
            action = losses.smooth(KEY, action, 0.2, 0.5)
        for i in range(16):
            q = [
                float(nets.critic(jax.tree.map(lambda x, c=c: x[c], noisy[1]), batch.next_obs[i], action[i]))
                for c in range(count)
            ]
            rest = 0.0 if batch.terminated[i] else config.gamma * min(q)
            assert ours[i] == pytest.approx(float(batch.reward[i]) + rest, abs=1e-5)


@pytest.mark.parametrize("algorithm", ["ddpg", "td3"])
def test_the_rate_is_traced_and_equals_optax(algorithm):
    config, agent, state = _agent(algorithm, **({"policy_delay": 1} if algorithm == "td3" else {}))
    nets = learner.networks(config, 3, 2, 1 if algorithm == "ddpg" else 2)
    batch = _batch(16)
    update = jax.jit(agent.update)
    after, _ = update(KEY, state, batch, HYPER, jnp.int32(0))
    if algorithm == "ddpg":
        target = ddpg.critic_target(config, nets, state, batch).target
    else:
        target = td3.critic_target(config, nets, state, batch, KEY).target

    def loss(critic):
        return losses.total(losses.squared(nets.critics(critic, batch.obs, batch.action), target))

    adam, gradient = optax.adam(1e-2), jax.grad(loss)(state.critic)
    with compat.foreign():
        step, _ = adam.update(gradient, adam.init(state.critic))
    expected = optax.apply_updates(state.critic, step)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.critic, expected)
    still = {"actor_lr": jnp.float32(0), "critic_lr": jnp.float32(0)}
    frozen, _ = update(KEY, state, batch, still, jnp.int32(0))
    assert _equal((frozen.actor, frozen.critic), (state.actor, state.critic))
    assert update._cache_size() == 1


def test_weight_decay_is_decoupled_and_of_kernels_only():
    rule = learner.optimizer(0.1)
    layer = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full((2,), 3.0)}
    params = {"params": layer, "sigma": layer}
    zero = jax.tree.map(jnp.zeros_like, params)
    after, _ = learner.descend(rule, params, rule.init(params), zero, jnp.float32(0.5))
    np.testing.assert_allclose(after["params"]["kernel"], 3 - 0.5 * 0.1 * 3)
    assert _equal((after["params"]["bias"], after["sigma"]), (layer["bias"], layer))
    twins = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), {"params": layer})
    zero = jax.tree.map(jnp.zeros_like, twins)
    after, _ = learner.descend(rule, twins, rule.init(twins), zero, jnp.float32(0.5))
    assert _equal(after["params"]["bias"], twins["params"]["bias"]), "in a stack a bias has two axes"


def test_ddpg_moves_everything_and_td3_delays_actor_and_targets():
    batch = _batch(16)
    _, agent, state = _agent("ddpg")
    after, _ = agent.update(KEY, state, batch, HYPER, jnp.int32(0))
    for part in ("actor", "critic", "target_actor", "target_critic"):
        assert not _equal(getattr(after, part), getattr(state, part)), part
    _, agent, state = _agent("td3")
    update = jax.jit(agent.update)
    for count in range(7):
        after, metrics = update(KEY, state, batch, HYPER, jnp.int32(count))
        assert not _equal(after.critic, state.critic)
        moved = not _equal(after.actor, state.actor)
        followed = not _equal(after.target_critic, state.target_critic)
        assert moved == followed == (count % 3 == 2) == bool(metrics["actor_loss"][1])
        state = after


@pytest.mark.parametrize("algorithm", ["ddpg", "td3"])
def test_the_critic_penalty_spares_the_output_layer(algorithm):
    batch = _batch(16)
    gradients = []
    for weight in (0.0, 10.0):
        config, _, state = _agent(algorithm)
        nets = learner.networks(config, 3, 2, 1)
        state = learner.init(nets, optax.identity(), KEY, {})
        rate, goal = jnp.float32(1.0), learner.Goal(jnp.zeros(16), batch.action)
        after, metrics = learner.critic_step(nets, optax.identity(), state, batch, goal, rate, weight)
        gradients.append(jax.tree.map(jnp.subtract, state.critic, after.critic)["params"])
        error = jnp.mean(jnp.square(nets.critics(state.critic, batch.obs, batch.action)))
        assert metrics["critic_loss"][0] == pytest.approx(float(error))
    without, penalised = gradients
    assert _equal(without["head"], penalised["head"])
    kernel = state.critic["params"]["hidden_0"]["dense"]["kernel"]
    difference = penalised["hidden_0"]["dense"]["kernel"] - without["hidden_0"]["dense"]["kernel"]
    np.testing.assert_allclose(difference, 10 * kernel, atol=1e-5)
    assert _equal(without["hidden_0"]["dense"]["bias"], penalised["hidden_0"]["dense"]["bias"])


def test_the_actor_ascends_the_first_critic():
    config, _, state = _agent("td3")
    nets = learner.networks(config, 3, 2, 2)
    obs = _batch(16).obs
    first = jax.tree.map(lambda x: x[0], state.critic)

    def value(actor):
        return jnp.mean(nets.critic(first, obs, nets.policy(actor, obs)))

    after, (loss, count) = learner.actor_step(nets, optax.identity(), state, obs, jnp.float32(1e-3))
    assert loss == pytest.approx(-float(value(state.actor)), abs=1e-6) and count == 1
    step = jax.tree.map(lambda p, g: p + 1e-3 * g, state.actor, jax.grad(value)(state.actor))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.actor, step)


def test_a_round_is_its_updates_in_order():
    _, agent, state = _agent("td3")
    batches = _batch(5, 16)
    ours, metrics = rounds.learn(agent, KEY, state, batches, HYPER, jnp.int32(1))
    losses_seen = []
    for u in range(5):
        batch = jax.tree.map(lambda x, u=u: x[u], batches)
        state, one = agent.update(jax.random.fold_in(KEY, u), state, batch, HYPER, jnp.int32(1 + u))
        losses_seen.append(float(one["critic_loss"][0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, state)
    assert metrics["critic_loss"][0] == pytest.approx(sum(losses_seen), rel=1e-4)
    assert metrics["critic_loss"][1] == 5 and metrics["actor_loss"][1] == 2


def test_a_nan_in_the_batch_shows_in_the_metrics():
    _, agent, state = _agent("td3")
    batches = _batch(3, 16)
    batches = batches.replace(reward=batches.reward.at[1, 0].set(jnp.nan))
    _, metrics = rounds.learn(agent, KEY, state, batches, HYPER, jnp.int32(0))
    assert jnp.isnan(metrics["critic_loss"][0])


def test_bfloat16_learns_on_float32_weights():
    _, agent, state = _agent("td3", precision="bfloat16", policy_delay=1)
    _, exact, _ = _agent("td3", policy_delay=1)
    after, metrics = agent.update(KEY, state, _batch(64), HYPER, jnp.int32(0))
    _, reference = exact.update(KEY, state, _batch(64), HYPER, jnp.int32(0))
    assert {x.dtype for x in jax.tree.leaves((after.actor, after.critic))} == {jnp.dtype("float32")}
    assert metrics["critic_loss"][0] == pytest.approx(float(reference["critic_loss"][0]), rel=0.05)
    assert metrics["critic_loss"][0] != reference["critic_loss"][0]
    np.testing.assert_array_equal(agent.policy(after.actor, jnp.ones(3)), exact.policy(after.actor, jnp.ones(3)))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_normalises_every_hidden_layer(name):
    config = PRESETS[name].agent
    state = jax.eval_shape(config.build(500, 2).init, KEY, of_agent(hyper(PRESETS[name])), {})
    assert (state.critic is not None) == hasattr(config, "critic_hidden"), "evolution and values have none"
    for params in (network["params"] for network in (state.actor, state.critic) if network is not None):
        hidden = [layer for key, layer in params.items() if key.startswith("hidden")]
        if "trunk" in params:
            assert all("gain" in block for key, block in params["trunk"].items()), "on the sphere instead"
            continue
        assert hidden
        # The one exception is a column of the record: baselines' last default had none.
        assert all(("norm" in layer) == (name != "baselines-2020") for layer in hidden)
