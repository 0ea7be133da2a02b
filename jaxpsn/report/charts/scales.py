"""Limits and ticks of the axes of a chart."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpsn.report.charts.spec import UNITS, Area, Axis, Box, Chart, Dots, Layer, Line, Number, Rule, Text

_LEAST_SHARE = 0.04  # an axis of shares spans at least this, or rounding would look like a course
_LEAST_RATIO = 1.05  # a log axis reaches at least this far to either side
_ROOM = 0.04  # of the span, beyond the data


class Scale(NamedTuple):
    """An axis with its limits and its ticks, (value, text)."""

    low: Number
    high: Number
    log: bool
    ticks: tuple[tuple[Number, str], ...]

    def place(self, value: Any) -> Any:
        """Where values lie, 0 at ``low`` and 1 at ``high``; NaN where a log axis cannot show them."""
        value = np.asarray(value, float)
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (np.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))


def scales(chart: Chart) -> list[tuple[Scale, Scale] | None]:
    """The x and the y axis of every panel; None for a place that is empty."""
    ends: list[tuple[tuple[Number, Number], tuple[Number, Number]] | None] = [
        None if panel is None else (_limits(panel.x, panel.layers, 0), _limits(panel.y, panel.layers, 1))
        for panel in chart.panels
    ]
    found: list[tuple[Scale, Scale] | None] = []
    for index, panel in enumerate(chart.panels):
        pair = ends[index]
        if panel is None or pair is None:
            found.append(None)
            continue
        row = index // chart.columns
        near = {"all": ends, "row": ends[row * chart.columns : (row + 1) * chart.columns]}.get(chart.alike, [pair])
        low, high = min(one[1][0] for one in near if one), max(one[1][1] for one in near if one)
        x, y = _scale(panel.x, *pair[0], 8), _scale(panel.y, low, high, max(3, min(6, round(1.7 * panel.height))))
        found.append((x, y))
    return found


def _values(layer: Layer, axis: int) -> Iterable[Any]:
    if isinstance(layer, Line):
        yield from (layer.x,) if axis == 0 else (layer.y, *(one for one in (layer.low, layer.high) if one is not None))
    elif isinstance(layer, Area):
        yield from (layer.x,) if axis == 0 else (layer.low, layer.high)
    elif isinstance(layer, Dots | Text):
        yield (layer.x, layer.y)[axis]
    elif isinstance(layer, Box):
        yield [end for end in layer.box[2 * axis : 2 * axis + 2] if end is not None]


def _limits(axis: Axis, layers: Sequence[Layer], number: int) -> tuple[Number, Number]:
    parts = [np.ravel(np.asarray(one, float)) for layer in layers for one in _values(layer, number)]
    values = np.concatenate([np.zeros(0), *parts])
    values = values[np.isfinite(values) & ((values > 0) if axis.scale == "log" else True)]
    low, high = (values.min(), values.max()) if values.size else (0.5, 1.5) if axis.scale == "log" else (0.0, 1.0)
    if axis.scale == "log":
        low, high = _log_room(low, high)
    else:
        low, high = _linear_room(axis, low, high)
        for rule in (one.at for one in layers if isinstance(one, Rule) and one.upright == (number == 0)):
            if low - 2 * (high - low) <= rule <= high + 2 * (high - low):  # not where it would press the curves flat
                low, high = min(low, rule), max(high, rule + _ROOM * (high - low))
    if axis.low is not None and axis.high is not None:
        return axis.low, axis.high  # as given, also from high to low
    low, high = low if axis.low is None else axis.low, high if axis.high is None else axis.high
    return float(low), float(high if high > low else low + 1)


def _log_room(low: Number, high: Number) -> tuple[Number, Number]:
    widen = max(1.1, _LEAST_RATIO / math.sqrt(high / low))
    return low / widen, high * widen


def _linear_room(axis: Axis, low: Number, high: Number) -> tuple[Number, Number]:
    if axis.unit == "percent" and high - low < _LEAST_SHARE:
        low = min(max((low + high - _LEAST_SHARE) / 2, 0.0), 1.0 + _LEAST_SHARE / 20 - _LEAST_SHARE)
        high = low + _LEAST_SHARE
    room = _ROOM * (high - low) or 0.05 * abs(high) or 0.5
    return (min(0.0, low - room * (low < 0)) if axis.zero else low - room), high + room


def _scale(axis: Axis, low: Number, high: Number, count: int) -> Scale:
    log = axis.scale == "log"
    if axis.ticks:
        return Scale(low, high, log, tuple(one for one in axis.ticks if min(low, high) <= one[0] <= max(low, high)))
    show: Callable[[float], str] = UNITS[axis.unit]
    values = _log_ticks(low, high, count) if log else _ticks(low, high, count)
    return Scale(low, high, log, tuple((value, show(value)) for value in values))


def _ticks(low: Number, high: Number, count: int) -> list[float]:
    """Round numbers within the limits, about ``count`` of them."""
    raw = (high - low) / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(part * size for part in (1, 2, 5, 10) if part * size >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(index * step, digits) + 0.0 for index in range(first, last + 1)]


def _log_ticks(low: Number, high: Number, count: int) -> list[float]:
    decades = math.log10(high / low)
    marks = (1,) if decades > 3 else (1, 2, 5) if decades > 0.6 else tuple(range(1, 10))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [float(f"{mark}e{power}") for power in powers for mark in marks]
    found = [value for value in found if low <= value <= high]
    middle = math.sqrt(low * high)
    if (
        len(found) < 2 or found[0] > middle or found[-1] < middle
    ):  # half of the axis without a number, as from 0.07 to 0.15
        return [value for value in _ticks(low, high, 4) if value > 0]
    return found[:: max(1, -(-len(found) // (2 * count)))]
