"""Likeness of answers: pairwise cosines against slow references, and what the number means."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpsn.core import errors
from jaxpsn.rlvr.exploration import similarity

COMPARE = jax.jit(similarity.pooled_cosine)


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def reference(pooled, valid, centre):
    pooled = pooled.astype(np.float64)
    if centre:
        pooled = pooled - pooled[valid].mean(axis=0)
    out = []
    for vectors, keep in zip(pooled, valid, strict=True):
        kept = vectors[keep]
        found = [cosine(kept[i], kept[j]) for i, j in itertools.permutations(range(len(kept)), 2)]
        out.append(np.mean(found) if found else np.nan)
    return np.array(out)


@pytest.mark.parametrize("centre", [True, False])
def test_pooled_cosine_against_the_reference(centre):
    rng = np.random.default_rng(0)
    pooled = (5.0 + rng.normal(size=(6, 4, 16))).astype(np.float32)
    valid = np.ones((6, 4), bool)
    valid[0], valid[1, 1:], valid[2, 1], valid[5, ::2] = False, False, False, False
    pooled[~valid] = np.nan
    ours = jax.jit(similarity.pooled_cosine, static_argnums=2)(jnp.asarray(pooled), jnp.asarray(valid), centre)
    expected = reference(np.nan_to_num(pooled), valid, centre)
    assert np.isnan(expected[:2]).all() and np.isfinite(expected[2:]).all()
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_equal_answers_are_1_and_unrelated_ones_about_0():
    rng = np.random.default_rng(1)
    common = 10.0 * np.ones((1, 1, 64))
    prompts, answers = rng.normal(size=(200, 1, 64)), rng.normal(size=(200, 3, 64))
    same = jnp.asarray(np.broadcast_to(common + prompts, (200, 3, 64)), jnp.float32)
    np.testing.assert_allclose(similarity.pooled_cosine(same), 1.0, atol=1e-5)
    unrelated = similarity.pooled_cosine(jnp.asarray(common + answers, jnp.float32))
    assert abs(float(unrelated.mean())) < 0.01
    near = similarity.pooled_cosine(jnp.asarray(common + prompts + 0.3 * answers, jnp.float32))
    assert 0.85 < float(near.mean()) < 0.95, "1 / (1 + 0.3^2)"
    # The common component alone makes uncentred answers look alike.
    assert float(similarity.pooled_cosine(jnp.asarray(common + answers, jnp.float32), None, False).mean()) > 0.98


def test_two_answers_of_a_batch_are_not_minus_one():
    """Centring each prompt by itself would make any two answers opposite."""
    rng = np.random.default_rng(2)
    pooled = jnp.asarray(rng.normal(size=(1, 1, 8)) + 0.1 * rng.normal(size=(1, 2, 8)), jnp.float32)
    assert float(similarity.pooled_cosine(pooled)[0]) > 0.9


def test_a_batch_in_which_all_is_equal_is_1():
    assert np.array_equal(COMPARE(jnp.full((4, 3, 5), 0.7)), np.ones(4))
    assert np.array_equal(COMPARE(jnp.zeros((4, 3, 5))), np.ones(4))


@given(st.integers(0, 1000), st.floats(0.1, 100.0))
@settings(max_examples=20, deadline=None)
def test_pooled_cosine_properties(seed, scale):
    pooled = np.random.default_rng(seed).normal(size=(3, 4, 6)).astype(np.float32)
    plain = np.asarray(COMPARE(pooled))
    assert (plain <= 1 + 1e-5).all() and (plain >= -1 / 3 - 1e-5).all()
    np.testing.assert_allclose(COMPARE(pooled * np.float32(scale)), plain, atol=1e-4)
    np.testing.assert_allclose(COMPARE(pooled[:, ::-1]), plain, atol=1e-5)
    np.testing.assert_allclose(COMPARE(pooled + np.float32(3.0)), plain, atol=1e-4)


def counted(text, n, unit):
    units = list(text) if unit == "character" else text.split()
    units = ["|"] * (n - 1) + units + ["|"] * (n - 1)
    return collections.Counter(tuple(units[i : i + n]) for i in range(len(units) - n + 1))


@pytest.mark.parametrize("n, unit", [(1, "character"), (3, "character"), (2, "word")])
def test_ngram_cosine_against_plain_counts(n, unit):
    texts = [["1 + 2 = 3", "1 + 2 = 3", "3 - 1 = 2"], ["a b a b", "b a b a"], ["abc", "xyz", "", "abd"]]
    expected = []
    for answers in texts:
        counts = [counted(text, n, unit) for text in answers if text]
        keys = sorted(set().union(*counts))
        rows = np.array([[c[k] for k in keys] for c in counts], float)
        expected.append(np.mean([cosine(rows[i], rows[j]) for i, j in itertools.combinations(range(len(rows)), 2)]))
    ours = similarity.ngram_cosine(texts, n, unit, buckets=1 << 20)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_ngram_cosine_of_odd_answers():
    ours = similarity.ngram_cosine([[], ["a"], ["", "a"], ["\x00\ud800", "\x00\ud800"], ["   ", "   "]])
    assert np.isnan(ours[:3]).all()
    np.testing.assert_allclose(ours[3:], 1.0)
    np.testing.assert_allclose(similarity.ngram_cosine([["  ", " "]], unit="word", n=1), 1.0)
    megabyte = "(" * 1_000_000
    np.testing.assert_allclose(similarity.ngram_cosine([[megabyte, megabyte]]), 1.0)


def test_the_hash_is_the_same_everywhere():
    """Few buckets collide: the number below depends on the hash, which must not change between processes."""
    ours = similarity.ngram_cosine([["parameter", "space noise"]], buckets=7)
    assert float(ours[0]) == pytest.approx(0.6541711, abs=1e-6)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=4), st.sampled_from(["character", "word"]))
@settings(max_examples=50, deadline=None)
def test_ngram_cosine_stays_in_range(answers, unit):
    ours = similarity.ngram_cosine([answers, [answers[0]] * 2], unit=unit)
    assert -1e-6 <= ours[0] <= 1 + 1e-6 and ours[1] == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [dict(n=0), dict(unit="token"), dict(buckets=1)])
def test_refuses_in_one_line(bad):
    with pytest.raises(errors.UserError) as caught:
        similarity.ngram_cosine([["a", "b"]], **bad)
    assert "\n" not in str(caught.value)
