"""Statistics over few seeds, in the terms of rliable (Agarwal et al. 2021, arXiv 2108.13264).

Scores are matrices [runs, tasks]; a vector [runs] is one task. Intervals are percentiles of a stratified bootstrap:
the runs of each task are drawn with replacement, independently of the other tasks. Everything is seeded.
"""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxpsn.core import errors, text

_CHUNK = 1 << 22  # scores held at once while resampling: 32 MB of float64

Statistic = Callable[[np.ndarray], np.ndarray]  # [..., runs, tasks] -> [...]


class Estimate(NamedTuple):
    """A statistic with its interval; ``low`` and ``high`` are None where one run gives no interval."""

    value: float
    low: float | None
    high: float | None
    runs: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{text.number(self.value)} (one seed: no interval)"
        return f"{text.number(self.value)} [{text.number(self.low)}, {text.number(self.high)}]"


class Band(NamedTuple):
    """A statistic along a curve [t] with its pointwise interval; ``low`` and ``high`` are NaN where one run is left."""

    value: Float[np.ndarray, "t"]
    low: Float[np.ndarray, "t"]
    high: Float[np.ndarray, "t"]


def iqm(scores: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Interquartile mean of scores [..., runs, tasks], pooled: the mean of their middle half (a vector is one task)."""
    return _middle(_pooled(scores), -1)


def _middle(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of the middle half along ``axis``: a quarter of the values, rounded down, is cut off at either end."""
    count = values.shape[axis]
    cut = count // 4
    sorted_enough = np.partition(values, (cut, count - cut - 1), axis)
    return np.asarray(np.take(sorted_enough, range(cut, count - cut), axis).mean(axis))


def mean(scores: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Mean of scores [..., runs, tasks] over both (a vector is one task)."""
    return np.asarray(_pooled(scores).mean(axis=-1))


def median(scores: Float[np.ndarray, "*b runs tasks"]) -> Float[np.ndarray, "*b"]:
    """Median over tasks of the mean over runs, as benchmarks report it."""
    return np.asarray(np.median(scores.mean(axis=-2), axis=-1))


def bootstrap(
    scores: Any, statistic: Statistic = iqm, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """``statistic`` of scores [runs, tasks] with a stratified bootstrap interval.

    One run gives no interval: its spread over seeds is unknown. Raises UserError on empty or non-finite scores.
    """
    scores = _matrix("scores", scores)
    runs, tasks = scores.shape
    value = float(statistic(scores))
    if runs == 1:
        return Estimate(value, None, None, runs)
    rng = np.random.default_rng(seed)
    samples = []
    for size in _chunks(resamples, runs * tasks):
        index = rng.integers(runs, size=(size, runs, tasks))
        samples.append(statistic(np.take_along_axis(scores[None], index, axis=1)))
    low, high = np.quantile(np.concatenate(samples), _tails(confidence))
    return Estimate(value, float(low), float(high), runs)


def curve(values: Float[np.ndarray, "s t"], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Band:
    """IQM over seeds at each point of curves [seeds, t], with a pointwise bootstrap interval over whole seeds.

    NaN marks a seed without a value; the seeds that have one count at each point, and fewer than two give no interval.
    """
    values = np.asarray(values, float)
    band = Band(*np.full((3, values.shape[1]), np.nan))
    masks, group = np.unique(np.isfinite(values), axis=1, return_inverse=True)
    for number, present in enumerate(masks.T):
        points = np.flatnonzero(group == number)
        runs = int(present.sum())
        if not runs:
            continue
        chosen = values[np.ix_(present, points)]
        band.value[points] = _middle(chosen, 0)
        if runs > 1:
            draws = np.random.default_rng(seed).integers(runs, size=(resamples, runs))
            for some in np.array_split(np.arange(points.size), max(1, resamples * chosen.size // _CHUNK)):
                samples = _middle(chosen[:, some][draws], 1)
                band.low[points[some]], band.high[points[some]] = np.quantile(samples, _tails(confidence), axis=0)
    return band


def mean_curve(
    values: Float[np.ndarray, "runs t"], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Band:
    """Mean over runs at each point of curves [runs, t], with a pointwise bootstrap interval over whole runs.

    A run is whatever was drawn independently: a seed, or a problem of an evaluation. One run gives no interval.
    Raises UserError on empty or non-finite values.
    """
    values = _matrix("values", values)
    value, runs = values.mean(axis=0), len(values)
    if runs == 1:
        return Band(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    rng = np.random.default_rng(seed)
    chunks = _chunks(resamples, max(values.shape))
    samples = np.concatenate([_shares(rng, size, runs, 1)[..., 0] @ values for size in chunks])
    low, high = np.quantile(samples, _tails(confidence), axis=0)
    return Band(value, low, high)


def probability_of_improvement(
    ours: Any, theirs: Any, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """P(a run of ``ours`` beats a run of ``theirs``), averaged over tasks; a tie counts one half (Mann-Whitney U).

    Scores are [runs, tasks] with equal tasks; the numbers of runs may differ. Both sides are resampled.
    """
    ours, theirs = _matrix("ours", ours), _matrix("theirs", theirs)
    if ours.shape[1] != theirs.shape[1]:
        errors.refuse("tasks", (ours.shape[1], theirs.shape[1]), "the same tasks on both sides")
    wins = (np.sign(ours[:, None] - theirs[None]) + 1) / 2  # [runs of ours, runs of theirs, tasks]
    value = float(wins.mean())
    runs = min(len(ours), len(theirs))
    if runs == 1:
        return Estimate(value, None, None, runs)
    rng = np.random.default_rng(seed)
    samples = []
    for size in _chunks(resamples, (len(ours) + len(theirs)) * wins.shape[2]):
        mine, other = (_shares(rng, size, *side.shape) for side in (ours, theirs))
        samples.append(np.einsum("bnt,nmt,bmt->bt", mine, wins, other, optimize=True).mean(axis=1))
    low, high = np.quantile(np.concatenate(samples), _tails(confidence))
    return Estimate(value, float(low), float(high), runs)


def performance_profile(
    scores: Any, thresholds: Any, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Band:
    """Fraction of runs, over all tasks, that score above each threshold [t], with a stratified bootstrap band."""
    scores = _matrix("scores", scores)
    above: Bool[np.ndarray, "runs tasks t"] = scores[..., None] > np.asarray(thresholds, float)
    value = above.mean(axis=(0, 1))
    if len(scores) == 1:
        return Band(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    rng = np.random.default_rng(seed)
    flat = above.reshape(-1, above.shape[-1]).astype(float)
    samples = []
    for size in _chunks(resamples, scores.size):
        samples.append(_shares(rng, size, *scores.shape).reshape(size, -1) @ flat / scores.shape[1])
    low, high = np.quantile(np.concatenate(samples), _tails(confidence), axis=0)
    return Band(value, low, high)


def share(hits: Any, *, confidence: float = 0.95) -> Estimate:
    """Share of runs for which ``hits`` [runs] is true, with the score interval of Wilson (1927).

    One run gives no interval, as everywhere here. Raises UserError where there is no run.
    """
    hits = np.asarray(hits, bool)
    if hits.ndim != 1 or not hits.size:
        errors.refuse("shape of hits", hits.shape, "[runs], not empty")
    count, runs = int(hits.sum()), hits.size
    if runs == 1:
        return Estimate(float(count), None, None, runs)
    z2 = NormalDist().inv_cdf(_tails(confidence)[1]) ** 2
    centre = (count + z2 / 2) / (runs + z2)
    half = math.sqrt(z2) / (runs + z2) * math.sqrt(count * (runs - count) / runs + z2 / 4)
    # Where none or all are hits an end is 0 or 1 exactly, which rounding may miss.
    return Estimate(count / runs, centre - half if count else 0.0, centre + half if count < runs else 1.0, runs)


def median_time(times: Any, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Estimate:
    """The first time by which it had happened to at least half of the runs; ``times`` [runs], inf is never.

    This is the median of Kaplan and Meier's curve: inf where more than half were never seen to get there (the true
    median then lies beyond the end). The interval is a percentile bootstrap over runs; its ends may be inf too.
    """
    times = np.sort(np.asarray(times, float))
    if times.ndim != 1 or not times.size or np.isnan(times).any():
        errors.refuse("times", times.tolist(), "[runs], not empty, inf for never")
    runs = times.size
    middle = (runs + 1) // 2 - 1
    value = float(times[middle])
    if runs == 1:
        return Estimate(value, None, None, runs)
    draws = np.random.default_rng(seed).integers(runs, size=(resamples, runs))
    samples = times[np.sort(draws, axis=1)[:, middle]]
    low, high = np.quantile(samples, _tails(confidence), method="inverted_cdf")  # takes inf, which cannot be mixed
    return Estimate(value, float(low), float(high), runs)


def _shares(rng: np.random.Generator, size: int, runs: int, tasks: int) -> Float[np.ndarray, "b runs tasks"]:
    """Weights of the runs in ``size`` bootstrap samples of each task; they sum to one over the runs."""
    counts = rng.multinomial(runs, np.full(runs, 1 / runs), size=(size, tasks))
    return np.swapaxes(counts, 1, 2) / runs


def _pooled(scores: Any) -> np.ndarray:
    scores = np.asarray(scores, float)
    return scores if scores.ndim == 1 else scores.reshape(*scores.shape[:-2], -1)


def _matrix(name: str, scores: Any) -> Float[np.ndarray, "runs tasks"]:
    matrix = np.asarray(scores, float)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or not matrix.size:
        errors.refuse(f"shape of {name}", matrix.shape, "[runs] or [runs, tasks], not empty")
    if not np.isfinite(matrix).all():
        errors.refuse(name, f"{int((~np.isfinite(matrix)).sum())} not finite", "finite scores")
    return matrix


def _chunks(resamples: int, scores: int) -> list[int]:
    """Sizes of the batches in which ``resamples`` samples of ``scores`` values each are drawn."""
    size = max(1, _CHUNK // scores)
    return [min(size, resamples - start) for start in range(0, resamples, size)]


def _tails(confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        errors.refuse("confidence", confidence, "above 0 and below 1")
    return (1 - confidence) / 2, (1 + confidence) / 2
