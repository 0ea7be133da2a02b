"""Charts of a reasoning study's training: what moved over its steps, what a step costs, how scales were chosen."""

import numpy as np

from jaxpsn.core import text
from jaxpsn.report.charts.spec import Axis, Box, Chart, Layer, Panel, Text
from jaxpsn.report.reasoning.study import look, training, words
from jaxpsn.report.reasoning.study.scores import ALL, REFERENCE, Results
from jaxpsn.report.reasoning.study.training import Curve
from jaxpsn.report.study import plots as shared
from jaxpsn.report.study.folder import Choice
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
_PHASES = (("probe", "purple"), ("sample", "blue"), ("verify", "green"), ("update", "orange"))
_SPREAD = "Lines: mean over {}, over training steps. Bands: 95 % bootstrap intervals over seeds, point by point."


def trajectories(results: Results, task: str) -> Chart | None:
    """Metrics of the training over steps, a row for each, with the arms in as many columns as keep them apart."""
    groups = [[label for label in group if label != BASE] for group in look.groups(results, task)]
    curves = {label: _curves(results, task, label) for label in results.arms(task) if label != BASE}
    ends = [one.steps[-1] for of in curves.values() for one in of.values()]
    panels: list[Panel | None] = []
    for metric in _METRICS:
        row = [{label: curves[label][metric] for label in group if metric in curves[label]} for group in groups]
        if any(row):
            panels += [_panel(results, metric, some, 1.02 * max(ends)) if some else None for some in row]
    if not panels:
        return None
    over = "seeds" if task != ALL else f"seeds and {len(results.averaged)} tasks"
    finding, name = _trajectories_finding(results, task), words.named(results, "trajectories", task)
    return Chart(name, finding, _SPREAD.format(over), panels, len(groups), "row")


def _curves(results: Results, task: str, label: str) -> dict[str, Curve]:
    """The metrics that an arm has; those of the noise only where there is some."""
    cells = results.cells(task, label)
    found = {name: training.curve(cells, name) for name in _METRICS}
    sigma = found["sigma"]
    noisy = sigma is not None and bool((sigma.band.value > 0).any())
    return {name: one for name, one in found.items() if one is not None and (noisy or name not in _OF_NOISE)}


def _panel(results: Results, metric: str, curves: dict[str, Curve], end: float) -> Panel:
    found = [(label, one.steps, one.band) for label, one in curves.items()]
    lines = shared.curves(found, look.looks(results.study.labels))
    y = Axis(unit="percent" if metric in _SHARES else "number")
    return Panel(lines, Axis(unit="count", low=0, high=end), y, _METRICS[metric], height=1.75)


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


def seconds(results: Results) -> Chart | None:
    """Seconds of a step of every arm, by phase."""
    task = results.chief or ""
    found = {label: _phases(results, task, label) for label in results.arms(task) if label != BASE}
    found = {label: phases for label, phases in found.items() if sum(phases.values())}
    if not found:
        return None
    totals = {label: sum(phases.values()) for label, phases in found.items()}
    layers: list[Layer] = []
    for place, (label, phases) in enumerate(found.items()):
        left = 0.0
        for name, color in _PHASES:
            box, tip = (left, left + phases[name], place - 0.35, place + 0.35), text.duration(phases[name])
            layers.append(Box(box, color, 0.8, name, f"{label}, {name}: {tip}"))
            left += phases[name]
        layers.append(Text(left + 0.01 * max(totals.values()), place, _cost(totals, label), "soft", "start"))
    names = tuple(enumerate(found))
    x = Axis("seconds a step", low=0, high=1.25 * max(totals.values()))
    caption = "Median over steps, mean over seeds and tasks; without evaluations. Probes are those of Variant II."
    panel = shared.rows(layers, x, names, 0.9 + 0.27 * len(found))
    return Chart("seconds", _seconds_finding(totals), caption, [panel])


def _phases(results: Results, task: str, label: str) -> dict[str, float]:
    """Seconds of each phase; one that was not recorded took none."""
    found = {name: results.trained(task, label, f"seconds {name}") for name, _ in _PHASES}
    return {name: 0.0 if one is None else one.value for name, one in found.items()}


def _cost(totals: dict[str, float], label: str) -> str:
    own = text.number(totals[label])
    alone = REFERENCE not in totals or label == REFERENCE
    return own if alone else f"{own} (x {totals[label] / totals[REFERENCE]:.2f})"


def _seconds_finding(totals: dict[str, float]) -> str:
    order = sorted(totals, key=lambda label: totals[label])
    ends = [f"{text.duration(totals[label])} ({label})" for label in dict.fromkeys((order[0], order[-1]))]
    return f"A step takes {' to '.join(ends)}"


def tuning(results: Results) -> Chart | None:
    """The score of every scale that was tried, a row for each arm that was tuned and a column for each task."""
    found = results.study.tunings
    if not found:
        return None
    tasks, arms = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    panels = [_tuned(results, task, arm, found.get((task, arm))) for arm in arms for task in tasks]
    caption = (
        "Dots: seeds; line: their mean. The band marks the scale that was chosen. The score is"
        f" {text.listed(sorted({one.by for one in found.values()}))}."
    )
    finding = f"Scales of {len(arms)} arms, tuned on problems that are not reported"
    return Chart("tuning", finding, caption, panels, len(tasks))


def _tuned(results: Results, task: str, arm: str, one: Choice | None) -> Panel | None:
    if one is None:
        return None
    looks = look.looks(results.study.labels)
    scores = one.scores["scores"]
    known = np.isfinite(scores)
    middle = np.where(known, scores, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    middle = np.where(known.any(axis=1), middle, np.nan)
    color = looks[arm].color if arm in looks else "soft"
    return shared.tried(one, scores, middle, f"{arm}, {task}", color, Axis(unit="percent"), 1.45)
