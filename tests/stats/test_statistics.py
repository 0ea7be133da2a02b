"""Closed forms, slow references in plain Python, and values of rliable 1.2.0 on stored scores."""

import math
import statistics as plain

import numpy as np
import pytest
from scipy import stats

from jaxpsn.core.errors import UserError
from jaxpsn.stats import statistics

A = np.array([
    [1.0, 1.119, 0.89, 0.644, 0.818, 0.603], [1.024, 1.536, 0.803, 0.752, 1.196, 1.143],
    [1.042, 0.628, 0.988, 1.278, 0.462, 0.817], [0.24, 0.484, 0.263, 0.906, 0.493, 1.109],
    [1.063, 0.925, -0.007, 0.785, 0.981, 1.045],
])  # fmt: skip
B = np.array([
    [0.035, 0.561, 0.311, 0.396, 1.33, 0.396], [0.784, 1.242, 0.508, 0.744, 0.855, 0.832],
    [0.187, 0.838, 1.479, 0.026, 1.23, 0.86], [0.479, 1.8, 1.181, 0.2, 0.837, 1.088],
])  # fmt: skip


def _slow_iqm(values):
    values = sorted(values)
    cut = len(values) // 4
    return plain.fmean(values[cut : len(values) - cut])


def test_iqm_is_the_mean_of_the_middle_half():
    assert statistics.iqm(np.array([100.0, 1, 2, 3, 4, 5, 6, -900])) == pytest.approx(3.5)
    assert statistics.iqm(A) == pytest.approx(_slow_iqm(A.ravel()))
    batch = np.random.default_rng(0).normal(size=(3, 5, 4))
    assert statistics.iqm(batch) == pytest.approx([_slow_iqm(one.ravel()) for one in batch])


def test_aggregates_equal_rliable():
    assert statistics.iqm(A) == pytest.approx(0.878, abs=5e-4)
    assert statistics.iqm(B) == pytest.approx(0.7318333, abs=1e-6)
    assert statistics.median(A) == pytest.approx(0.8734)
    assert statistics.mean(A) == pytest.approx(0.8343333, abs=1e-6)


def test_intervals_equal_rliable():
    estimate = statistics.bootstrap(A, resamples=20_000)
    assert (estimate.low, estimate.high) == pytest.approx((0.7488, 0.9778), abs=4e-3)
    better = statistics.probability_of_improvement(A, B, resamples=20_000)
    assert better.value == pytest.approx(0.5666667)
    assert (better.low, better.high) == pytest.approx((0.4333, 0.7), abs=0.015)
    profile = statistics.performance_profile(A, [0.0, 0.5, 1.0, 1.5], resamples=5000)
    assert profile.value == pytest.approx([29 / 30, 0.8, 1 / 3, 1 / 30])
    assert profile.low == pytest.approx([0.9, 2 / 3, 0.2, 0.0], abs=0.034)
    assert profile.high == pytest.approx([1.0, 14 / 15, 7 / 15, 0.1], abs=0.034)


def test_the_interval_covers_a_normal_mean():
    rng, hits, seeds = np.random.default_rng(1), 0, 30
    for trial in range(300):
        estimate = statistics.bootstrap(rng.normal(2.0, 1.0, seeds), statistics.mean, resamples=400, seed=trial)
        hits += estimate.low <= 2.0 <= estimate.high
    assert 0.89 <= hits / 300 <= 0.98  # nominal 0.95; a percentile interval of 30 values covers about 0.94


def test_the_interval_has_the_width_of_the_standard_error():
    scores = np.random.default_rng(2).normal(size=(40, 3))
    estimate = statistics.bootstrap(scores, statistics.mean, resamples=20_000)
    error = math.sqrt((scores.var(axis=0) / 40).sum()) / 3  # strata are resampled independently
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.04)


def test_one_run_gives_no_interval_and_says_so():
    estimate = statistics.bootstrap([3.5])
    assert estimate.low is None and estimate.high is None and estimate.runs == 1
    assert "one seed: no interval" in str(estimate)
    assert "[" in str(statistics.bootstrap([3.5, 4.0, 5.0]))
    assert statistics.probability_of_improvement([1.0], [0.0, 2.0]).low is None
    assert np.isnan(statistics.performance_profile([1.0], [0.5]).low).all()
    assert np.isnan(statistics.curve(np.ones((1, 4))).low).all()


def test_probability_of_improvement_by_pairs_and_for_normals():
    pairs = [(x > y) + 0.5 * (x == y) for task in range(6) for x in A[:, task] for y in B[:, task]]
    assert statistics.probability_of_improvement(A, B).value == pytest.approx(plain.fmean(pairs))
    assert statistics.probability_of_improvement([1.0, 1.0], [1.0, 1.0]).value == 0.5
    rng = np.random.default_rng(3)
    better = statistics.probability_of_improvement(rng.normal(1, 1, 2000), rng.normal(0, 1, 2000), resamples=2)
    assert better.value == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)), abs=0.02)


def test_the_profile_is_the_share_above_each_threshold():
    thresholds = np.linspace(-0.5, 2, 11)
    profile = statistics.performance_profile(A, thresholds)
    assert profile.value == pytest.approx([np.mean([score > t for score in A.ravel()]) for t in thresholds])
    assert (profile.low <= profile.value).all() and (profile.value <= profile.high).all()
    assert (np.diff(profile.value) <= 0).all()


def test_a_curve_is_the_statistic_of_each_point():
    values = np.random.default_rng(4).normal(size=(6, 5)) + np.arange(5)
    values[2, 3], values[1:, 4] = np.nan, np.nan
    band = statistics.curve(values)
    assert band.value == pytest.approx([_slow_iqm(column[np.isfinite(column)]) for column in values.T])
    one, many = statistics.bootstrap(values[:, 0], resamples=20_000), statistics.curve(values, resamples=20_000)
    assert (many.low[0], many.high[0]) == pytest.approx((one.low, one.high), abs=0.04)
    assert np.isfinite(band.low[:4]).all() and np.isnan(band.low[4])


def test_equal_seeds_give_equal_intervals_and_chunks_do_not_matter(monkeypatch):
    assert statistics.bootstrap(A, seed=5) == statistics.bootstrap(A, seed=5) != statistics.bootstrap(A, seed=6)
    whole = statistics.curve(A)
    monkeypatch.setattr(statistics, "_CHUNK", 100)
    assert statistics.curve(A).low == pytest.approx(whole.low)
    assert statistics.bootstrap(A).low == pytest.approx(0.7488, abs=0.02)


@pytest.mark.parametrize("scores", [[], [[]], [1.0, float("nan")], np.ones((2, 2, 2))])
def test_unusable_scores_are_refused_in_one_line(scores):
    with pytest.raises(UserError, match="scores") as caught:
        statistics.bootstrap(scores)
    assert "\n" not in str(caught.value)


def test_other_tasks_and_confidences_are_refused():
    with pytest.raises(UserError, match="same tasks"):
        statistics.probability_of_improvement(A, B[:, :3])
    with pytest.raises(UserError, match="confidence"):
        statistics.bootstrap(A, confidence=95.0)


@pytest.mark.parametrize(("hits", "runs"), [(0, 10), (1, 10), (5, 10), (9, 10), (10, 10), (2, 3)])
def test_a_share_has_wilson_s_interval(hits, runs):
    share = statistics.share(np.arange(runs) < hits)
    expected = stats.binomtest(hits, runs).proportion_ci(method="wilson")
    assert (share.value, share.runs) == (hits / runs, runs)
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert share.low == 0 if hits == 0 else share.low > 0


def test_one_run_has_a_share_without_an_interval():
    assert statistics.share([True]) == (1.0, None, None, 1)
    with pytest.raises(UserError, match="hits"):
        statistics.share([])


def test_a_median_time_is_that_of_kaplan_and_meier():
    rng = np.random.default_rng(5)
    for runs in range(2, 12):
        times = np.round(rng.exponential(60, runs), 3)
        times[times > 50] = np.inf  # watched for 50
        sample = stats.CensoredData(uncensored=times[np.isfinite(times)], right=np.full(np.isinf(times).sum(), 50.0))
        curve = stats.ecdf(sample).sf
        reached = curve.quantiles[curve.probabilities <= 0.5 + 1e-12]
        found = statistics.median_time(times)
        reached = reached[reached < 50]
        assert found.value == (reached[0] if reached.size else np.inf)
        assert found.low <= found.value <= found.high


def test_a_median_time_that_lies_beyond_the_end():
    assert statistics.median_time([10, np.inf]).value == 10  # half of the runs were there
    never = statistics.median_time([np.inf] * 5)
    assert never.value == never.low == never.high == np.inf
    assert statistics.median_time([7.0]) == (7.0, None, None, 1)
    with pytest.raises(UserError, match="times"):
        statistics.median_time([np.nan, 1.0])


def test_the_interval_of_a_median_time_covers_it():
    rng, hits = np.random.default_rng(6), 0
    for trial in range(300):
        times = rng.exponential(1.0, 21)
        found = statistics.median_time(np.where(times > 2, np.inf, times), resamples=400, seed=trial)
        hits += found.low <= math.log(2) <= found.high
    assert 0.90 <= hits / 300 <= 0.99
