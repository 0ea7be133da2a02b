"""A chart as PNG, for documents and for whoever has no browser: drawn by matplotlib in the colours of a light page."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxpsn.core import files
from jaxpsn.report import figures
from jaxpsn.report.charts.look import COLORS, DASHES
from jaxpsn.report.charts.scales import Scale, scales
from jaxpsn.report.charts.spec import Area, Box, Chart, Dots, Layer, Line, Panel, Rule, Text, keys

_SIZE = 9.0  # points of a name at the end of a curve
_IN_ROWS = 5  # entries of a legend in a row


def write(charts: Iterable[Chart | None], folder: str | Path) -> dict[str, Chart]:
    """Write charts to ``folder`` as PNG, leaving out what is None; returns name -> chart."""
    folder = files.make_folder(Path(folder))
    found = {chart.name: chart for chart in charts if chart is not None}
    for chart in found.values():
        figures.save(draw(chart), folder / f"{chart.name}.png")
    return found


def draw(chart: Chart) -> Figure:
    """The chart as a figure."""
    limits = scales(chart)
    rows = [chart.panels[at : at + chart.columns] for at in range(0, len(chart.panels), chart.columns)]
    heights = [max(panel.height for panel in row if panel is not None) for row in rows]
    with figures.style():
        figure, places = figures.figure(chart.finding, heights, chart.columns, share=False)
        for number, axes in enumerate(places):
            panel, pair = (chart.panels[number], limits[number]) if number < len(limits) else (None, None)
            if panel is None or pair is None:
                axes.set_axis_off()
                continue
            _axes(axes, panel, *pair)
            for layer in panel.layers:
                _layer(axes, layer)
            _name_ends(axes, panel)
        shown = {name: layer for name, layer in keys(chart).items() if not _ended(chart, name)}
        if len(shown) > 1 or any(not isinstance(layer, Line) for layer in shown.values()):
            _legend(figure, shown)
    return figure


def _ended(chart: Chart, name: str) -> bool:
    """Whether a name stands at the end of a curve, so that the legend can do without it."""
    return any(isinstance(one, Line) and one.end and one.label == name for panel in chart.shown for one in panel.layers)


def _axes(axes: Axes, panel: Panel, x: Scale, y: Scale) -> None:
    for scale, axis, kind in ((x, axes.xaxis, "x"), (y, axes.yaxis, "y")):
        (axes.set_xscale if kind == "x" else axes.set_yscale)("log" if scale.log else "linear")
        axis.set_major_locator(ticker.FixedLocator([value for value, _ in scale.ticks]))
        axis.set_major_formatter(ticker.FixedFormatter([name for _, name in scale.ticks]))
        axis.set_minor_locator(ticker.NullLocator())
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    if sum(len(name) for _, name in x.ticks) * 0.085 > axes.get_position().width * figures.WIDTH:
        axes.tick_params(axis="x", labelsize=7.5)
    axes.set_xlabel(panel.x.label)
    axes.set_ylabel(panel.y.label)
    if panel.title:
        axes.set_title(panel.title, color=COLORS[panel.color][0])
    if panel.rows:
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", labelcolor=figures.INK, length=0)


def _layer(axes: Axes, layer: Layer) -> None:
    color = COLORS[layer.color][0]
    if isinstance(layer, Line):
        _line(axes, layer, color)
    elif isinstance(layer, Area):
        axes.fill_between(layer.x, layer.low, layer.high, color=color, alpha=layer.alpha, lw=0)
    elif isinstance(layer, Dots):
        mark = {"dot": {"marker": "o", "mec": "white", "mew": 0.5}, "tick": {"marker": "|", "ms": 6},
                "ring": {"marker": "o", "mfc": "none"}}[layer.shape]  # fmt: skip
        axes.plot(layer.x, layer.y, ls="", color=color, alpha=layer.alpha, **{"ms": 1.6 * layer.size} | mark)
    elif isinstance(layer, Box):
        _box(axes, layer, color)
    elif isinstance(layer, Text):
        weight, place = "bold" if layer.bold else "normal", {"start": "left", "middle": "center", "end": "right"}
        axes.text(layer.x, layer.y, layer.words, ha=place[layer.anchor], va="center", color=color, fontweight=weight,
                  fontsize=7.5 if layer.small else 9)  # fmt: skip
    else:
        _rule(axes, layer, color)


def _line(axes: Axes, line: Line, color: str) -> None:
    fill: dict[str, Any] = {"step": "post"} if line.stairs else {}
    if line.low is not None and np.isfinite(np.asarray(line.low, float)).any():
        axes.fill_between(line.x, line.low, line.high, color=color, alpha=line.shade, lw=0, **fill)
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    seen = np.isfinite(y)
    style: dict[str, Any] = {"drawstyle": "steps-post"} if line.stairs else {}
    style |= {"marker": "o", "ms": 3.6, "mec": "white", "mew": 0.6} if line.marker or len(x) == 1 else {}
    axes.plot(x[seen], y[seen], color=color, ls=_dashes(line.dash), lw=line.width, alpha=line.alpha, **style)


def _dashes(name: str) -> Any:
    return (0, DASHES[name]) if DASHES[name] else "-"


def _box(axes: Axes, box: Box, color: str) -> None:
    (x0, x1), (y0, y1) = axes.get_xlim(), sorted(axes.get_ylim())
    ends = [known if end is None else end for end, known in zip(box.box, (x0, x1, y0, y1), strict=True)]
    axes.fill_between(ends[:2], ends[2], ends[3], color=color, alpha=box.alpha, lw=0)


def _rule(axes: Axes, rule: Rule, color: str) -> None:
    ends = sorted(axes.get_xlim() if rule.upright else axes.get_ylim())
    if not ends[0] <= rule.at <= ends[1]:
        return
    line = axes.axvline if rule.upright else axes.axhline
    line(rule.at, color=color, lw=1.0, ls=_dashes(rule.dash), zorder=1)
    place: Mapping[str, Any] = {"xy": (rule.at, 1), "xycoords": ("data", "axes fraction"), "xytext": (4, -3)}
    if not rule.upright:
        place = {"xy": (0, rule.at), "xycoords": ("axes fraction", "data"), "xytext": (4, 3)}
    style = {"textcoords": "offset points", "color": color, "fontsize": 8, "va": "top" if rule.upright else "bottom"}
    axes.annotate(rule.label, **place, **style)


def _legend(figure: Figure, shown: Mapping[str, Layer]) -> None:
    samples: list[Any] = []
    axes = figure.axes[0]
    for layer in shown.values():
        color = COLORS[layer.color][0]
        if isinstance(layer, Line):
            samples += axes.plot([], [], color=color, ls=_dashes(layer.dash), lw=layer.width)
        elif isinstance(layer, Dots):
            samples += axes.plot([], [], ls="", color=color, marker="|" if layer.shape == "tick" else "o")
        else:
            samples.append(axes.fill_between([], [], [], color=color, alpha=layer.alpha, lw=0))
    count = min(_IN_ROWS, len(shown))
    figure.legend(samples, list(shown), loc="outside lower center", ncols=count, handlelength=1.8)


def _name_ends(axes: Axes, panel: Panel) -> None:
    """Names right of the panel, each tied to the end of its curve; none hides another."""
    lines = [line for line in panel.layers if isinstance(line, Line) and line.end]
    ends = [(float(line.x[-1]), _last(line), line.end, COLORS[line.color][0]) for line in lines]
    found = sorted((end for end in ends if np.isfinite(end[1])), key=lambda end: end[1])
    if not found:
        return
    low, high = axes.get_ylim()
    scale = np.log if axes.get_yscale() == "log" else np.asarray
    wanted = [float((scale(y) - scale(low)) / (scale(high) - scale(low))) for _, y, _, _ in found]
    height = axes.figure.get_size_inches()[1] * axes.get_position().height
    places = apart(wanted, 1.25 * _SIZE / 72 / height)
    for (x, y, name, color), place in zip(found, places, strict=True):
        tie = {"arrowstyle": "-", "color": color, "lw": 0.7, "alpha": 0.6, "shrinkA": 2, "shrinkB": 0, "patchA": None,
               "relpos": (0, 0.5)}  # fmt: skip
        axes.annotate(name, (x, y), (1.03, place), xycoords="data", textcoords="axes fraction", va="center",
                      color=color, fontsize=_SIZE, arrowprops=tie, annotation_clip=False)  # fmt: skip


def _last(line: Line) -> float:
    known = np.asarray(line.y, float)
    known = known[np.isfinite(known)]
    return float(known[-1]) if known.size else float("nan")


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
