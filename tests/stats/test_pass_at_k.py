"""Against exact fractions, against drawing k of n by hand, and against closed forms."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.stats import pass_at_k


def _exact(n, c, k):
    return 1 - Fraction(math.comb(n - c, k), math.comb(n, k))


@pytest.mark.parametrize("n", [1, 2, 8, 257, 4096])
def test_the_estimate_is_exact_to_rounding(n):
    for k in sorted({1, min(2, n), min(256, n), (n + 1) // 2, max(1, n - 1), n}):
        counts = sorted({c for c in (0, 1, 2, n // 3, n - k, n - k + 1, n - 1, n) if 0 <= c <= n})
        found = pass_at_k.estimate(n, counts, k)
        for c, value in zip(counts, found, strict=True):
            exact = _exact(n, c, k)
            assert abs(Fraction(float(value)) - exact) <= exact * Fraction(1, 10**14), (c, k)


def test_the_estimate_is_the_share_of_subsets_with_a_right_answer():
    answers = [1, 0, 0, 1, 0, 0, 0]
    for k in range(1, 8):
        subsets = list(itertools.combinations(answers, k))
        assert pass_at_k.estimate(7, 2, k) == pytest.approx(sum(map(max, subsets)) / len(subsets))


def test_the_estimate_is_unbiased():
    rate, n, k = 0.07, 12, 5
    weights = [math.comb(n, c) * rate**c * (1 - rate) ** (n - c) for c in range(n + 1)]
    assert np.dot(weights, pass_at_k.estimate(n, np.arange(n + 1), k)) == pytest.approx(1 - (1 - rate) ** k)


def test_problems_may_have_unlike_numbers_of_answers():
    samples, correct = np.array([4, 9, 4, 256]), np.array([1, 3, 4, 0])
    found = pass_at_k.estimate(samples, correct, 3)
    assert found == pytest.approx([float(_exact(n, c, 3)) for n, c in zip(samples, correct, strict=True)])


def test_the_curve_is_the_mean_over_problems():
    correct = np.array([0, 1, 5, 256, 17])
    curve = pass_at_k.curve(correct, 256)
    assert curve.ks == (1, 2, 4, 8, 16, 32, 64, 128, 256) and curve.problems == 5 and not curve.notes
    wanted = [np.mean([float(_exact(256, int(c), k)) for c in correct]) for k in curve.ks]
    assert curve.band.value == pytest.approx(wanted)
    assert curve.band.value[0] == pytest.approx(correct.mean() / 256) and curve.band.value[-1] == 0.8
    assert (curve.band.low <= curve.band.value).all() and (curve.band.value <= curve.band.high).all()


def test_the_interval_is_that_of_the_mean():
    solved = (np.arange(400) % 4 == 0).astype(int)
    curve = pass_at_k.curve(solved, 1, (1,), resamples=20_000)
    error = 1.96 * math.sqrt(0.25 * 0.75 / 400)
    assert curve.band.low[0] == pytest.approx(0.25 - error, abs=4e-3)
    assert curve.band.high[0] == pytest.approx(0.25 + error, abs=4e-3)


def test_the_interval_covers_the_rate_of_a_population_of_problems():
    rng, hits, k, n = np.random.default_rng(0), 0, 4, 16
    truth = 1 - 2 / (2 + k)  # 1 - E[(1 - p)^k] for p of Beta(1, 2)
    for trial in range(200):
        correct = rng.binomial(n, rng.beta(1, 2, 60))
        band = pass_at_k.curve(correct, n, (k,), resamples=300, seed=trial).band
        hits += band.low[0] <= truth <= band.high[0]
    assert 0.88 <= hits / 200 <= 0.99


def test_k_above_the_answers_is_left_out_and_said():
    curve = pass_at_k.curve([1, 2], [100, 64])
    assert curve.ks[-1] == 64 and curve.left_out == (128, 256)
    assert curve.notes == ("k = 128, 256 left out: a problem has only 64 answers.",)
    assert "1 answer." in pass_at_k.curve([1], 1).notes[0]
    with pytest.raises(UserError, match="at most the number of answers, here 64"):
        pass_at_k.curve([1, 2], [100, 64], (128,))


def test_the_difference_is_paired():
    rng = np.random.default_rng(1)
    hard = rng.integers(0, 200, 50)
    better = hard + rng.integers(0, 20, 50)
    found = pass_at_k.difference((better, 256), (hard, 256), (1, 4))
    ours, theirs = (pass_at_k.curve(side, 256, (1, 4)) for side in (better, hard))
    assert found.band.value == pytest.approx(ours.band.value - theirs.band.value)
    width = lambda band: band.high[0] - band.low[0]  # noqa: E731
    assert width(found.band) < 0.3 * width(ours.band), "what both share cancels"
    assert found.band.low[0] > 0
    same = pass_at_k.difference((hard, 256), (hard, 256))
    assert not np.any([same.band.value, same.band.low, same.band.high])
    short = pass_at_k.difference((hard % 9, 8), (hard, 256))
    assert short.ks == (1, 2, 4, 8) and short.fewest == 8 and "only 8 answers" in short.notes[0]


def test_one_problem_gives_no_interval_and_seeds_are_kept():
    assert np.isnan(pass_at_k.curve([3], 8).band.low).all()
    correct = np.arange(30)
    assert np.array_equal(*(pass_at_k.curve(correct, 32, seed=3).band.low for _ in range(2)))
    assert not np.array_equal(*(pass_at_k.curve(correct, 32, seed=seed).band.low for seed in (3, 4)))


@pytest.mark.parametrize(
    ("n", "c", "k", "says"),
    [(8, 9, 1, "correct <= samples"), (8, -1, 1, "correct"), (0, 0, 1, "at least 1"), (8, 1, 0, "k = 0"),
     (8, 1, 9, "k = 9"), (8, 1.0, 2, "whole numbers"), ([4, 8], 1, 8, "here 4")],
)  # fmt: skip
def test_what_has_no_estimate_is_refused_in_one_line(n, c, k, says):
    with pytest.raises(UserError, match=says) as caught:
        pass_at_k.estimate(n, c, k)
    assert "\n" not in str(caught.value)


def test_other_shapes_are_refused():
    with pytest.raises(UserError, match="not empty"):
        pass_at_k.curve(np.zeros(0, int), 8)
    with pytest.raises(UserError, match="same problems"):
        pass_at_k.difference(([1, 2], 8), ([1, 2, 3], 8))
