"""What charts of runs share: a metric over seeds as lines, running means, stacks, and the axis of steps."""

from collections.abc import Iterable, Sequence

import numpy as np

from jaxpsn.report.charts.spec import Area, Axis, Layer, Line
from jaxpsn.report.runs import Series
from jaxpsn.report.series import long, smooth
from jaxpsn.stats import statistics

_THIN_LINES = 32  # more seeds than this are told by their interval alone

Part = tuple[Series, str, str]
"""A metric, its colour and its label."""


def curve(series: Series, color: str, label: str, *, marker: bool = False, thin: bool = False) -> list[Layer]:
    """One metric: a line, or with several seeds a thin line each, and their interquartile mean in its interval."""
    steps, values = series
    several = values[:_THIN_LINES] if len(values) > 1 else ()
    band = statistics.curve(values, resamples=1000)
    known = bool(np.isfinite(band.low).any())
    low, high = (band.low, band.high) if known else (None, None)
    thick = Line(steps, band.value, color, label, low, high, width=0.9 if thin else 2.0, alpha=0.6 if thin else 1.0,
                 shade=0.18, marker=marker)  # fmt: skip
    return [*(Line(steps, one, color, width=0.7, alpha=0.35) for one in several), thick]


def jittery(series: Series, color: str, label: str) -> list[Layer]:
    """A metric that jumps from step to step: its running mean, over what was measured where there is one seed."""
    alone = len(series.values) == 1 and long(series)
    below: list[Layer] = [Line(series.steps, series.values[0], color, width=0.7, alpha=0.35)] if alone else []
    return [*below, *curve(smooth(series), color, label)]


def smoothed(parts: Iterable[Part], *, thin: bool = False) -> list[Layer]:
    """The running means of several metrics."""
    return [layer for series, color, label in parts for layer in curve(smooth(series), color, label, thin=thin)]


def target(series: Series | None) -> list[Layer]:
    """What a metric is steered to, dashed."""
    if series is None:
        return []
    return [Line(series.steps, np.nanmean(series.values, axis=0), "ink", "target", dash="dashed", width=1.3)]


def stack(parts: Sequence[Part]) -> list[Layer]:
    """Running means on top of each other; what is absent at a step counts nothing there."""
    if not parts:
        return []
    steps = np.unique(np.concatenate([series.steps for series, *_ in parts]))
    heights = np.zeros((len(parts), len(steps)))
    for height, (series, *_) in zip(heights, parts, strict=True):
        value = statistics.curve(smooth(series).values, resamples=1).value
        height[np.searchsorted(steps, series.steps)] = np.nan_to_num(value)
    if len(steps) == 1:  # a single step as a block
        steps, heights = np.array([0.0, steps[0] or 1.0]), np.repeat(heights, 2, axis=1)
    tops = np.cumsum(heights, axis=0)
    return [
        Area(steps, top - height, top, color, label, 0.75)
        for (_, color, label), height, top in zip(parts, heights, tops, strict=True)
    ]


def steps(found: Iterable[Series | None], label: str) -> Axis:
    """The x axis, from the start of the run to the last step of what is drawn."""
    end = max(series.steps[-1] for series in found if series is not None)
    return Axis(label, unit="count", low=0, high=end * 1.02 or 1)
