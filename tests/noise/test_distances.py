"""Distances against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core import errors
from jaxpsn.noise import distances

RNG = np.random.default_rng(0)
CLEAN, NOISY = RNG.normal(size=(2, 5, 7, 4))
AXES = [None, 1, (1,), -2, 0, (0, 1)]


def _mean(values, axis):
    """Reference mean over batch axes of values whose last axis is gone; -2 counts with the last axis in place."""
    return values.mean(axis=None if axis is None else 1 if axis == -2 else axis)


def _softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("axis", AXES)
def test_rms_action(axis):
    mine = distances.rms_action(jnp.asarray(CLEAN, jnp.float32), jnp.asarray(NOISY, jnp.float32), axis=axis)
    np.testing.assert_allclose(mine, np.sqrt(_mean(((CLEAN - NOISY) ** 2).mean(-1), axis)), rtol=1e-6)


@pytest.mark.parametrize("axis", AXES)
def test_kl_softmax(axis):
    p, q = _softmax(CLEAN), _softmax(NOISY)
    mine = distances.kl_softmax(jnp.asarray(CLEAN, jnp.float32), jnp.asarray(NOISY, jnp.float32), axis=axis)
    np.testing.assert_allclose(mine, _mean((p * np.log(p / q)).sum(-1), axis), rtol=1e-5)


def test_kl_softmax_ignores_shifts_and_masked_actions():
    clean, noisy = jnp.asarray(CLEAN, jnp.float32), jnp.asarray(NOISY, jnp.float32)
    base = distances.kl_softmax(clean, noisy)
    np.testing.assert_allclose(distances.kl_softmax(clean + 3.0, noisy - 5.0), base, rtol=1e-5)
    mask = jnp.array([0.0, 0.0, 0.0, -jnp.inf])
    masked = distances.kl_softmax(clean + mask.reshape(1, 1, 4), noisy + mask.reshape(1, 1, 4))
    np.testing.assert_allclose(masked, distances.kl_softmax(clean[..., :3], noisy[..., :3]), rtol=1e-5)


@pytest.mark.parametrize("axis", AXES)
def test_kl_gaussian(axis):
    s, t = np.exp(0.3 * RNG.normal(size=(2, *CLEAN.shape)))
    slow = (np.log(t / s) + (s**2 + (CLEAN - NOISY) ** 2) / (2 * t**2) - 0.5).sum(-1)
    fast = distances.kl_gaussian(*(jnp.asarray(x, jnp.float32) for x in (CLEAN, s, NOISY, t)), axis=axis)
    np.testing.assert_allclose(fast, _mean(slow, axis), rtol=1e-5)


@pytest.mark.parametrize("axis", AXES)
def test_argmax_disagreement(axis):
    slow = (CLEAN.argmax(-1) != NOISY.argmax(-1)).astype(np.float64)
    fast = distances.argmax_disagreement(jnp.asarray(CLEAN, jnp.float32), jnp.asarray(NOISY, jnp.float32), axis=axis)
    np.testing.assert_allclose(fast, _mean(slow, axis), rtol=1e-6)


def test_equal_policies_are_at_distance_zero():
    x = jnp.asarray(CLEAN, jnp.float32)
    assert distances.rms_action(x, x) == distances.kl_softmax(x, x) == distances.argmax_disagreement(x, x) == 0.0
    assert distances.kl_gaussian(x, jnp.ones_like(x), x, jnp.ones_like(x)) == 0.0


def test_a_clean_batch_broadcasts_against_members():
    clean = jnp.asarray(CLEAN[:1], jnp.float32)
    kept = distances.rms_action(clean, jnp.asarray(NOISY, jnp.float32), axis=1)
    assert kept.shape == (5,)
    np.testing.assert_allclose(kept, np.sqrt(((CLEAN[:1] - NOISY) ** 2).mean((1, 2))), rtol=1e-6)


def test_additive_gaussian_noise_is_at_its_standard_deviation():
    actions = jnp.zeros((20_000, 4))
    noisy = actions + 0.2 * jax.random.normal(jax.random.key(0), actions.shape)
    assert float(distances.rms_action(actions, noisy)) == pytest.approx(0.2, rel=0.01)


@pytest.mark.parametrize(
    "epsilon, actions, delta",
    [(0.1, 2, 0.0513), (0.1, 4, 0.0780), (0.1, 6, 0.0870), (0.1, 18, 0.0992), (1.0, 18, 2.8904), (0.01, 2, 0.0050)],
)
def test_epsilon_greedy_target_values(epsilon, actions, delta):
    assert float(distances.epsilon_greedy_target(epsilon, actions)) == pytest.approx(delta, abs=5e-5)


def test_epsilon_greedy_target_is_the_divergence_and_may_be_traced():
    epsilons = np.linspace(0.0, 1.0, 11)
    fast = jax.jit(jax.vmap(lambda e: distances.epsilon_greedy_target(e, 6)))(jnp.asarray(epsilons, jnp.float32))
    np.testing.assert_allclose(fast, -np.log(1 - epsilons + epsilons / 6), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    "call",
    [
        lambda: distances.epsilon_greedy_target(1.1, 4),
        lambda: distances.epsilon_greedy_target(0.1, 1),
        lambda: distances.rms_action(jnp.zeros((2, 3)), jnp.zeros((2, 3)), axis=-1),
        lambda: distances.rms_action(jnp.zeros((2, 3)), jnp.zeros((2, 3)), axis=1),
    ],
)
def test_refuses_nonsense(call):
    with pytest.raises(errors.UserError):
        call()
