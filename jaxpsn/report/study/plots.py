"""What charts of studies share: rows with names, estimates in their intervals, and the scales that were tried."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpsn.core import text
from jaxpsn.report.charts.look import Look
from jaxpsn.report.charts.spec import Axis, Box, Dots, Layer, Line, Panel
from jaxpsn.report.study.folder import Choice
from jaxpsn.stats.statistics import Band, Estimate

SPREAD = "Lines: interquartile mean over seeds. Bands: 95 % bootstrap intervals over seeds, point by point."
"""How curves of interquartile means are read."""


def spread(count: int, width: float) -> Float[np.ndarray, "{count}"]:
    """Shifts by which equal values lie side by side."""
    return width * np.sin(2.4 * np.arange(count))


def curves(
    found: Sequence[tuple[str, Any, Band]], looks: Mapping[str, Look], chief: str = "", star: Sequence[str] = ()
) -> list[Layer]:
    """A line in its band for each (arm, x, band), the first on top, ``chief`` thicker, ``star`` with stars."""
    shade, lines = min(0.15, 0.75 / max(1, len(found))), []
    for label, x, band in found[::-1]:
        name, look = f"{label}*" if label in star else label, looks[label]
        known = bool(np.isfinite(np.asarray(band.low, float)).any())
        low, high = (band.low, band.high) if known else (None, None)
        width = 2.4 if label == chief else 1.7
        lines.append(Line(x, band.value, look.color, name, low, high, look.dash, width, shade=shade))
    return lines


def rows(layers: Sequence[Layer], x: Axis, names: tuple[tuple[int, str], ...], height: float, title: str = "") -> Panel:
    """A panel with a named row for each of ``names``, the first on top."""
    return Panel(layers, x, Axis(low=len(names) - 0.5, high=-0.5, ticks=names), title, height=height, rows=True)


def estimate(found: Estimate | None, place: int, color: str) -> list[Layer]:
    """A value as a bar across its row, and its interval along it."""
    if found is None:
        return []
    layers: list[Layer] = [Line([found.value] * 2, [place - 0.32, place + 0.32], color, width=3)]
    if found.low is not None and found.high is not None:
        layers.append(Line([found.low, found.high], [place] * 2, color, width=1.6))
    return layers


def tried(
    one: Choice, scores: Float[np.ndarray, "v s"], middle: Float[np.ndarray, "v"], title: str, color: str, y: Axis,
    height: float,
) -> Panel:  # fmt: skip
    """Every value of a scale that was tried: its seeds as dots, what stands for them as a line, the chosen one marked.

    A score that is infinite is a time never reached: a hollow dot above all others. NaN is unknown.
    """
    order, never = np.argsort(one.values), np.isinf(scores)
    top = 1.08 * np.max(scores[np.isfinite(scores)], initial=0.0)
    layers: list[Layer] = []
    for place, index in enumerate(order):
        if one.values[index] == one.chosen:
            layers.append(Box((place - 0.4, place + 0.4, None, None), "line"))
        shift = place + spread(scores.shape[1], 0.12)
        for mask, shape in ((~never[index], "dot"), (never[index], "ring")):
            shown: Any = np.where(never[index], top, scores[index])[mask]
            tips = ["never" if shape == "ring" else text.number(value) for value in shown]
            layers.append(Dots(shift[mask], shown, color, tips=tips, shape=shape))
    layers.append(Line(np.arange(len(order)), middle[order], color, width=1.6))
    ticks = tuple((place, text.tick(one.values[index])) for place, index in enumerate(order))
    return Panel(layers, Axis(one.field, low=-0.6, high=len(order) - 0.4, ticks=ticks), y, title, color, height)
