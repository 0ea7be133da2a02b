"""Plots of a control run, as PNG: what was learnt, what the noise did, how the losses went.

Only the panels that have data.
"""

from pathlib import Path

import numpy as np
from matplotlib import ticker

from jaxpsn.core import text
from jaxpsn.report import figures
from jaxpsn.report.figures import BLUE, GREEN, INK, ORANGE, PURPLE, VERMILION, Plot
from jaxpsn.report.runs import Run, Series
from jaxpsn.stats import statistics


def write(run: Run, folder: str | Path) -> figures.Written:
    """Write every plot that ``run`` has data for to ``folder`` as PNG; returns name -> (path, plot)."""
    return figures.write((make(run) for make in (learning, noise, losses)), folder)


def learning(run: Run) -> Plot | None:
    """Return per episode over environment steps: the clean policy's, and that of the behaviour that explores."""
    clean, behaviour = run.series("eval_return"), run.series("return")
    if clean is None and behaviour is None:
        return None
    seeds = len(run.seeds)
    with figures.style():
        finding = _learning_finding(clean if clean is not None else behaviour, clean is not None)
        figure, (axes,) = figures.figure(finding, [3.9])
        if behaviour is not None:
            figures.curve(axes, behaviour, ORANGE, "behaviour (explores)", markers=False)
        if clean is not None:
            figures.curve(axes, clean, BLUE, "clean policy (evaluation)", markers=True)
        axes.set_ylabel("return per episode")
        figures.plain(axes)
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], loc="best")
        axes.set_title("one seed" if seeds == 1 else f"{seeds} seeds: interquartile mean, 95 % interval")
        figures.steps(axes, [clean, behaviour])
    spread = (
        f"Thin lines: the {seeds} seeds. Thick: their interquartile mean, with its 95 % bootstrap interval."
        if seeds > 1
        else "One seed: no interval can be given."
    )
    return Plot("learning", figure, finding, f"Return of an episode. {spread}")


def noise(run: Run) -> Plot | None:
    """Sigma and action distance against its target, on log axes, over environment steps."""
    sigmas = [
        (name, found) for name in _members(run, "sigma") if (found := figures.positive(run.series(name))) is not None
    ]
    distance, target = figures.positive(run.series("distance")), figures.positive(run.series("target"))
    if not sigmas and distance is None:
        return None
    with figures.style():
        finding = _noise_finding(dict(sigmas).get("sigma"), distance, target)
        figure, panels = figures.figure(finding, [2.3] * (bool(sigmas) + (distance is not None)))
        if sigmas:
            axes = panels[0]
            for name, series in sigmas:
                only = name == "sigma"
                figures.curve(
                    axes, series, GREEN, "noise scale sigma" if only else name.replace("_", " "), thin=not only
                )
            axes.set_ylabel("sigma of the weight noise")
        if distance is not None:
            axes = panels[-1]
            figures.curve(axes, distance, PURPLE, "measured distance")
            if target is not None:
                wanted = np.nanmean(target.values, axis=0)
                axes.plot(target.steps, wanted, color=INK, lw=1.3, ls=(0, (4, 3)), label="target")
            axes.set_ylabel("action distance (RMS)")
            axes.legend(loc="best", ncols=2)
        for axes in panels:
            figures.log(axes)
        figures.steps(panels[-1], [distance, *dict(sigmas).values()])
    return Plot("noise", figure, finding, "Log axes. Sigma follows the measured action distance to its target.")


def losses(run: Run) -> Plot | None:
    """Critic loss, actor loss and mean Q over environment steps, one panel each."""
    wanted = (("critic_loss", "critic loss", VERMILION), ("actor_loss", "actor loss", BLUE), ("q", "mean Q", GREEN))
    found = [(series, label, color) for name, label, color in wanted if (series := run.series(name)) is not None]
    if not found:
        return None
    with figures.style():
        finding = "Losses: " + ", ".join(
            f"{label} ends at {text.number(figures.last(series))}" for series, label, _ in found
        )
        figure, panels = figures.figure(finding, [2.6], columns=len(found))
        for axes, (series, label, color) in zip(panels, found, strict=True):
            figures.curve(axes, series, color, label)
            axes.set_title(label)
            values = series.values[np.isfinite(series.values)]
            if label == "critic loss" and values.min() > 0 and values.max() > 20 * values.min():
                figures.log(axes)
            else:
                figures.plain(axes)
            axes.xaxis.set_major_locator(ticker.MaxNLocator(3))
            figures.steps(axes, [series])
    return Plot("losses", figure, finding, "A critic loss or a Q that grows without bound is a sign of divergence.")


def _members(run: Run, name: str) -> list[str]:
    """Columns of ``name`` and of its parts (``sigma``, ``sigma_min``, ``sigma_3``), the parts first, to lie below."""
    return [*sorted(column for column in run.columns if column.startswith(f"{name}_")), name]


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
        start, end = figures.last(sigma, lambda band: band[:1]), figures.last(sigma)
        parts.append(
            f"sigma stays at {text.number(end)}"
            if np.isclose(start, end, rtol=0.01)
            else f"sigma {text.number(start)} → {text.number(end)}"
        )
    if distance is not None:
        late = figures.last(distance, lambda band: band[-max(1, len(band) // 4) :])
        if target is None:
            parts.append(f"distance ends at {text.number(late)}")
        else:
            off = late / figures.last(target) - 1
            parts.append(f"distance {'on' if abs(off) < 0.1 else f'{off:+.0%} off'} its target in the last quarter")
    found = "; ".join(parts)
    return found[0].upper() + found[1:]
