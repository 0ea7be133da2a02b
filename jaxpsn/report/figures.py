"""What the figures of notebooks share: the look, and axes."""

import textwrap
from contextlib import AbstractContextManager

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxpsn.core import text

# Okabe and Ito's palette: told apart with any colour vision, and in grey.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
INK, SOFT, LINE = "#1c2733", "#5b6b7b", "#d5dde5"
WIDTH = 8.0  # inches
DPI = 150
_LINE = 80  # characters of a finding on a line
_LEAST_RATIO = 1.05  # a log axis reaches at least this far to either side

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a dollar sign
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titlecolor": SOFT,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.dpi": DPI,
}


def style() -> AbstractContextManager[None]:
    """The look of every plot; a figure is made and filled within it."""
    return matplotlib.rc_context(_STYLE)


def figure(finding: str, heights: list[float], columns: int = 1, *, share: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure with its finding above panels of ``heights`` (inches); ``share``: one x axis for all."""
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.35), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    figure.suptitle(
        textwrap.fill(finding.replace(" → ", "\u00a0→\u00a0"), _LINE),
        x=0.014,
        ha="left",
        fontsize=11.5,
        fontweight="bold",
        color=INK,
    )
    grid = figure.subplots(len(heights), columns, squeeze=False, sharex=share, height_ratios=heights)
    return figure, list(grid.flat)


def legend_above(axes: Axes) -> None:
    """A legend in a row above the panel, where it hides nothing."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=5, borderaxespad=0.2)


def log(axes: Axes) -> None:
    """A log axis whose ticks are plain numbers, also where less than a decade is shown."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    widen = max(1.1, _LEAST_RATIO / np.sqrt(high / low))
    low, high = low / widen, high * widen
    axes.set_ylim(low, high)
    decades = np.log10(high / low)
    marks = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.6 else tuple(np.arange(1.0, 10.0))
    locator = ticker.LogLocator(subs=marks, numticks=12)
    shown, middle = [mark for mark in locator.tick_values(low, high) if low <= mark <= high], np.sqrt(low * high)
    if not shown or shown[0] > middle or shown[-1] < middle:  # half of the axis without a number, as from 0.07 to 0.15
        locator = ticker.FixedLocator([mark for mark in ticker.MaxNLocator(5).tick_values(low, high) if mark > 0])
    axes.yaxis.set_major_locator(locator)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: text.tick(y)))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
