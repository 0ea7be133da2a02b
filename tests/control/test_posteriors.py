"""Optimisers that sample weights: Adam-SGLD and IVON on a quadratic in float64, and the actors that learn by them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import program
from jaxpsn.control.agents import AGENTS
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.exploration import EXPLORATION, adam_sgld, ivon, learnt_noise
from jaxpsn.core import replaced
from jaxpsn.networks import Actor, noisy
from jaxpsn.noise.posterior import Newton

KEY = jax.random.key(0)
CURVATURE = np.array([0.5, 1.0, 4.0])


def test_one_step_of_adam_sgld_is_its_formula():
    params = {"w": jnp.asarray([1.0, -2.0, 0.5])}
    hyper = {"noise": jnp.float32(0.3), "drift": jnp.float32(0.7)}
    state, rate, m, v, w = adam_sgld.begin(KEY, params, hyper), 0.05, np.zeros(3), np.zeros(3), np.array([1, -2, 0.5])
    step = jax.jit(adam_sgld.step)
    for count in range(4):
        xi = np.asarray(jax.random.normal(jax.random.split(jax.random.fold_in(KEY, count), 1)[0], (3,)), np.float64)
        g = CURVATURE * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        params, state = step(params, state, {"w": jnp.asarray(CURVATURE, jnp.float32) * params["w"]}, jnp.float32(rate))
        w = w - rate * (g + 0.7 * m / np.sqrt(v + 1e-8)) + 0.3 * np.sqrt(2 * rate) * xi
        np.testing.assert_allclose(params["w"], w, rtol=2e-4)


def test_langevin_dynamics_settle_at_the_covariance_of_the_posterior():
    """Of U = k w^2 / 2 at temperature T = noise^2: T / k, with the discretisation's 1 / (1 - lr k / 2)."""
    hyper, curvature = {"noise": jnp.float32(0.5), "drift": jnp.float32(0.0)}, jnp.asarray(CURVATURE, jnp.float32)
    start = {"w": jnp.zeros((2000, 3))}
    rate = 0.1

    def body(carry, _):
        params, state = carry
        return adam_sgld.step(params, state, {"w": curvature[None] * params["w"]}, jnp.float32(rate)), None

    (params, _), _ = jax.jit(lambda c: jax.lax.scan(body, c, None, length=200))(
        (start, adam_sgld.begin(KEY, start, hyper))
    )
    expected = 0.25 / CURVATURE / (1 - rate * CURVATURE / 2)
    np.testing.assert_allclose(np.var(np.asarray(params["w"]), axis=0), expected, rtol=0.12)


def _ivon_reference(steps, draws, hyper, rate):
    """Algorithm 1 on U = k w^2 / 2, in float64."""
    m, h, g = np.array([1.0, -2.0, 0.5]), np.full(3, hyper["hessian"]), np.zeros(3)
    prior, one, two = hyper["prior"], hyper["momentum_decay"], hyper["hessian_decay"]
    for t in range(steps):
        s = 1 / np.sqrt(hyper["precision"] * (h + prior))
        w = m + s * draws[t]
        gradient = CURVATURE * w
        estimate = gradient * (w - m) / s**2
        g = one * g + (1 - one) * gradient
        h = two * h + (1 - two) * estimate + 0.5 * (1 - two) ** 2 * (h - estimate) ** 2 / (h + prior)
        m = m - rate * (hyper["hessian"] + prior) * (g / (1 - one ** (t + 1)) + prior * m) / (h + prior)
    return m, h, 1 / np.sqrt(hyper["precision"] * (h + prior))


@pytest.mark.parametrize("steps", [5, 4000])
def test_ivon_is_its_algorithm_and_learns_the_curvature_of_a_quadratic(steps):
    hyper = {"precision": 100.0, "hessian": 2.0, "prior": 0.01, "momentum_decay": 0.9, "hessian_decay": 0.99}
    traced = {name: jnp.float32(value) for name, value in hyper.items()}
    layer = {"kernel": jnp.asarray([1.0, -2.0, 0.5])}
    scale = Newton(**traced).deviation(traced["hessian"])
    params = {"params": {"a": layer}, "sigma": {"a": {"kernel": jnp.ones(3) * scale}}}
    draws = np.random.default_rng(0).normal(size=(steps, 3))

    def body(carry, drawn):
        params, state = carry
        w = params["params"]["a"]["kernel"] + params["sigma"]["a"]["kernel"] * drawn
        g = jnp.asarray(CURVATURE, jnp.float32) * w
        gradient = {"params": {"a": {"kernel": g}}, "sigma": {"a": {"kernel": g * drawn}}}
        params, state = ivon.step(params, state, gradient, jnp.float32(0.05))
        return (params, state), state.hessian["a"]["kernel"]

    start = (params, ivon.begin(KEY, params, traced))
    (params, state), curves = jax.jit(lambda c, d: jax.lax.scan(body, c, d))(start, jnp.asarray(draws, jnp.float32))
    if steps < 10:
        m, h, s = _ivon_reference(steps, draws, hyper, 0.05)
        np.testing.assert_allclose(params["params"]["a"]["kernel"], m, rtol=1e-4)
        np.testing.assert_allclose(state.hessian["a"]["kernel"], h, rtol=1e-4)
        np.testing.assert_allclose(params["sigma"]["a"]["kernel"], s, rtol=1e-4)
    else:
        np.testing.assert_allclose(np.asarray(curves[2000:]).mean(axis=0), CURVATURE, rtol=0.15)
        assert np.abs(np.asarray(params["params"]["a"]["kernel"])).max() < 0.1


def test_independent_noise_is_that_of_its_weights_with_gradients_to_both():
    actor, obs = Actor(2, (5,)), jnp.ones((3, 4)) * jnp.arange(1.0, 4.0)[:, None]
    params = noisy.widen(actor.init(KEY, obs[0]), 0.3)
    spec = noisy.plan(actor.apply, params, obs[0])
    kind = noisy.INDEPENDENT
    draw = kind.init(KEY, spec, 3)

    def fused(params):
        return noisy.fused(actor.apply, spec, kind)(params, draw, obs)

    def formed(params):
        return jnp.stack([actor.apply(noisy.materialise(params, draw, i), obs[i]) for i in range(3)])

    np.testing.assert_allclose(fused(params), formed(params), atol=1e-6)
    ours, theirs = (
        jax.grad(lambda p, f=f: jnp.sum(f(p) * jnp.arange(6.0).reshape(3, 2)))(params) for f in (fused, formed)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, theirs)
    assert np.abs(np.asarray(ours["sigma"]["hidden_0"]["dense"]["bias"])).max() > 0
    many = kind.init(KEY, spec, 2000)
    layer = "params/hidden_0/dense"
    found = np.concatenate(
        [np.reshape(many.noise[f"{layer}/{name}"]["own"], (2000, -1)) for name in ("kernel", "bias")], 1
    )
    np.testing.assert_allclose(found.T @ found / 2000, np.eye(25), atol=0.12)


def _config(explore, algorithm, **agent):
    fields = dict(
        actor_hidden=(16, 16), critic_hidden=(16, 16), critic_lr=1e-2, batch_size=64, updates=2, gamma=0.9, tau=0.05,
        replay_capacity=20_000, warmup=128, **agent,
    )  # fmt: skip
    return ControlConfig(
        EnvConfig(name="probe/observation_action", num_envs=8), replaced(AGENTS.make(algorithm), fields), explore,
        eval_envs=8,
    )  # fmt: skip


@pytest.mark.parametrize(
    "explore,algorithm,agent",
    [
        ("adam_sgld(noise=0.03) + gaussian(std=0.2)", "td3", {"actor_lr": 3e-3, "target_noise": 0.05}),
        ("ivon(precision=1e4, probes=4)", "td3", {"actor_lr": 0.3, "target_noise": 0.05}),
    ],
)
def test_actors_that_are_sampled_solve_a_probe(explore, algorithm, agent):
    made = program.make(_config(explore, algorithm, **agent))

    @jax.jit
    def run(key):
        return jax.lax.scan(lambda s, _: (made.step(s)[0], None), made.init(key, made.hyper), None, length=500)[0]

    start, state = made.init(KEY, made.hyper), run(KEY)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), start, state))
    obs = made.normalise(state.statistics, jnp.asarray([[-1.0], [1.0]]))
    action = made.agent.policy(state.learner.actor, obs)
    np.testing.assert_allclose(np.asarray(action)[:, 0], [0.5, -0.5], atol=0.15)
    if explore.startswith("ivon"):
        hessian = jax.tree.leaves(state.learner.actor_optimizer.hessian)
        assert min(float(leaf.min()) for leaf in hessian) > -1e-3, "a Gaussian"
        spread = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.learner.actor["sigma"])])
        assert spread.std() > 0.01 * spread.mean() > 0, "scales of their own"
        actions = np.asarray(state.replay.data.action)[450:500, :, 0]
        assert actions[np.asarray(state.replay.data.obs)[450:500, :, 0] == 1].std() > 0.003


@pytest.mark.parametrize("explore", ["adam_sgld", "ivon + gaussian(std=0.1)"])
def test_they_go_with_sac_and_with_sums(explore):
    made = program.make(_config(explore, "sac"))
    state = jax.eval_shape(made.init, KEY, made.hyper)
    after, _ = jax.eval_shape(made.step, state)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, after))
    assert learnt_noise(EXPLORATION.make(explore)).optimizer is not None
    plain = program.make(replace(made.config, explore="noisynet"))
    assert jax.eval_shape(plain.init, KEY, plain.hyper).learner.actor_optimizer is not None
