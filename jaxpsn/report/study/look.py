"""How the arms of a study look in every plot: one colour each, bands, and labels at the ends of the curves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from jaxpsn.core import text
from jaxpsn.report.figures import BLUE, GREEN, INK, LINE, ORANGE, PURPLE, SKY, SOFT, VERMILION
from jaxpsn.report.runs import Series
from jaxpsn.report.study.folder import Study
from jaxpsn.stats.statistics import Band

POINTS = 150
"""A curve of the training is drawn from at most this many points."""
_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK, "#8a8a2a")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
_SIZE = 9.0  # points of a label


class Look(NamedTuple):
    """Colour and dashes of an arm."""

    color: str
    dashes: Any


def looks(study: Study) -> Mapping[str, Look]:
    """Label -> look; beyond as many arms as there are colours these come again in dashes."""
    count = len(_COLORS)
    return {
        arm.label: Look(_COLORS[index % count], _DASHES[index // count % len(_DASHES)])
        for index, arm in enumerate(study.arms)
    }


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


def band(
    axes: Axes,
    at: Float[np.ndarray, "t"],
    found: Band,
    look: Look,
    *,
    lead: bool = False,
    stairs: bool = False,
    crowd: int = 1,
) -> None:
    """A line in its interval, fainter where more arms ``crowd`` it; ``lead`` draws it thicker, ``stairs`` as steps."""
    steps = {"drawstyle": "steps-post"} if stairs else {}
    fill = {"step": "post"} if stairs else {}
    if np.isfinite(found.low).any():
        axes.fill_between(at, found.low, found.high, color=look.color, alpha=min(0.15, 0.75 / crowd), lw=0, **fill)
    marker = {"marker": "o", "ms": 4} if len(at) == 1 else {}
    width = 2.4 if lead else 1.7
    axes.plot(at, found.value, color=look.color, ls=look.dashes, lw=width, zorder=3 + lead, **steps, **marker)


def label_ends(axes: Axes, ends: Iterable[tuple[float, float, str, str]], size: float = _SIZE) -> None:
    """Names right of the panel, each tied to the end of its curve: x, y, text and colour; none hides another."""
    found = sorted(ends, key=lambda end: end[1])
    if not found:
        return
    low, high = axes.get_ylim()
    scale = np.log if axes.get_yscale() == "log" else np.asarray
    wanted = [float((scale(y) - scale(low)) / (scale(high) - scale(low))) for _, y, _, _ in found]
    height = axes.figure.get_size_inches()[1] * axes.get_position().height
    places = apart(wanted, 1.25 * size / 72 / height)
    for (x, y, name, color), place in zip(found, places, strict=True):
        tie = {
            "arrowstyle": "-",
            "color": color,
            "lw": 0.7,
            "alpha": 0.6,
            "shrinkA": 2,
            "shrinkB": 0,
            "patchA": None,
            "relpos": (0, 0.5),
        }
        axes.annotate(
            name, (x, y), (1.03, place), xycoords="data", textcoords="axes fraction", va="center", color=color,
            fontsize=size, arrowprops=tie,
            annotation_clip=False,
        )  # fmt: skip


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Places at least ``gap`` apart, within 0 to 1 where all of them fit, near to those ``wanted`` (ascending).

    Neighbours that are too near are merged into groups, which are centred on the mean of what they want.
    """
    groups: list[tuple[float, int]] = []  # centre, members

    def within(centre: float, count: int) -> tuple[float, int]:
        half = gap * (count - 1) / 2
        return float(np.clip(centre, half, 1 - half)) if gap * (len(wanted) - 1) <= 1 else centre, count

    for place in wanted:
        groups.append(within(place, 1))
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < gap * (groups[-1][1] + groups[-2][1]) / 2 - 1e-12:
            (a, m), (b, n) = groups[-2:]
            groups[-2:] = [within((a * m + b * n) / (m + n), m + n)]
    return [centre + gap * (index - (count - 1) / 2) for centre, count in groups for index in range(count)]


def threshold(axes: Axes, value: float | None, *, upright: bool = False) -> None:
    """A dashed line at the return that counts as solved; not where it would press the curves flat."""
    (low, high), free = (
        (axes.get_xlim(), axes.get_autoscalex_on()) if upright else (axes.get_ylim(), axes.get_autoscaley_on())
    )
    room = 2 * (high - low) if free else 0.0
    if value is None or not low - room <= value <= high + room:
        return
    line = axes.axvline if upright else axes.axhline
    line(value, color=SOFT, lw=1.0, ls=(0, (4, 3)), zorder=1)
    place = {"xy": (value, 1), "xycoords": ("data", "axes fraction"), "xytext": (4, -3), "va": "top"}
    if not upright:
        place = {"xy": (0, value), "xycoords": ("axes fraction", "data"), "xytext": (4, 3), "va": "bottom"}
    axes.annotate("solved", textcoords="offset points", color=SOFT, fontsize=8, **place)


def tried(
    axes: Axes,
    values: Float[np.ndarray, "v"],
    scores: Float[np.ndarray, "v s"],
    middle: Float[np.ndarray, "v"],
    chosen: float,
    color: str,
) -> None:
    """Every value of a scale that was tried: its seeds as dots, what stands for them as a line, the chosen one marked.

    A score that is infinite is a time never reached: a hollow dot above all others. NaN is unknown.
    """
    order, never = np.argsort(values), np.isinf(scores)
    top = 1.08 * np.max(scores[np.isfinite(scores)], initial=0.0)
    for place, index in enumerate(order):
        if values[index] == chosen:
            axes.axvspan(place - 0.4, place + 0.4, color=LINE, alpha=0.6, lw=0)
        shift = place + 0.12 * np.sin(2.4 * np.arange(scores.shape[1]))
        for mask, face in ((~never[index], color), (never[index], "none")):
            shown = np.where(never[index], top, scores[index])[mask]
            axes.plot(shift[mask], shown, "o", ms=4, mfc=face, mec=color, alpha=0.6)
    axes.plot(range(len(order)), middle[order], color=color, lw=1.6)
    axes.set_xticks(range(len(order)), [text.tick(value) for value in values[order]], fontsize=8)
    axes.set_xlim(-0.6, len(order) - 0.4)
