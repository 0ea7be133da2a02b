"""The bootstrap of a reasoning study: problems and seeds are drawn anew, the same ones for every arm.

A score is known for each seed of an arm and each problem of a task. In a bootstrap sample the problems of a task are
drawn with replacement, and so are the seeds, independently of each other and of other tasks (the two-way bootstrap of
Owen 2007, arXiv 0704.1756). Arms with the same seeds share their draws: they were trained on the same prompts and
judged on the same problems, so a difference of two arms is paired in both. Of S seeds S - 1 are drawn, as drawing S of
so few makes intervals too narrow (the variance of a mean comes out S - 1 over S too small; Rao and Wu 1988).
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxpsn.stats.statistics import Estimate

RESAMPLES = 2000
_TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class Sampled:
    """Means of M scores over problems and seeds, with their bootstrap samples; NaN is unknown."""

    value: Float[np.ndarray, "m"]
    draws: Float[np.ndarray, "b m"]
    seeds: int

    def __sub__(self, other: "Sampled") -> "Sampled":
        """The difference, sample by sample."""
        return Sampled(self.value - other.value, self.draws - other.draws, min(self.seeds, other.seeds))

    def estimate(self, index: int) -> Estimate:
        """One of the means with its 95 % percentile interval."""
        low, high = np.quantile(self.draws[:, index], _TAILS)
        return Estimate(float(self.value[index]), float(low), float(high), self.seeds)

    def estimates(self, count: int) -> Float[np.ndarray, "3 count"]:
        """Value, low and high of the first ``count`` means."""
        return np.stack([self.value[:count], *np.quantile(self.draws[:, :count], _TAILS, axis=0)])

    def above(self, index: int) -> float:
        """Share of the samples in which a mean is above zero; zero itself counts one half."""
        return float((np.sign(self.draws[:, index]) + 1).mean() / 2)


def problems(task: str, count: int, resamples: int = RESAMPLES) -> Float[np.ndarray, "b p"]:
    """Weights of ``count`` problems of ``task`` in each bootstrap sample."""
    return _weights((task, "problems"), count, count, resamples)


def seeds(task: str, found: Sequence[int], resamples: int = RESAMPLES) -> Float[np.ndarray, "b s"]:
    """Weights of the seeds ``found`` in each bootstrap sample, the same for equal seeds; one seed is always drawn."""
    return _weights((task, "seeds", *map(str, found)), len(found), max(1, len(found) - 1), resamples)


def _weights(name: Sequence[str], units: int, drawn: int, resamples: int) -> Float[np.ndarray, "b units"]:
    rng = np.random.default_rng([zlib.crc32(part.encode()) for part in name])
    return rng.multinomial(drawn, np.full(units, 1 / units), size=resamples) / drawn


def sample(
    scores: Float[np.ndarray, "s p m"], by_problem: Float[np.ndarray, "b p"], by_seed: Float[np.ndarray, "b s"]
) -> Sampled:
    """The means of M scores over S seeds and P problems, in every bootstrap sample."""
    count, size, measures = scores.shape
    flat = by_problem @ np.swapaxes(scores, 0, 1).reshape(size, count * measures)
    draws = np.einsum("bs,bsm->bm", by_seed, flat.reshape(-1, count, measures))
    return Sampled(scores.mean(axis=(0, 1)), draws, count)


def average(parts: Sequence[Sampled]) -> Sampled:
    """The mean over tasks of what was sampled in each."""
    value, draws = (np.mean([getattr(part, name) for part in parts], axis=0) for name in ("value", "draws"))
    return Sampled(value, draws, min(part.seeds for part in parts))


def over_seeds(groups: Sequence[tuple[str, Sequence[int], Float[np.ndarray, "s"]]]) -> Estimate | None:
    """The mean over tasks of the mean over seeds of a number, each task told as (task, seeds, numbers).

    Unknown numbers (NaN) are left out; None where a task has none. Without two seeds there is no interval.
    """
    parts = []
    for task, found, values in groups:
        known = np.flatnonzero(np.isfinite(values))
        if not known.size:
            return None
        weights = seeds(task, [found[index] for index in known])
        parts.append(Sampled(values[known].mean(keepdims=True), (weights @ values[known])[:, None], known.size))
    if not parts:
        return None
    whole = average(parts)
    if whole.seeds == 1:
        return Estimate(float(whole.value[0]), None, None, 1)
    return whole.estimate(0)
