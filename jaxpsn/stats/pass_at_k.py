"""pass@k, the chance that at least one of k answers is right, from n answers to each of several problems.

The estimator is the unbiased one of Chen et al. 2021 (arXiv 2107.03374, section 2.1). Intervals are percentiles of a
bootstrap over problems, which are what was drawn; a problem brings all its answers along.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpsn.core import checks, errors
from jaxpsn.stats import statistics
from jaxpsn.stats.statistics import Band

KS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""The k at which evaluations are reported."""


class Curve(NamedTuple):
    """A mean over problems at each of ``ks`` [t], with its interval; ``left_out``: the k above ``fewest`` answers."""

    ks: tuple[int, ...]
    band: Band
    problems: int
    fewest: int
    left_out: tuple[int, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the curve has to be told."""
        if not self.left_out:
            return ()
        shown = ", ".join(map(str, self.left_out))
        return (f"k = {shown} left out: a problem has only {self.fewest} answer{'s' * (self.fewest > 1)}.",)


def estimate(n: Any, c: Any, k: int) -> Float[np.ndarray, "..."]:
    """pass@k of problems with ``c`` right answers among ``n``: 1 - C(n - c, k) / C(n, k), exact to rounding.

    ``n`` and ``c`` are whole numbers or arrays of them, broadcast against each other. Raises UserError on anything
    else, where c > n, and where k > n: then no unbiased estimate exists.
    """
    checks.whole("k", k, 1)
    correct, samples = _counts(c, n)
    if samples.size and k > samples.min():
        errors.refuse("k", k, f"at most the number of answers, here {samples.min()}")
    values = np.empty(correct.shape)
    for total in np.unique(samples):
        here = samples == total
        values[here] = _table(int(total), k)[correct[here]]
    return values


def _table(n: int, k: int) -> Float[np.ndarray, "counts"]:
    """pass@k for c = 0 ... n: one minus the product of (1 - k / i) over n - c < i <= n, in logarithms."""
    misses = np.cumsum(np.log1p(-k / np.arange(n, k, -1)))  # c = 1 ... n - k; all of one sign, so nothing cancels
    table = np.ones(n + 1)
    table[: n - k + 1] = -np.expm1(np.concatenate([[0.0], misses]))
    return table


def curve(
    correct: Any,
    samples: Any,
    ks: Sequence[int] = KS,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Curve:
    """Mean pass@k over problems with ``correct`` [p] right answers among ``samples`` ([p] or one number).

    A k above the number of answers of some problem is left out. Raises UserError if no k is left.
    """
    scores, kept = _scores(correct, samples, ks)
    return _curve(scores, kept, samples, ks, confidence, resamples, seed)


def difference(
    ours: tuple[Any, Any],
    theirs: tuple[Any, Any],
    ks: Sequence[int] = KS,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Curve:
    """Mean of pass@k of ``ours`` minus ``theirs`` over the same problems, each (correct [p], samples), paired.

    What makes a problem easy or hard for both cancels, so the interval is tighter than those of the two curves tell.
    """
    (mine, kept), (other, also) = (_scores(*side, ks) for side in (ours, theirs))
    if len(mine) != len(other):
        errors.refuse("problems", (len(mine), len(other)), "the same problems on both sides")
    shared = min(len(kept), len(also))
    fewest = np.minimum(np.min(ours[1]), np.min(theirs[1]))
    scores = mine[:, :shared] - other[:, :shared]
    return _curve(scores, kept[:shared], fewest, ks, confidence, resamples, seed)


def _curve(
    scores: np.ndarray,
    kept: tuple[int, ...],
    samples: Any,
    ks: Sequence[int],
    confidence: float,
    resamples: int,
    seed: int,
) -> Curve:
    band = statistics.mean_curve(scores, confidence=confidence, resamples=resamples, seed=seed)
    return Curve(kept, band, len(scores), int(np.min(samples)), tuple(k for k in sorted(ks) if k not in kept))


def _scores(correct: Any, samples: Any, ks: Sequence[int]) -> tuple[Float[np.ndarray, "p t"], tuple[int, ...]]:
    """pass@k of each problem at each k that all of them allow."""
    correct, samples = _counts(correct, samples)
    if correct.ndim != 1 or not correct.size:
        errors.refuse("shape of correct", correct.shape, "[problems], not empty")
    for k in ks:
        checks.whole("k", k, 1)
    kept = tuple(k for k in sorted(ks) if k <= samples.min())
    if not kept:
        errors.refuse("k", tuple(ks), f"at most the number of answers, here {samples.min()}")
    return np.stack([estimate(samples, correct, k) for k in kept], axis=1), kept


def _counts(correct: Any, samples: Any) -> tuple[Int[np.ndarray, "*p"], Int[np.ndarray, "*p"]]:
    correct, samples = np.broadcast_arrays(np.asarray(correct), np.asarray(samples))
    for name, counts in (("correct", correct), ("samples", samples)):
        if not np.issubdtype(counts.dtype, np.integer):
            errors.refuse(name, str(counts.dtype), "whole numbers")
    bad = np.flatnonzero((correct < 0) | (correct > samples) | (samples < 1))
    if bad.size:
        pair = int(correct.flat[bad[0]]), int(samples.flat[bad[0]])
        errors.refuse("(correct, samples)", pair, "0 <= correct <= samples and samples of at least 1")
    return correct, samples
