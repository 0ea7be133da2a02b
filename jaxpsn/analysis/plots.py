"""Plots of a run, as PNG: what was learnt, what the noise did, how the losses went. Only the panels that have data."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxpsn.analysis import statistics, text
from jaxpsn.analysis.runs import Run, Series

# Okabe and Ito's palette: told apart with any colour vision, and in grey.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
INK, SOFT, LINE = "#1c2733", "#5b6b7b", "#d5dde5"
WIDTH = 8.0  # inches; with DPI the width of the report's column on a screen of double density
DPI = 200
_THIN_LINES = 32  # more seeds than this are told by their interval alone

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
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


class Plot(NamedTuple):
    """A figure with what it found, in one sentence, and how it is read."""

    name: str
    figure: Figure
    finding: str
    caption: str


def write(run: Run, folder: str | Path) -> dict[str, tuple[Path, Plot]]:
    """Write every plot that ``run`` has data for to ``folder`` as PNG; returns name -> (path, plot)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for make in (learning, noise, losses):
        plot = make(run)
        if plot is not None:
            path = folder / f"{plot.name}.png"
            plot.figure.savefig(path, dpi=DPI, metadata={"Software": None})
            written[plot.name] = (path, plot)
    return written


def learning(run: Run) -> Plot | None:
    """Return per episode over environment steps: the clean policy's, and that of the behaviour that explores."""
    clean, behaviour = run.series("eval_return"), run.series("return")
    if clean is None and behaviour is None:
        return None
    seeds = len(run.seeds)
    with matplotlib.rc_context(_STYLE):
        finding = _learning_finding(clean if clean is not None else behaviour, clean is not None)
        figure, (axes,) = _figure(finding, [3.9])
        if behaviour is not None:
            _curve(axes, behaviour, ORANGE, "behaviour (explores)", markers=False)
        if clean is not None:
            _curve(axes, clean, BLUE, "clean policy (evaluation)", markers=True)
        axes.set_ylabel("return per episode")
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: text.tick(y)))
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], loc="best")
        axes.set_title("one seed" if seeds == 1 else f"{seeds} seeds: interquartile mean, 95 % interval")
        _steps(axes, [clean, behaviour])
    spread = (
        f"Thin lines: the {seeds} seeds. Thick: their interquartile mean, with its 95 % bootstrap interval."
        if seeds > 1
        else "One seed: no interval can be given."
    )
    return Plot("learning", figure, finding, f"Return of an episode. {spread}")


def noise(run: Run) -> Plot | None:
    """Sigma and action distance against its target, on log axes, over environment steps."""
    sigmas = [(name, found) for name in _members(run, "sigma") if (found := _positive(run.series(name))) is not None]
    distance, target = _positive(run.series("distance")), _positive(run.series("target"))
    if not sigmas and distance is None:
        return None
    with matplotlib.rc_context(_STYLE):
        finding = _noise_finding(dict(sigmas).get("sigma"), distance, target)
        figure, panels = _figure(finding, [2.3] * (bool(sigmas) + (distance is not None)))
        if sigmas:
            axes = panels[0]
            for name, series in sigmas:
                only = name == "sigma"
                _curve(axes, series, GREEN, "noise scale sigma" if only else name.replace("_", " "), thin=not only)
            axes.set_ylabel("sigma of the weight noise")
        if distance is not None:
            axes = panels[-1]
            _curve(axes, distance, PURPLE, "measured distance")
            if target is not None:
                wanted = np.nanmean(target.values, axis=0)
                axes.plot(target.steps, wanted, color=INK, lw=1.3, ls=(0, (4, 3)), label="target")
            axes.set_ylabel("action distance (RMS)")
            axes.legend(loc="best", ncols=2)
        for axes in panels:
            _log(axes)
        _steps(panels[-1], [distance, *dict(sigmas).values()])
    return Plot("noise", figure, finding, "Log axes. Sigma follows the measured action distance to its target.")


def losses(run: Run) -> Plot | None:
    """Critic loss, actor loss and mean Q over environment steps, one panel each."""
    wanted = (("critic_loss", "critic loss", VERMILION), ("actor_loss", "actor loss", BLUE), ("q", "mean Q", GREEN))
    found = [(series, label, color) for name, label, color in wanted if (series := run.series(name)) is not None]
    if not found:
        return None
    with matplotlib.rc_context(_STYLE):
        finding = "Losses: " + ", ".join(f"{label} ends at {text.number(_last(series))}" for series, label, _ in found)
        figure, panels = _figure(finding, [2.6], columns=len(found))
        for axes, (series, label, color) in zip(panels, found, strict=True):
            _curve(axes, series, color, label)
            axes.set_title(label)
            values = series.values[np.isfinite(series.values)]
            if label == "critic loss" and values.min() > 0 and values.max() > 20 * values.min():
                _log(axes)
            else:
                axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: text.tick(y)))
            axes.xaxis.set_major_locator(ticker.MaxNLocator(3))
            _steps(axes, [series])
    return Plot("losses", figure, finding, "A critic loss or a Q that grows without bound is a sign of divergence.")


def _figure(finding: str, heights: list[float], columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.35), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    figure.suptitle(finding, x=0.014, ha="left", fontsize=11.5, fontweight="bold", color=INK)
    grid = figure.subplots(len(heights), columns, squeeze=False, sharex=True, height_ratios=heights)
    return figure, list(grid.flat)


def _curve(axes: Axes, series: Series, color: str, label: str, *, markers: bool = False, thin: bool = False) -> None:
    """One metric: a line, or with several seeds a thin line each, and their interquartile mean in its interval."""
    steps, values = series
    if len(values) > 1:
        for one in values[:_THIN_LINES]:
            seen = np.isfinite(one)
            axes.plot(steps[seen], one[seen], color=color, lw=0.7, alpha=0.35)
    band = statistics.curve(values, resamples=1000)
    if np.isfinite(band.low).any():
        axes.fill_between(steps, band.low, band.high, color=color, alpha=0.18, lw=0)
    style = {"marker": "o", "ms": 3.6, "mec": "white", "mew": 0.6} if markers or len(steps) == 1 else {}
    axes.plot(steps, band.value, color=color, lw=0.9 if thin else 2.0, alpha=0.6 if thin else 1.0, label=label, **style)


def _steps(axes: Axes, series: list[Series | None]) -> None:
    end = max(found.steps[-1] for found in series if found is not None)
    axes.set_xlim(0, end * 1.02 or 1)
    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: text.count(x)))


def _log(axes: Axes) -> None:
    """A log axis whose ticks are plain numbers, also where less than a decade is shown."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.1, high * 1.1)
    decades = np.log10(high / low)
    marks = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.6 else tuple(np.arange(1.0, 10.0))
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=marks, numticks=12))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: text.tick(y)))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def _members(run: Run, name: str) -> list[str]:
    """Columns of ``name`` and of its parts (``sigma``, ``sigma_min``, ``sigma_3``), the parts first, to lie below."""
    return [*sorted(column for column in run.columns if column.startswith(f"{name}_")), name]


def _positive(series: Series | None) -> Series | None:
    """``series`` without what a log axis cannot show."""
    if series is None:
        return None
    values = np.where(series.values > 0, series.values, np.nan)
    seen = np.isfinite(values).any(axis=0)
    return Series(series.steps[seen], values[:, seen]) if seen.any() else None


def _last(series: Series, part: Callable[[np.ndarray], np.ndarray] = lambda band: band[-1:]) -> float:
    return float(np.nanmean(part(statistics.curve(series.values, resamples=1).value)))


def _learning_finding(series: Series, clean: bool) -> str:
    """What the curve did, from its first to its best and last point."""
    value = statistics.curve(series.values, resamples=1).value
    who, first, last, best = "Clean policy" if clean else "Behaviour", value[0], value[-1], int(np.argmax(value))
    if len(value) == 1:
        return f"{who}: return {text.number(last)} at {text.count(series.steps[-1])} steps"
    change = f"{who}: return {text.number(first)} → {text.number(last)} in {text.count(series.steps[-1])} steps"
    if best < len(value) - 1:
        change += f" (best {text.number(value[best])} at {text.count(series.steps[best])})"
    return change


def _noise_finding(sigma: Series | None, distance: Series | None, target: Series | None) -> str:
    """Where sigma ends, and how far the distance is from its target over the last quarter of the run."""
    parts = []
    if sigma is not None:
        start, end = _last(sigma, lambda band: band[:1]), _last(sigma)
        parts.append(
            f"sigma stays at {text.number(end)}"
            if np.isclose(start, end, rtol=0.01)
            else f"sigma {text.number(start)} → {text.number(end)}"
        )
    if distance is not None:
        late = _last(distance, lambda band: band[-max(1, len(band) // 4) :])
        if target is None:
            parts.append(f"distance ends at {text.number(late)}")
        else:
            off = late / _last(target) - 1
            parts.append(f"distance {'on' if abs(off) < 0.1 else f'{off:+.0%} off'} its target in the last quarter")
    found = "; ".join(parts)
    return found[0].upper() + found[1:]
