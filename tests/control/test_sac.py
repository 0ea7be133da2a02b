"""SAC: its formulas against NumPy and Brax, what is clean and what is perturbed, and what is refused."""

import functools
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from brax.training import distribution
from brax.training.agents.sac import losses as brax_losses

from jaxpsn import noise
from jaxpsn.control import program
from jaxpsn.control.agents import AGENTS, learner, losses, sac
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.state import Transition
from jaxpsn.core import compat, errors, replaced
from jaxpsn.networks import Gaussian, gaussian

SMALL = {"actor_hidden": (8,), "critic_hidden": (8,), "head_scale": 0.5, "tau": 0.1, "gamma": 0.9}
HYPER = {"actor_lr": 1e-2, "critic_lr": 1e-2, "temperature": 0.3, "temperature_lr": 0.1, "target_entropy": -0.5}
HYPER = {name: jnp.float32(value) for name, value in HYPER.items()}
KEY = jax.random.key(0)


def _batch(size=16):
    rng = np.random.default_rng(3)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=(size, *shape)), jnp.float32)

    ended = jnp.asarray(rng.random(size) < 0.3)
    return Transition(normal(3), jnp.tanh(normal(2)), normal(), ended, jnp.zeros(size, bool), normal(3))


@functools.cache
def _agent(**changes):
    config = replaced(AGENTS.make("sac"), SMALL | changes)
    made = config.build(3, 2)
    nets = learner.networks(config, 3, 2, 2, policy=made.policy)
    return config, made, nets, made.init(KEY, HYPER, {})


def _equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool(jnp.array_equal(x, y)), a, b)))


def test_the_temperature_loss_in_float64():
    rng = np.random.default_rng(0)
    density = rng.normal(size=7)
    given = jnp.asarray(density, jnp.float32)
    for log in (-2.0, 0.0, 1.5):
        loss = np.exp(log) * np.mean([-one - (-1.5) for one in density])
        assert losses.temperature_loss(jnp.float32(log), given, -1.5) == pytest.approx(loss, rel=1e-5)


def _brax(nets):
    """Brax's losses on our networks: the same means, deviations and values."""

    def policy(normalizer, params, obs):
        mean, log_std = jnp.split(nets.policy.raw(params, obs), 2, axis=-1)
        return jnp.concatenate([mean, jnp.log(jnp.expm1(jnp.exp(log_std)))], axis=-1)

    def values(normalizer, params, obs, action):
        return nets.critics(params, obs, action).T

    theirs = SimpleNamespace(
        policy_network=SimpleNamespace(apply=policy),
        q_network=SimpleNamespace(apply=values),
        parametric_action_distribution=distribution.NormalTanhDistribution(event_size=2, min_std=0.0),
    )
    return brax_losses.make_losses(theirs, reward_scaling=1.0, discounting=0.9, action_size=2)


def test_losses_are_those_of_brax_on_equal_numbers():
    config, _, nets, state = _agent()
    batch, key = _batch(), jax.random.key(4)
    state = state.replace(target_critic=jax.tree.map(lambda x: 1.1 * x, state.critic))
    flags = SimpleNamespace(
        observation=batch.obs, action=batch.action, reward=batch.reward, next_observation=batch.next_obs,
        discount=1.0 - batch.terminated.astype(jnp.float32),
        extras={"state_extras": {"truncation": jnp.zeros(16)}},
    )  # fmt: skip
    temperature, critic, actor = _brax(nets)
    with compat.foreign():
        alpha = jnp.exp(state.temperature)
        told = [
            temperature(state.temperature, state.actor, None, flags, key),
            critic(state.critic, state.actor, None, state.target_critic, alpha, flags, key),
            actor(state.actor, None, state.critic, alpha, flags, key),
        ]
    target = sac.critic_target(config, nets, state, batch, key).target
    error = losses.total(losses.squared(nets.critics(state.critic, batch.obs, batch.action), target))
    parts = learner.Parts(config, nets, learner.optimizer(0.0), False)
    _, loss, density = sac.actor_step(parts, state, batch.obs, jnp.float32(0.0), key)
    ours = [losses.temperature_loss(state.temperature, density, 2 * -0.5), error / 4, loss]
    np.testing.assert_allclose(ours, told, rtol=1e-4, atol=1e-4)


def test_the_target_is_of_the_clean_online_actor_and_the_target_critics():
    config, _, nets, state = _agent()
    batch = _batch()
    state = state.replace(target_critic=jax.tree.map(lambda x: 1.3 * x, state.critic))
    action, density = gaussian.sample(KEY, nets.policy.raw(state.actor, batch.next_obs))
    ours = sac.critic_target(config, nets, state, batch, KEY).target
    for i in range(16):
        q = [
            float(nets.critic(jax.tree.map(lambda x, c=c: x[c], state.target_critic), batch.next_obs[i], action[i]))
            for c in range(2)
        ]
        rest = 0.0 if batch.terminated[i] else 0.9 * (min(q) - 0.3 * float(density[i]))
        assert ours[i] == pytest.approx(float(batch.reward[i]) + rest, abs=1e-5)


def test_an_update_moves_all_and_the_temperature_towards_its_entropy():
    _, made, _, state = _agent()
    update = jax.jit(made.update)
    assert state.target_actor is None
    after, told = update(KEY, state, _batch(), HYPER, jnp.int32(0))
    for part in ("actor", "critic", "target_critic", "temperature"):
        assert not _equal(getattr(after, part), getattr(state, part)), part
    entropy = float(told["entropy"][0])
    for target, way in ((entropy / 2 - 1, -1), (entropy / 2 + 1, 1)):
        told_to = HYPER | {"target_entropy": jnp.float32(target)}
        moved = update(KEY, state, _batch(), told_to, jnp.int32(0))[0].temperature - state.temperature
        # Adam's first step is the rate, whatever the size of the gradient.
        assert float(moved) == pytest.approx(way * 0.1, rel=1e-3)
    assert update._cache_size() == 1
    assert set(told) == set(sac.Sac.learnt)


def test_a_temperature_that_is_not_tuned_stays():
    _, made, _, state = _agent(tune_temperature=False)
    after, told = made.update(KEY, state, _batch(), HYPER, jnp.int32(0))
    assert state.temperature_optimizer is None and _equal(after.temperature, state.temperature)
    assert told["temperature"][0] == pytest.approx(0.3, rel=1e-6)


def test_the_actor_ascends_its_objective():
    config, _, nets, state = _agent()
    obs, rate = _batch().obs, jnp.float32(1e-3)

    def objective(actor):
        action, density = gaussian.sample(KEY, nets.policy.raw(actor, obs))
        return jnp.mean(jnp.min(nets.critics(state.critic, obs, action), axis=0) - 0.3 * density)

    plain = optax.identity()
    state = state.replace(actor_optimizer=plain.init(state.actor))
    after, loss, _ = sac.actor_step(learner.Parts(config, nets, plain, False), state, obs, rate, KEY)
    assert loss == pytest.approx(-float(objective(state.actor)), abs=1e-6)
    step = jax.tree.map(lambda p, g: p + 1e-3 * g, state.actor, jax.grad(objective)(state.actor))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.actor, step)


def _config(explore, agent="sac", **fields):
    small = SMALL | {"replay_capacity": 400, "batch_size": 16, "updates": 1, "warmup": 40}
    return ControlConfig(
        EnvConfig("probe/observation_action", num_envs=4), replaced(AGENTS.make(agent), small | fields), explore, 2
    )


def _started(explore, **fields):
    """A program, its first state, and observations."""
    made = program.make(_config(explore, **fields))
    return made, made.init(KEY, made.hyper), jax.random.normal(jax.random.key(9), (4, 1))


@pytest.mark.parametrize("behaviour", ["sample", "mean"])
def test_without_noise_it_acts_with_the_clean_policy(behaviour):
    made, state, obs = _started("none", behaviour=behaviour)
    action, _ = made.explorer.act(KEY, state.learner.actor, state.explore, obs)
    moments = made.agent.policy.raw(state.learner.actor, obs)
    if behaviour == "mean":
        np.testing.assert_array_equal(action, made.agent.policy(state.learner.actor, obs))
        return
    stream = jax.random.fold_in(KEY, 1023)
    np.testing.assert_allclose(action, gaussian.sample(stream, moments)[0], atol=1e-6)


@pytest.mark.usefixtures("optimised")  # for its last bits; and so is what follows in this file
@pytest.mark.parametrize("behaviour", ["sample", "mean"])
def test_it_acts_with_perturbed_weights_and_sigma_0_is_the_clean_policy(behaviour):
    made, state, obs = _started("parameter(sigma=0.5, scale=constant, structure=dense)", behaviour=behaviour)
    actor, explore = state.learner.actor, state.explore
    action, _ = made.explorer.act(KEY, actor, explore, obs)
    own = explore.behaviour
    for i in range(4):
        weights = made.config.explore.structure.materialise(actor, own.draw, own.sigma, i)
        moments = made.agent.policy.raw(weights, obs)
        acted = (
            gaussian.mode(moments)
            if behaviour == "mean"
            else gaussian.sample(jax.random.fold_in(KEY, 1023), moments)[0]
        )
        np.testing.assert_allclose(action[i], acted[i], atol=1e-5)
    still = explore.replace(behaviour=own.replace(scale=own.scale.replace(sigma=jnp.float32(0))))
    clean = jax.jit(_started("none", behaviour=behaviour)[0].explorer.act)(KEY, actor, still.replace(behaviour=()), obs)
    np.testing.assert_array_equal(jax.jit(made.explorer.act)(KEY, actor, still, obs)[0], clean[0])


@pytest.mark.parametrize("kind", ["action", "kl"])
def test_the_scale_follows_the_distance_that_was_chosen(kind):
    made, state, _ = _started(f"parameter(distance={kind}, structure=dense, scale=first_order(target=0.1), probes=3)")
    actor, batch = state.learner.actor, jnp.asarray(np.random.default_rng(1).normal(size=(24, 1)), jnp.float32)
    own = state.explore.behaviour
    rule = made.config.explore
    after = made.explorer.adapt(KEY, actor, state.explore, batch).behaviour
    spec = noise.plan(made.agent.policy.raw, actor, jnp.zeros((8, 1)))
    draw = rule.structure.init(KEY, spec, 3)
    found = []
    for i in range(3):
        weights = rule.structure.materialise(actor, draw, own.scale.sigma, i)
        clean, noisy = (
            np.asarray(made.agent.policy.raw(p, batch[8 * i : 8 * i + 8]), np.float64) for p in (actor, weights)
        )
        (m1, l1), (m2, l2) = np.split(clean, 2, axis=1), np.split(noisy, 2, axis=1)
        s1, s2 = np.exp(l1), np.exp(l2)
        if kind == "kl":
            found.append((np.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5).sum(axis=1).mean())
        else:
            found.append(((np.tanh(m1) - np.tanh(m2)) ** 2).mean())
    expected = np.mean(found) if kind == "kl" else np.sqrt(np.mean(found))
    assert float(after.distance) == pytest.approx(expected, rel=1e-3)
    assert float(after.scale.sigma) == pytest.approx(float(own.scale.sigma) * np.clip(0.1 / expected, 0.5, 2), rel=1e-3)


def test_first_order_takes_the_root_of_a_divergence():
    made, state, _ = _started("parameter(distance=kl, scale=first_order(target=0.1, exponent=0.5))")
    batch = jax.random.normal(jax.random.key(7), (64, 1))
    own = state.explore.behaviour
    after = made.explorer.adapt(KEY, state.learner.actor, state.explore, batch).behaviour
    ratio = float(after.scale.sigma / own.scale.sigma)
    assert ratio == pytest.approx(np.clip(np.sqrt(0.1 / float(after.distance)), 0.5, 2), rel=1e-3)


@pytest.mark.parametrize(
    "explore,fields,said",
    [
        ("gsde", {}, "agent.behaviour = 'sample': mean, as gsde acts"),
        ("lattice + gaussian", {"behaviour": "driven"}, "mean, as lattice acts"),
        ("none", {"behaviour": "driven"}, "sample or mean, unless explore has an action noise"),
        ("none", {"log_std_low": 2.0}, "below log_std_high = 2"),
        ("none", {"tune_temperature": False, "temperature_lr": 0.1}, "as tune_temperature is false"),
        ("none", {"tune_temperature": False, "target_entropy": -1.0}, "as tune_temperature is false"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(explore, fields, said):
    with pytest.raises(errors.UserError, match=said.replace(".", r"\.")):
        _config(explore, **fields)


def test_a_divergence_needs_a_distribution():
    with pytest.raises(errors.UserError, match="action, as the policy of td3 has no distribution"):
        _config("parameter(distance=kl)", agent="td3")


def test_seeds_and_traced_fields_are_one_vmap():
    made = program.make(_config("parameter"))
    names = {"agent.temperature", "agent.target_entropy", "agent.temperature_lr", "agent.actor_lr"}
    assert names <= made.hyper.keys()
    swept = made.hyper | {"agent.temperature": jnp.array([0.1, 1.0]), "agent.target_entropy": jnp.array([-1.0, 0.0])}
    axes = {name: 0 if jnp.ndim(leaf) else None for name, leaf in swept.items()}
    states = jax.vmap(made.init, (0, axes))(jax.random.split(KEY, 2), swept)
    np.testing.assert_allclose(np.exp(states.learner.temperature), [0.1, 1.0], rtol=1e-6)


def test_the_policy_is_stochastic_and_its_clean_action_is_the_mean():
    _, made, _, state = _agent()
    assert isinstance(made.policy, Gaussian) and replace(made.policy, behaviour="mean").behaviour == "mean"
    obs = _batch().obs
    np.testing.assert_array_equal(made.policy(state.actor, obs), gaussian.mode(made.policy.raw(state.actor, obs)))
