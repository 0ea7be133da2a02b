"""Small plots of sweeps for notebooks, in the look of the reports: curves by value, points by choice, pictures."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxpsn.core import text
from jaxpsn.report import figures
from jaxpsn.stats import statistics

DPI = 80  # of a picture in a notebook: small files, sharp enough to read
_NAMED = (figures.BLUE, figures.VERMILION, figures.GREEN, figures.ORANGE, figures.PURPLE, figures.SKY, figures.INK)


class Picture(NamedTuple):
    """A PNG that a notebook shows where a cell ends with it."""

    png: bytes

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"a figure ({len(self.png) // 1024} kB)"


def picture(figure: Figure) -> Picture:
    """``figure`` as it is kept in a notebook: modest in size, and the same bytes for the same figure."""
    target = io.BytesIO()
    figure.savefig(target, dpi=DPI, format="png", metadata={"Software": None})
    return Picture(target.getvalue())


def ordered(count: int) -> list[str]:
    """Colours of ``count`` values that have an order, dark to light."""
    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, count))
    return [matplotlib.colors.to_hex(shade) for shade in shades]


def named(count: int) -> list[str]:
    """Colours of ``count`` choices that have none; at most seven."""
    return list(_NAMED[:count])


def curves(
    axes: Axes,
    steps: Float[np.ndarray, "t"],
    groups: Mapping[str, Float[np.ndarray, "s t"]],
    label: str,
    colors: list[str] | None = None,
    *,
    log: bool = False,
) -> None:
    """Interquartile mean over seeds of each group, with its 95 % bootstrap interval; ``label``: of the y axis."""
    for (name, values), color in zip(groups.items(), colors or named(len(groups)), strict=True):
        band = statistics.curve(values, resamples=1000)
        axes.fill_between(steps, band.low, band.high, color=color, alpha=0.18, lw=0)
        axes.plot(steps, band.value, color=color, label=name, marker="o", ms=3.2, mec="white", mew=0.5)
    axes.set_title(label)
    axes.set_xlim(0, steps[-1] * 1.02)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: text.count(x)))
    if log:
        figures.log(axes)


def points(
    axes: Axes, groups: Mapping[str, Float[np.ndarray, "s"]], label: str, colors: list[str] | None = None
) -> None:
    """One column per group: a dot per seed, and the mean with its 95 % bootstrap interval; ``label``: of the y axis."""
    for column, ((_, values), color) in enumerate(zip(groups.items(), colors or named(len(groups)), strict=True)):
        spread = column + np.linspace(-0.16, 0.16, len(values))
        axes.plot(spread, np.sort(values), "o", color=color, ms=4, alpha=0.45, mew=0)
        found = statistics.bootstrap(values, statistics.mean, resamples=1000)
        if found.low is not None:
            axes.plot([column + 0.28] * 2, [found.low, found.high], color=color, lw=2)
        axes.plot(column + 0.28, found.value, "D", color=color, ms=6, mec="white", mew=0.6)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_title(label)
    axes.grid(axis="x", visible=False)


@contextlib.contextmanager
def shown(title: str, heights: Sequence[float], columns: int = 1, *, share: bool = True) -> Iterator[Any]:
    """Axes to draw on, as of ``figures.figure``; the picture is shown in the notebook's cell when the block ends."""
    with figures.style():
        figure, axes = figures.figure(title, list(heights), columns, share=share)
        yield axes
        made = picture(figure)
    from IPython import display

    display.display(made)
