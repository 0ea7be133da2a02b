"""The formulas of on-policy learning against NumPy in float64, and the advantages against Brax's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.training.agents.ppo import losses as brax
from scipy import stats

from jaxpsn.control.agents import surrogate
from jaxpsn.core import compat

RNG = np.random.default_rng(3)


def _rollout(steps=40, envs=3):
    reward, value, after = RNG.normal(size=(3, steps, envs))
    terminated, cut = RNG.random((2, steps, envs)) < 0.15
    return reward, value, after, terminated, cut


def test_lambda_returns_are_mixtures_of_returns_of_several_steps():
    reward, _, after, terminated, cut = _rollout()
    gamma, lam = 0.97, 0.8
    found = surrogate.lambda_returns(
        *(jnp.asarray(part, jnp.float32) for part in (reward, after)),
        *(jnp.asarray(part) for part in (terminated, cut)), gamma, lam,
    )  # fmt: skip
    for i in range(3):
        for t in range(40):
            total, gained, weight = 0.0, 0.0, 1.0
            for later in range(t, 40):
                gained += gamma ** (later - t) * reward[later, i]
                rest = 0.0 if terminated[later, i] else gamma ** (later - t + 1) * after[later, i]
                last = terminated[later, i] or cut[later, i] or later == 39
                total += (weight if last else weight * (1 - lam)) * (gained + rest)
                if last:
                    break
                weight *= lam
            assert float(found[t, i]) == pytest.approx(total, abs=1e-5)


def test_advantages_are_sums_of_discounted_errors_up_to_a_cut():
    reward, value, after, terminated, cut = _rollout()
    gamma, lam = 0.97, 0.9
    found = surrogate.advantages(
        *(jnp.asarray(part, jnp.float32) for part in (reward, value, after)),
        *(jnp.asarray(part) for part in (terminated, cut)), gamma, lam,
    )  # fmt: skip
    for i in range(3):
        for t in range(40):
            total, factor = 0.0, 1.0
            for later in range(t, 40):
                rest = 0.0 if terminated[later, i] else gamma * after[later, i]
                total += factor * (reward[later, i] + rest - value[later, i])
                if terminated[later, i] or cut[later, i]:
                    break
                factor *= gamma * lam
            assert float(found[t, i]) == pytest.approx(total, abs=1e-5)


def test_targets_are_those_of_brax_where_nothing_is_truncated():
    reward, value, _, terminated, _ = _rollout()
    last = RNG.normal(size=3)
    after = np.concatenate([value[1:], last[None]])
    ours = surrogate.advantages(
        *(jnp.asarray(part, jnp.float32) for part in (reward, value, after)),
        *(jnp.asarray(terminated), jnp.asarray(terminated)), 0.97, 0.9,
    )  # fmt: skip
    given = [jnp.asarray(part, jnp.float32) for part in (0 * reward, terminated, reward, value, last)]
    with compat.foreign():
        target, _ = brax.compute_gae(*given, lambda_=0.9, discount=0.97)
    np.testing.assert_allclose(ours + value.astype(np.float32), target, atol=1e-5)


def test_a_time_limit_is_worth_the_value_of_its_last_observation():
    one, half = jnp.ones((1, 1)), jnp.full((1, 1), 0.5)
    yes, no = jnp.ones((1, 1), bool), jnp.zeros((1, 1), bool)
    truncated = surrogate.advantages(one, half, 4 * one, no, yes, 0.9, 0.95)
    ended = surrogate.advantages(one, half, 4 * one, yes, yes, 0.9, 0.95)
    np.testing.assert_allclose([truncated[0, 0], ended[0, 0]], [1 + 0.9 * 4 - 0.5, 1 - 0.5], rtol=1e-6)


@pytest.mark.parametrize("clip", [0.1, 0.3])
def test_the_clipped_objective_and_its_gradient(clip):
    log_ratio, gain = RNG.normal(size=(2, 50)) * [[0.3], [1.0]]
    weight = RNG.random(50)
    ratio = np.exp(log_ratio)
    bound = np.clip(ratio, 1 - clip, 1 + clip)
    expected = -np.mean(weight * np.minimum(ratio * gain, bound * gain))
    given = [jnp.asarray(part, jnp.float32) for part in (log_ratio, gain, weight)]
    value, slope = jax.value_and_grad(surrogate.clipped_loss)(*given, clip)
    assert float(value) == pytest.approx(expected, abs=1e-6)
    # Nothing is to be gained beyond the bound, and only on the side where the advantage leads.
    idle = ((gain > 0) & (ratio > 1 + clip)) | ((gain < 0) & (ratio < 1 - clip))
    np.testing.assert_allclose(slope, np.where(idle, 0.0, -weight * ratio * gain / 50), atol=1e-6)


@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_the_value_loss(clip):
    value, old, target = RNG.normal(size=(3, 30))
    error = (value - target) ** 2
    if clip:
        error = np.maximum(error, (old + np.clip(value - old, -clip, clip) - target) ** 2)
    found = surrogate.value_loss(*(jnp.asarray(part, jnp.float32) for part in (value, old, target)), clip)
    assert float(found) == pytest.approx(error.mean() / 2, rel=1e-5)


def test_densities_divergences_and_sample_sizes():
    before, mean, log_std = RNG.normal(size=(3, 20, 2))
    moments = jnp.asarray(np.concatenate([mean, log_std], axis=1), jnp.float32)
    expected = stats.norm(mean, np.exp(log_std)).logpdf(before).sum(axis=1)
    np.testing.assert_allclose(surrogate.log_prob(jnp.asarray(before, jnp.float32), moments), expected, rtol=1e-3)
    logs = 0.5 * RNG.normal(size=(4, 25))
    told = jnp.asarray(logs, jnp.float32)
    assert float(surrogate.kl_estimate(told)) == pytest.approx(np.mean(np.exp(logs) - 1 - logs), rel=1e-4)
    weights = np.exp(logs)
    share = weights.mean() ** 2 / (weights**2).mean()
    assert float(surrogate.sample_size(told)) == pytest.approx(share, rel=1e-4)
    assert float(surrogate.sample_size(told + 80.0)) == pytest.approx(share, rel=1e-4), "a constant cancels"


def test_advantages_of_a_group_have_no_mean_and_all_together_the_scale():
    gain = RNG.normal(size=(3, 50)) * 4 + [[10], [0], [-5]]
    given = jnp.asarray(gain, jnp.float32)
    found = np.asarray(surrogate.normalised(given, "group", 1))
    centred = gain - gain.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found, centred / np.sqrt((centred**2).mean()), atol=1e-5)
    every = np.asarray(surrogate.normalised(given, "rollout", (0, 1)))
    np.testing.assert_allclose(every, (gain - gain.mean()) / gain.std(), atol=1e-5)
    np.testing.assert_array_equal(surrogate.normalised(given, "raw", 1), given)
