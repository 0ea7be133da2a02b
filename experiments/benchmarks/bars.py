"""Bars that lie in named rows, as charts of benchmarks have them."""

from collections.abc import Sequence

from jaxpsn.report.charts.spec import Axis, Box, Layer, Panel, Text
from jaxpsn.report.study import plots


def bar(place: int, value: float, color: str, words: Text) -> list[Layer]:
    """A bar from the left edge to ``value`` in the row ``place``, with ``words`` behind it."""
    return [Box((None, value, place - 0.31, place + 0.31), color, 0.85, tip=words.words), words]


def row_panel(layers: Sequence[Layer], x: Axis, names: Sequence[str], height: float, title: str = "") -> Panel:
    """A panel with a named row for each of ``names``, the first on top."""
    return plots.rows(layers, x, tuple(enumerate(names)), height, title)
