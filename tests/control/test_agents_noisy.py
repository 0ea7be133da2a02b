"""Learning with a NoisyNet actor: which draws an update takes, and what it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpsn.control import exploration
from jaxpsn.control.agents import AGENTS, ddpg, learner, losses, td3
from jaxpsn.control.state import Transition
from jaxpsn.core import replaced
from jaxpsn.networks import noisy

SMALL = {"actor_hidden": (8,), "critic_hidden": (8,), "head_scale": 0.5, "tau": 0.1}
HYPER = {"actor_lr": jnp.float32(1e-2), "critic_lr": jnp.float32(3e-4)}
SCALE = {"sigma": jnp.float32(0.5)}
LEARNT = exploration.learnt_noise(exploration.EXPLORATION.make("noisynet"))
KEY = jax.random.key(0)
ALGORITHMS = ["ddpg", "td3"]


def _batch(size=16):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=(size, *shape)), jnp.float32)

    flag = jnp.asarray(rng.random(size) < 0.3)
    return Transition(normal(3), jnp.tanh(normal(2)), normal(), flag, ~flag, normal(3))


@functools.cache
def _agent(algorithm, noisy=True, **changes):
    """The config, its agent, and the state of one seed."""
    delay = {"policy_delay": 1} if algorithm == "td3" else {}
    config = replaced(AGENTS.make(algorithm), SMALL | delay | changes)
    agent = config.build(3, 2, LEARNT if noisy else None)
    return config, agent, jax.jit(agent.init)(KEY, HYPER, SCALE)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_scales_start_from_the_traced_hyper_parameter(algorithm):
    _, agent, _ = _agent(algorithm)
    many = {"sigma": jnp.array([0.1, 0.5])}
    states = jax.jit(jax.vmap(agent.init, (None, None, 0)))(KEY, HYPER, many)
    np.testing.assert_allclose(jax.vmap(noisy.scale)(states.actor), [0.1, 0.5], rtol=1e-6)
    _, _, plain = _agent(algorithm, noisy=False)
    for i in range(2):
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_array_equal(a[i], b), states.actor["params"], plain.actor["params"]
        )
    jax.tree.map(np.testing.assert_array_equal, states.actor, states.target_actor)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_update_learns_means_and_scales_and_is_a_function_of_its_key(algorithm):
    _, agent, state = _agent(algorithm)
    update = jax.jit(agent.update)
    after, metrics = update(KEY, state, _batch(), HYPER, jnp.int32(0))
    for part in ("actor", "target_actor", "critic"):
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), getattr(after, part), getattr(state, part))
        assert all(jax.tree.leaves(moved)), part
    again, _ = update(KEY, state, _batch(), HYPER, jnp.int32(0))
    jax.tree.map(np.testing.assert_array_equal, after, again)
    other, differs = update(jax.random.key(1), state, _batch(), HYPER, jnp.int32(0))
    assert (
        differs["critic_loss"][0] != metrics["critic_loss"][0] and differs["actor_loss"][0] != metrics["actor_loss"][0]
    )
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), after.actor, other.actor)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_policy_is_that_of_the_means(algorithm):
    _, agent, state = _agent(algorithm)
    actor, obs = state.actor, _batch().obs
    _, plain, _ = _agent(algorithm, noisy=False)
    action = plain.policy({"params": actor["params"]}, obs)
    loud = {**actor, "sigma": jax.tree.map(lambda x: 100.0 * x, actor["sigma"])}
    np.testing.assert_array_equal(agent.policy(actor, obs), action)
    np.testing.assert_array_equal(agent.policy(loud, obs), action)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_target_action_takes_a_draw_of_the_target(algorithm):
    config, _, state = _agent(algorithm)
    nets = learner.networks(config, 3, 2, 1 if algorithm == "ddpg" else 2, LEARNT)
    batch, key = _batch(), jax.random.key(5)
    action = noisy.sample(nets.policy.actor.apply, state.target_actor, batch.next_obs, key)
    assert (jnp.abs(action - nets.policy(state.target_actor, batch.next_obs)) > 1e-4).all()
    if algorithm == "ddpg":
        ours = ddpg.critic_target(config, nets, state, batch, key).target
    else:
        ours = td3.critic_target(config, nets, state, batch, KEY, key).target
        action = losses.smooth(KEY, action, config.target_noise, config.target_noise_clip)
    value = jnp.min(nets.critics(state.target_critic, batch.next_obs, action), axis=0)
    np.testing.assert_allclose(ours, losses.bootstrap(batch.reward, batch.terminated, config.gamma, value), atol=1e-6)


def test_the_actor_ascends_the_value_of_one_draws_actions():
    config, _, state = _agent("td3")
    nets = learner.networks(config, 3, 2, 2, LEARNT)
    obs, key = _batch().obs, jax.random.key(6)
    first = jax.tree.map(lambda x: x[0], state.critic)

    def value(actor):
        action = noisy.sample(nets.policy.actor.apply, actor, obs, key)
        return jnp.mean(nets.critic(first, obs, action))

    state = state.replace(actor_optimizer=optax.identity().init(state.actor))
    after, _ = learner.actor_step(nets, optax.identity(), state, obs, jnp.float32(0.1), key)
    expected = jax.tree.map(lambda p, g: p + 0.1 * g, state.actor, jax.grad(value)(state.actor))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.actor, expected)


def test_the_draws_of_an_update_are_apart():
    keys = learner.purposes(KEY, noisy=True)
    assert len({jax.random.key_data(key).tobytes() for key in (KEY, *keys)}) == 4
    assert learner.purposes(KEY, noisy=False) == (KEY, None, None), "runs without NoisyNet keep their randomness"


def test_bfloat16_and_networks_without_layer_norm():
    _, agent, state = _agent("td3", precision="bfloat16", layer_norm=False)
    after, metrics = jax.jit(agent.update)(KEY, state, _batch(), HYPER, jnp.int32(0))
    assert {x.dtype for x in jax.tree.leaves(after.actor)} == {jnp.dtype("float32")}
    assert bool(jnp.isfinite(metrics["actor_loss"][0])) and set(state.actor["sigma"]["hidden_0"]) == {"dense"}
