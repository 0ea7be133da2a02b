"""What a reasoning run says once, in words, when its rows show that the weights of the loss do not do their work."""

from collections.abc import Mapping
from typing import Any

LEAST_SAMPLE = 0.3
"""Effective sample size, a share, below which few tokens carry the gradient (verl's alarm)."""
MEAN_WEIGHT = 0.5, 2.0
"""Bounds of a mean weight, which is 1 of exact weights (verl's alarm)."""


def _known(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    return None if value is None or value != value else float(value)


def few(row: Mapping[str, Any]) -> str | None:
    """The effective sample size is small."""
    share = _known(row, "weight_ess")
    if share is None or share >= LEAST_SAMPLE:
        return None
    return (
        f"weights: an effective sample size of {share:.2g} (column weight_ess) is below {LEAST_SAMPLE:g}: few tokens "
        "carry the gradient; aim sigma lower, or take a correction of tokens or a wider gate"
    )


def mean(row: Mapping[str, Any]) -> str | None:
    """The mean weight is far from 1."""
    value, (low, high) = _known(row, "weight_mean"), MEAN_WEIGHT
    if value is None or low <= value <= high:
        return None
    return (
        f"weights: their mean of {value:.2g} (column weight_mean) is outside {low:g} to {high:g}: noise changes the "
        "size of the step; aim sigma lower, or normalise them (algorithm.correction.normalise)"
    )


def skipped(row: Mapping[str, Any]) -> str | None:
    """A gate left nothing to learn from."""
    if not _known(row, "skipped"):
        return None
    return "gate: it dropped every token of an update, which was skipped (column skipped); widen its bounds"
