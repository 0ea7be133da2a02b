"""Plots of a reasoning study's training: what moved over its steps, what a step costs, how scales were chosen."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxpsn.core import text
from jaxpsn.report import figures
from jaxpsn.report.figures import BLUE, GREEN, INK, ORANGE, PURPLE, SOFT, Plot
from jaxpsn.report.reasoning_study import look, training, words
from jaxpsn.report.reasoning_study.scores import ALL, REFERENCE, Results
from jaxpsn.report.reasoning_study.training import Curve
from jaxpsn.report.runs import Series
from jaxpsn.report.study import look as study_look
from jaxpsn.stats.evaluations import BASE

_METRICS = {
    "monitor pass@1": "pass@1 on the way",
    "entropy": "entropy, nats a token",
    "zero advantage": "groups without advantage",
    "sigma": "sigma of the weight noise",
    "kl": "KL(noisy || clean), nats a token",
    "indicator": "indicator of the probes",
}
"""What is drawn of the training: metric -> title."""
_OF_NOISE = ("sigma", "kl", "indicator")
_SHARES = ("monitor pass@1", "zero advantage")
_PHASES = (("probe", PURPLE), ("sample", BLUE), ("verify", GREEN), ("update", ORANGE))
_SPREAD = "Lines: mean over {}. Bands: 95 % bootstrap intervals over seeds, point by point."


class _Panel(NamedTuple):
    """A metric with the curves of a group of arms."""

    metric: str
    curves: dict[str, Curve]


def trajectories(results: Results, task: str) -> Plot | None:
    """Metrics of the training over steps, a row for each, with the arms in as many columns as keep them apart."""
    groups = [[label for label in group if label != BASE] for group in look.groups(results, task)]
    curves = {label: _curves(results, task, label) for label in results.arms(task) if label != BASE}
    rows = []
    for metric in _METRICS:
        row = [_Panel(metric, {label: curves[label][metric] for label in group if metric in curves[label]})
               for group in groups]  # fmt: skip
        if any(panel.curves for panel in row):
            rows.append(row)
    if not rows:
        return None
    with figures.style():
        finding = _trajectories_finding(results, task)
        figure, panels = figures.figure(finding, [1.75] * len(rows), len(groups))
        for axes, panel in zip(panels, (panel for row in rows for panel in row), strict=True):
            _draw(axes, results, panel)
        _together(figure, panels, len(groups))
        for axes, panel in zip(panels, (panel for row in rows for panel in row), strict=True):
            _name(axes, results, panel)
        every = [Series(one.steps, one.band.value[None]) for of in curves.values() for one in of.values()]
        for column in range(len(groups)):
            lowest = [axes for axes in panels[column :: len(groups)] if axes.axison][-1]
            figures.steps(lowest, every, "training steps")
            lowest.tick_params(labelbottom=True)
            lowest.locator_params(axis="x", nbins=4)
    over = "seeds" if task != ALL else f"seeds and {len(results.averaged)} tasks"
    return Plot(words.named(results, "trajectories", task), figure, finding, _SPREAD.format(over))


def _curves(results: Results, task: str, label: str) -> dict[str, Curve]:
    """The metrics that an arm has; those of the noise only where there is some."""
    cells = results.cells(task, label)
    found = {name: training.curve(cells, name) for name in _METRICS}
    sigma = found["sigma"]
    noisy = sigma is not None and bool((sigma.band.value > 0).any())
    return {name: one for name, one in found.items() if one is not None and (noisy or name not in _OF_NOISE)}


def _draw(axes: Axes, results: Results, panel: _Panel) -> None:
    looks = look.looks(results.study.labels)
    for label, one in list(panel.curves.items())[::-1]:
        study_look.band(axes, one.steps, one.band, looks[label], crowd=len(panel.curves))
    if not panel.curves:
        axes.set_axis_off()
        return
    axes.set_title(_METRICS[panel.metric])
    if panel.metric in _SHARES:
        figures.percent(axes)
    else:
        figures.plain(axes)


def _together(figure: Figure, panels: Sequence[Axes], columns: int) -> None:
    """One y axis for the panels of a row that have curves."""
    for start in range(0, len(panels), columns):
        row = [axes for axes in panels[start : start + columns] if axes.axison]
        limits = [axes.get_ylim() for axes in row]
        for axes in row:
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _name(axes: Axes, results: Results, panel: _Panel) -> None:
    looks = look.looks(results.study.labels)
    ends = ((one.steps[-1], one.band.value[-1], label, looks[label].color) for label, one in panel.curves.items())
    study_look.label_ends(axes, ends, 7.5)


def _trajectories_finding(results: Results, task: str) -> str:
    """Between which arms the entropy and the share of groups without advantage range at the end."""
    parts = []
    for name, what, show in (("entropy last", "entropy at the end", text.number), ("zero advantage", _NO, _percent)):
        found = {label: results.trained(task, label, name) for label in results.arms(task) if label != BASE}
        ends = sorted((one.value, label) for label, one in found.items() if one is not None)
        if len(ends) > 1:
            (low, least), (high, most) = ends[0], ends[-1]
            parts.append(f"{what} from {show(low)} ({least}) to {show(high)} ({most})")
    shown = "; ".join(parts) or "what moved in training"
    return shown[0].upper() + shown[1:]


_NO = "groups without advantage"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def seconds(results: Results) -> Plot | None:
    """Seconds of a step of every arm, by phase."""
    task = results.chief or ""
    found = {label: _phases(results, task, label) for label in results.arms(task) if label != BASE}
    found = {label: phases for label, phases in found.items() if sum(phases.values())}
    if not found:
        return None
    totals = {label: sum(phases.values()) for label, phases in found.items()}
    with figures.style():
        finding = _seconds_finding(totals)
        figure, (axes,) = figures.figure(finding, [0.9 + 0.27 * len(found)])
        for place, (label, phases) in enumerate(found.items()):
            left = 0.0
            for name, color in _PHASES:
                axes.barh(place, phases[name], left=left, color=color, height=0.7, alpha=0.8,
                          label=name if not place else None)  # fmt: skip
                left += phases[name]
            axes.annotate(_cost(totals, label), (left, place), (5, 0), textcoords="offset points", va="center",
                          color=SOFT, fontsize=9)  # fmt: skip
        axes.set_yticks(range(len(found)), list(found))
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.set_xlim(0, 1.2 * max(totals.values()))
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("seconds a step")
        axes.xaxis.set_major_formatter(lambda x, _: text.tick(x))
        figures.legend_above(axes)
    caption = "Median over steps, mean over seeds and tasks; without evaluations. Probes are those of Variant II."
    return Plot("seconds", figure, finding, caption)


def _phases(results: Results, task: str, label: str) -> dict[str, float]:
    """Seconds of each phase; one that was not recorded took none."""
    found = {name: results.trained(task, label, f"seconds {name}") for name, _ in _PHASES}
    return {name: 0.0 if one is None else one.value for name, one in found.items()}


def _cost(totals: dict[str, float], label: str) -> str:
    own = text.number(totals[label])
    return (
        own if REFERENCE not in totals or label == REFERENCE else f"{own} (x {totals[label] / totals[REFERENCE]:.2f})"
    )


def _seconds_finding(totals: dict[str, float]) -> str:
    order = sorted(totals, key=lambda label: totals[label])
    ends = [f"{text.duration(totals[label])} ({label})" for label in dict.fromkeys((order[0], order[-1]))]
    return f"A step takes {' to '.join(ends)}"


def tuning(results: Results) -> Plot | None:
    """The score of every scale that was tried, a row for each arm that was tuned and a column for each task."""
    found = results.study.tunings
    if not found:
        return None
    tasks, arms = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    looks = look.looks(results.study.labels)
    with figures.style():
        finding = f"Scales of {len(arms)} arms, tuned on problems that are not reported"
        figure, panels = figures.figure(finding, [1.45] * len(arms), len(tasks), share=False)
        for place, axes in enumerate(panels):
            arm, task = arms[place // len(tasks)], tasks[place % len(tasks)]
            color = looks[arm].color if arm in looks else SOFT
            _tuned(axes, found.get((task, arm)), color)
            axes.set_title(f"{arm}, {task}", color=color, fontsize=9)
    caption = (
        "Dots: seeds; line: their mean. The band marks the scale that was chosen. The score is"
        f" {text.listed(sorted({one.by for one in found.values()}))}."
    )
    return Plot("tuning", figure, finding, caption)


def _tuned(axes: Axes, one: Any, color: str) -> None:
    if one is None:
        axes.set_axis_off()
        return
    known = np.isfinite(one.scores)
    middle = np.where(known, one.scores, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    study_look.tried(axes, one.values, one.scores, np.where(known.any(axis=1), middle, np.nan), one.chosen, color)
    axes.set_xlabel(one.field, color=SOFT, fontsize=8)
    figures.percent(axes)
