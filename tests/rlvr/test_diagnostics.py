"""Metrics of a step's answers against slow references, and what "rescued" is allowed to claim."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpsn.rlvr.objective import advantages, diagnostics

P, G, T = 7, 6, 5
GROUPS = jax.jit(diagnostics.group_columns)


def step(seed=0, clean=2):
    rng = np.random.default_rng(seed)
    rewards = rng.integers(0, 2, (P, G)).astype(np.float32)
    rewards[0], rewards[1] = 1.0, 0.0
    lengths = rng.integers(1, T + 1, (P, G)).astype(np.int32)
    sigma = np.array([0.0] * clean + [0.1] * (G - clean), np.float32)
    return rewards, lengths, rng.random((P, G)) < 0.7, sigma, rng.uniform(0, 2, (P, G, T)).astype(np.float32)


def test_columns_against_the_reference():
    rewards, lengths, ended, sigma, entropy = step()
    gained = np.asarray(advantages.group(jnp.asarray(rewards)))
    columns = jax.jit(diagnostics.answers)(rewards, lengths, ended, sigma, gained, entropy)
    expected = {
        "reward": rewards.mean(), "reward_std": rewards.std(), "reward_min": 0.0, "reward_max": 1.0,
        "clean_reward": rewards[:, :2].mean(), "noisy_reward": rewards[:, 2:].mean(),
        "length": lengths.mean(), "length_min": lengths.min(), "length_max": lengths.max(),
        "clipped_length": (~ended).mean(),
        "advantage_mean": gained.mean(), "advantage_min": gained.min(), "advantage_max": gained.max(),
        "entropy": np.concatenate([entropy[p, g, : lengths[p, g]] for p in range(P) for g in range(G)]).mean(),
        "groups_zero_advantage": np.mean([len(set(row)) == 1 for row in rewards]),
        "groups_all_correct": np.mean([set(row) == {1.0} for row in rewards]),
        "groups_all_wrong": np.mean([set(row) == {0.0} for row in rewards]),
    }  # fmt: skip
    expected |= dict(zip(("groups_rescued", "groups_lost"), rescued(rewards, sigma), strict=True))
    assert set(columns) == set(expected)
    for name, value in expected.items():
        assert columns[name].dtype == jnp.float32 and columns[name].shape == ()
        assert float(columns[name]) == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert expected["groups_all_correct"] > 0 and expected["groups_all_wrong"] > 0


def rescued(rewards, sigma):
    """By counting every choice of equally many clean and noisy answers."""
    clean, noisy = np.flatnonzero(sigma == 0), np.flatnonzero(sigma > 0)
    k = min(len(clean), len(noisy))

    def equal(row, side):
        return np.mean([len(set(row[list(chosen)])) == 1 for chosen in itertools.combinations(side, k)])

    chances = np.array([(equal(row, clean), equal(row, noisy)) for row in rewards])
    return np.mean(chances[:, 0] * (1 - chances[:, 1])), np.mean((1 - chances[:, 0]) * chances[:, 1])


@given(st.integers(0, 10_000), st.integers(2, G - 2), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_rescued_groups_against_counting(seed, clean, values):
    rng = np.random.default_rng(seed)
    rewards = rng.integers(0, values + 1, (4, G)).astype(np.float32) / 2
    sigma = rng.permutation([0.0] * clean + [0.2] * (G - clean)).astype(np.float32)
    columns = GROUPS(rewards, sigma)
    ours = float(columns["groups_rescued"]), float(columns["groups_lost"])
    assert ours == pytest.approx(rescued(rewards, sigma), abs=1e-5)


def test_noise_that_changes_nothing_rescues_as_many_as_it_loses():
    """Problems of every difficulty; 2 clean and 6 noisy answers with equal chances."""
    rng = np.random.default_rng(0)
    chance = rng.random((20_000, 1))
    rewards = (rng.random((20_000, 8)) < chance).astype(np.float32)
    columns = GROUPS(rewards, jnp.array([0.0] * 2 + [0.1] * 6))
    gained, lost = float(columns["groups_rescued"]), float(columns["groups_lost"])
    assert gained == pytest.approx(lost, abs=0.01) and gained > 0.1
    # The easy count, clean answers equal but the group not, would claim far more.
    naive = np.mean((rewards[:, 0] == rewards[:, 1]) & (rewards.min(axis=1) != rewards.max(axis=1)))
    assert naive > 2 * gained


def test_noise_that_opens_hopeless_problems_rescues():
    rng = np.random.default_rng(1)
    rewards = np.concatenate([np.zeros((500, 4)), rng.integers(0, 2, (500, 4))], axis=1).astype(np.float32)
    columns = GROUPS(rewards, jnp.array([0.0] * 4 + [0.1] * 4))
    assert float(columns["groups_rescued"]) > 0.8 and float(columns["groups_lost"]) == 0.0


@pytest.mark.parametrize("sigma", [[0.1] * G, [0.0] * G, [0.0] + [0.1] * (G - 1), [0.0] * (G - 1) + [0.1]])
def test_what_was_not_measured_is_nan(sigma):
    rewards = jnp.asarray(step()[0])
    columns = diagnostics.reward_columns(rewards, jnp.array(sigma)) | GROUPS(rewards, jnp.array(sigma))
    assert math.isnan(columns["groups_rescued"]) and math.isnan(columns["groups_lost"])
    assert math.isnan(columns["clean_reward"]) == (0.0 not in sigma)
    assert math.isnan(columns["noisy_reward"]) == (max(sigma) == 0.0)
    assert not math.isnan(columns["groups_zero_advantage"])


def test_rewards_of_members():
    rewards = step()[0]
    ours = diagnostics.member_rewards(jnp.asarray(rewards), jnp.array([-1, 0, 0, 2, 2, 2], jnp.int32), 4)
    expected = [rewards[:, 1:3].mean(), np.nan, rewards[:, 3:].mean(), np.nan]
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def perplexity(log_probs, mask):
    """As verl means it: of each answer, then the mean."""
    return np.mean([np.exp(-row[own].mean()) for row, own in zip(log_probs, mask, strict=True) if own.any()])


def test_mismatch_against_the_reference():
    rng = np.random.default_rng(0)
    noisy = -rng.uniform(0.01, 3, (4, T))
    clean = noisy + 0.2 * rng.normal(size=(4, T))
    mask = np.arange(T) < np.array([5, 0, 2, 3])[:, None]
    pair = [jnp.asarray(np.where(mask, side, np.nan), jnp.float32) for side in (clean, noisy)]
    columns = diagnostics.mismatch_columns(*pair, jnp.asarray(mask))
    a, b = clean[mask], noisy[mask]
    gap = np.abs(np.exp(a) - np.exp(b))
    expected = {
        "clean_perplexity": perplexity(clean, mask),
        "noisy_perplexity": perplexity(noisy, mask),
        "sampler_entropy": -b.mean(),
        "probability_gap_mean": gap.mean(), "probability_gap_max": gap.max(), "probability_gap_std": gap.std(),
        "probability_correlation": np.corrcoef(np.exp(a), np.exp(b))[0, 1],
    }  # fmt: skip
    assert set(columns) == set(expected)
    for name, value in expected.items():
        assert float(columns[name]) == pytest.approx(value, rel=1e-4), name
    nothing = diagnostics.mismatch_columns(*pair, jnp.zeros(mask.shape, bool))
    assert all(math.isnan(value) for value in nothing.values())
