"""The tanh-Gaussian policy against float64 NumPy and Brax's distribution."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.training.distribution import NormalTanhDistribution

from jaxpsn.core import compat
from jaxpsn.networks import Actor, Gaussian, gaussian

POLICY = Gaussian(Actor(4, (16,), head_scale=1.0))
PARAMS = POLICY.actor.init(jax.random.key(0), jnp.zeros(3))
OBS = jax.random.normal(jax.random.key(1), (32, 3))
KEY = jax.random.key(2)


def test_means_and_deviations_come_from_the_two_halves_of_the_head():
    out = np.asarray(POLICY.actor.apply(PARAMS, POLICY.features(PARAMS, OBS), method="outputs"), np.float64)
    moments = np.asarray(POLICY.raw(PARAMS, OBS))
    np.testing.assert_allclose(moments[:, :2], out[:, :2], atol=1e-6)
    np.testing.assert_allclose(moments[:, 2:], -5 + 3.5 * (1 + np.tanh(out[:, 2:])), atol=1e-5)
    assert (moments[:, 2:] > -5).all() and (moments[:, 2:] < 2).all()
    np.testing.assert_allclose(POLICY(PARAMS, OBS), np.tanh(out[:, :2]), atol=1e-6)
    np.testing.assert_array_equal(gaussian.mode(POLICY.raw(PARAMS, OBS)), POLICY(PARAMS, OBS))
    np.testing.assert_array_equal(jnp.tanh(POLICY.outputs(PARAMS, POLICY.features(PARAMS, OBS))), POLICY(PARAMS, OBS))


def test_the_deviation_starts_in_the_middle_of_its_range():
    actor = Actor(4, (16,), head_scale=1e-6)
    fresh = Gaussian(actor, low=-5.0, high=0.0).raw(actor.init(KEY, jnp.zeros(3)), OBS)
    np.testing.assert_allclose(fresh[:, 2:], -2.5, atol=1e-4)


def test_the_density_is_that_of_the_squashed_gaussian():
    """In float64, where 1 - tanh^2 = cosh^-2; and the density of one dimension sums to 1."""
    moments = np.asarray(POLICY.raw(PARAMS, OBS), np.float64)
    mean, log_std = moments[:, :2], moments[:, 2:]
    action, density = map(np.asarray, gaussian.sample(KEY, jnp.asarray(moments, jnp.float32)))
    xi = np.asarray(jax.random.normal(KEY, (32, 2)), np.float64)
    before = mean + np.exp(log_std) * xi
    np.testing.assert_allclose(action, np.tanh(before), atol=1e-6)
    normal = -0.5 * xi**2 - log_std - 0.5 * np.log(2 * np.pi)
    expected = (normal - -2 * np.log(np.cosh(before))).sum(axis=1)
    np.testing.assert_allclose(density, expected, rtol=1e-3, atol=1e-3)
    grid = np.linspace(-0.99999, 0.99999, 200_001)
    at = np.arctanh(grid)
    told = gaussian.log_density(
        *(jnp.asarray(x, jnp.float32)[:, None] for x in ((at - 0.3) / 0.5, 0 * at + np.log(0.5), at))
    )
    assert np.trapezoid(np.exp(np.asarray(told, np.float64)), grid) == pytest.approx(1, abs=1e-3)


def test_the_density_is_finite_where_tanh_is_one():
    told = gaussian.log_density(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.full((1, 1), 40.0))
    assert float(told[0]) == pytest.approx(-0.5 * np.log(2 * np.pi) - 2 * (np.log(2) - 40), rel=1e-6)


def test_samples_and_densities_are_those_of_brax():
    moments = POLICY.raw(PARAMS, OBS)
    mean, std = moments[:, :2], jnp.exp(moments[:, 2:])
    brax = NormalTanhDistribution(event_size=2, min_std=0.0)
    with compat.foreign():
        theirs = jnp.concatenate([mean, jnp.log(jnp.expm1(std))], axis=-1)
        before = brax.sample_no_postprocessing(theirs, KEY)
        action, density = brax.postprocess(before), brax.log_prob(theirs, before)
    ours = gaussian.sample(KEY, moments)
    np.testing.assert_allclose(ours[0], action, atol=1e-5)
    np.testing.assert_allclose(ours[1], density, rtol=1e-3, atol=1e-3)


def test_what_acts_is_a_sample_the_mean_or_driven_by_the_noise():
    moments = POLICY.raw(PARAMS, OBS)
    noises = [0.1 * jnp.ones((32, 2)), jnp.full((32, 2), 0.2)]
    mean, std = moments[:, :2], jnp.exp(moments[:, 2:])

    def act(behaviour, noises):
        return dataclasses.replace(POLICY, behaviour=behaviour).act(KEY, moments, noises)

    np.testing.assert_allclose(act("mean", noises), jnp.tanh(mean) + 0.3, atol=1e-6)
    np.testing.assert_allclose(act("sample", noises), gaussian.sample(KEY, moments)[0] + 0.3, atol=1e-6)
    np.testing.assert_allclose(act("driven", noises), jnp.tanh(mean + std * 0.3), atol=1e-6)
    white = jax.random.normal(KEY, (32, 2))
    np.testing.assert_allclose(act("driven", [white]), act("sample", []), atol=1e-6)
