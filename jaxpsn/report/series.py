"""What is made of a metric before it is drawn: running means, thinner curves, points that a log axis can show."""

from collections.abc import Callable

import numpy as np

from jaxpsn.report.runs import Series
from jaxpsn.stats import statistics

POINTS = 150
"""A curve of a study is drawn from at most this many points."""
_SMOOTH = 20  # a running mean spans one part in this many of the run


def smooth(series: Series) -> Series:
    """The running mean over a twentieth of the run, of what is present; at the ends the window is cut off."""
    half = len(series.steps) // (2 * _SMOOTH)
    kernel = np.ones(2 * half + 1)
    present = np.isfinite(series.values)
    total, count = (
        np.array([np.convolve(row, kernel, "same") for row in rows])
        for rows in (np.where(present, series.values, 0.0), present.astype(float))
    )
    values = np.divide(total, count, out=np.full_like(total, np.nan), where=present & (count > 0))
    return Series(series.steps, values)


def long(series: Series) -> bool:
    """Whether a run is so long that its running mean is another curve."""
    return len(series.steps) > _SMOOTH


def thinned(series: Series, points: int = POINTS) -> Series:
    """At most ``points`` points, each the mean of its stretch of what is present, at the end of the stretch."""
    if len(series.steps) <= points:
        return series
    edges = np.linspace(0, len(series.steps), points + 1).astype(int)
    present = np.isfinite(series.values)
    totals = np.add.reduceat(np.where(present, series.values, 0.0), edges[:-1], axis=1)
    counts = np.add.reduceat(present.astype(float), edges[:-1], axis=1)
    values = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    return Series(series.steps[edges[1:] - 1], values)


def positive(series: Series | None) -> Series | None:
    """``series`` without what a log axis cannot show."""
    if series is None:
        return None
    values = np.where(series.values > 0, series.values, np.nan)
    seen = np.isfinite(values).any(axis=0)
    return Series(series.steps[seen], values[:, seen]) if seen.any() else None


def last(series: Series, part: Callable[[np.ndarray], np.ndarray] = lambda band: band[-1:]) -> float:
    """The mean over a part of the interquartile mean over seeds; the last point if not said otherwise."""
    return float(np.nanmean(part(statistics.curve(series.values, resamples=1).value)))
