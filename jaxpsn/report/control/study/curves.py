"""Charts of a study over environment steps: returns, first rewards, coverage, and how far the actions are moved."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxpsn.core import text
from jaxpsn.report import runs
from jaxpsn.report import series as made
from jaxpsn.report.charts import look as looks
from jaxpsn.report.charts.spec import Axis, Chart, Layer, Line, Panel, Rule
from jaxpsn.report.control.study.folder import Arm, Study
from jaxpsn.report.control.study.scores import Results, Row
from jaxpsn.report.runs import Series
from jaxpsn.report.study import plots as shared
from jaxpsn.stats import statistics
from jaxpsn.stats.statistics import Estimate

_EARLY = 0.02  # a first reward within this part of the run, in every seed, is no matter of exploration
_STEPS = Axis("environment steps of a seed", unit="count", low=0)


def learning(results: Results) -> Chart | None:
    """Return of the clean policy, all arms in one panel."""
    return _curves(results, "learning", "eval_return", "return of the clean policy", _learning_finding(results))


def behaviour(results: Results) -> Chart | None:
    """Reward of the training, explored as each arm does.

    Per step: the returns of the episodes that ended in a chunk favour those that end early.
    """
    finding = _finding(results.study, "reward", "Reward per step of the behaviour at the end")
    return _curves(results, "behaviour", "reward", "reward per step of the behaviour", finding)


def coverage(results: Results) -> Chart | None:
    """Cells of the observation space visited so far."""
    finding = _finding(results.study, "coverage", "Cells of the observation space visited by the end")
    return _curves(results, "coverage", "coverage", "cells visited so far", finding)


def distance(results: Results) -> Chart | None:
    """Root mean square of executed minus clean action: what a rule really does to the actions."""
    finding = _finding(results.study, "action_distance", "Action distance at the end")
    return _curves(results, "distance", "action_distance", "executed minus clean action (RMS)", finding)


def _series(study: Study, name: str) -> list[tuple[Arm, Series]]:
    return [
        (arm, made.thinned(series))
        for arm in study.shown
        if arm.run is not None and (series := arm.run.series(name)) is not None
    ]


def _curves(results: Results, name: str, metric: str, label: str, finding: str) -> Chart | None:
    study, drawn = results.study, _series(results.study, metric)
    if not drawn:
        return None
    rules = [] if metric != "eval_return" else threshold(study)
    y = Axis(label, zero=metric in ("coverage", "action_distance"))
    alone = all(len(series.values) == 1 for _, series in drawn)
    caption = "One seed of each arm: no interval can be given." if alone else shared.SPREAD
    return Chart(name, finding, caption, [Panel([*rules, *_lines(study, drawn)], _STEPS, y, height=3.9)])


def threshold(study: Study, *, upright: bool = False) -> list[Rule]:
    """A dashed line at the return that counts as solved."""
    return [] if study.threshold is None else [Rule(study.threshold, upright, "threshold")]


def named(arm: Arm) -> str:
    """Its label, with a star where it is not finished."""
    return arm.label if arm.finished else f"{arm.label}*"


def _lines(study: Study, drawn: Sequence[tuple[Arm, Series]]) -> list[Layer]:
    """A line with its band for each arm; the first arm lies on top."""
    found = [(arm.label, series.steps, statistics.curve(series.values, resamples=1000)) for arm, series in drawn]
    stars = [arm.label for arm, _ in drawn if not arm.finished]
    return shared.curves(found, looks.looks(study.labels), study.labels[0], stars)


def _learning_finding(results: Results) -> str:
    ranked = results.ranked
    if not ranked:
        return "No arm is finished yet: returns so far"
    best, *others = ranked
    if not others or best.final is None:
        return f"Final return of {best.arm.label}: {_value(best.final)}"
    next_ = others[0]
    if all(row.final == best.final for row in others):
        return f"Every arm ends at the same return, {_value(best.final)}"
    if best.final.value == next_.final.value:
        return f"{best.arm.label} and {next_.arm.label} end at the same return, {_value(best.final)}"
    return f"Highest final return (IQM): {best.arm.label}, {_value(best.final)}; next {_end(next_)}"


def _end(row: Row) -> str:
    return f"{row.arm.label}, {_value(row.final)}"


def _value(estimate: Estimate | None) -> str:
    return "none" if estimate is None else text.number(estimate.value)


def _finding(study: Study, metric: str, what: str) -> str:
    """The largest and the smallest last value among the arms."""
    ends = sorted(((made.last(series), arm.label) for arm, series in _series(study, metric)), reverse=True)
    if not ends:
        return what
    if len(ends) > 1 and ends[0][0] == ends[-1][0]:
        return f"{what}: {text.number(ends[0][0])} in every arm"
    shown = [f"{label} {text.number(value)}" for value, label in ([ends[0], ends[-1]] if len(ends) > 1 else ends)]
    return f"{what}: most {shown[0]}, least {shown[1]}" if len(shown) > 1 else f"{what}: {shown[0]}"


def events(results: Results) -> Chart | None:
    """Share of seeds that have seen a reward, and that have solved the task, by each step."""
    rows = [row for row in results.rows if row.scores is not None]
    panels = [("have seen a reward", lambda row: row.scores.first_reward)] if exploring(results) else []
    if any(row.scores is not None and row.scores.solved is not None for row in rows):
        panels.append(("have solved the task", lambda row: row.scores.solved))
    if not panels:
        return None
    warmup, end = runs.setting(results.study.content, "warmup"), max(row.scores.end for row in rows if row.scores)
    drawn = []
    for what, times in panels:
        layers: list[Layer] = [*_shares(results, rows, times)]
        if not drawn and isinstance(warmup, int | float) and 0 < warmup < end:
            layers.append(Rule(warmup, True, "random until here", dash="dotted"))
        y = Axis(unit="percent", low=-0.03, high=1.03)
        drawn.append(Panel(layers, _STEPS, y, f"seeds that {what}", height=2.5))
    return Chart("events", _events_finding(results), _EVENTS, drawn)


_EVENTS = (
    "Share of seeds to which it had happened by each step. All seeds of an arm are watched equally long, so this is"
    " also the product-limit (Kaplan-Meier) curve; counts, and intervals of the shares and of the median times, are in"
    " the table."
)


def exploring(results: Results) -> bool:
    """Whether the time to the first reward says something: it was recorded, and it is late in some seed."""
    times = [row.scores for row in results.rows if row.scores is not None and row.scores.first_reward is not None]
    return any((one.first_reward > _EARLY * one.end).any() for one in times if one.first_reward is not None)


def _shares(results: Results, rows: Sequence[Row], times: Callable[[Row], Any]) -> list[Line]:
    found, lines = looks.looks(results.study.labels), []
    for row in rows[::-1]:
        when = times(row)
        if when is None or row.scores is None:
            continue
        look = found[row.arm.label]
        at = np.unique([0.0, *when[np.isfinite(when)], row.scores.end])
        width = 2.4 if row.arm is results.study.arms[0] else 1.7
        share = (when[:, None] <= at).mean(axis=0)
        lines.append(Line(at, share, look.color, named(row.arm), dash=look.dash, width=width, stairs=True))
    return lines


def _events_finding(results: Results) -> str:
    """Of the first panel that is drawn, the arms with the most and the fewest seeds."""
    solved = not exploring(results)
    found = []
    for row in results.rows:
        share = row.solved if solved else row.rewarded
        if share is not None:
            found.append((round(share.value * share.runs), share.runs, row.arm.label))
    what = "solve the task" if solved else "see a reward"
    if not any(hits for hits, _, _ in found):
        return f"No seed of any arm {'solves the task' if solved else 'sees a reward'}"
    if all(hits == runs for hits, runs, _ in found):
        return f"All seeds of all arms {what}"
    most, least = max(found, key=lambda one: one[0] / one[1]), min(found, key=lambda one: one[0] / one[1])
    if most[0] / most[1] == least[0] / least[1]:
        return f"{most[0]} of {most[1]} seeds {what} in every arm"
    return f"{most[0]} of {most[1]} seeds of {most[2]} {what}, {least[0]} of {least[1]} of {least[2]}"


def noise(results: Results) -> Chart | None:
    """Sigma of the weight noise, and its measured distance with its target, of the arms that have them."""
    study, panels = results.study, []
    for name, label in (("sigma", "sigma"), ("distance", "distance")):
        found = [(arm, made.positive(series)) for arm, series in _series(study, name)]
        drawn = [(arm, series) for arm, series in found if series is not None]
        if drawn:
            targets = _targets(study) if name == "distance" else []
            panels.append(Panel([*targets, *_lines(study, drawn)], _STEPS, Axis(label, "log"), height=2.3))
        elif name == "sigma":
            return None
    caption = (
        "Log axes. Dotted: the target to which sigma is adapted. A sigma is a scale of its own noise: between unlike"
        f" structures only distances compare. {shared.SPREAD}"
    )
    return Chart("noise", "Sigma of the weight noise, and how far it moves the actions", caption, panels)


def _targets(study: Study) -> list[Line]:
    found = looks.looks(study.labels)
    drawn = [(arm, made.positive(series)) for arm, series in _series(study, "target") if arm.perturbs_weights]
    return [
        Line(series.steps, np.nanmean(series.values, axis=0), found[arm.label].color, dash="dotted", width=1.0)
        for arm, series in drawn
        if series is not None
    ]


def seeds(results: Results) -> Chart | None:
    """The curve of every seed, one panel for each arm, on equal axes."""
    drawn = _series(results.study, "eval_return")
    if not drawn or all(len(series.values) == 1 for _, series in drawn):
        return None
    found, panels = looks.looks(results.study.labels), []
    x = Axis(unit="count", low=0, high=1.02 * max(series.steps[-1] for _, series in drawn))
    for arm, series in drawn:
        color, middle = found[arm.label].color, statistics.curve(series.values, resamples=1).value
        thin = [Line(series.steps, one, color, width=0.8, alpha=0.5) for one in series.values]
        thick = Line(series.steps, middle, color, width=2.2)
        panels.append(Panel([*thin, thick], x, title=arm.label, color=color, height=1.9))
    caption = "Thin: one seed each. Thick: their interquartile mean. Equal axes; x: environment steps of a seed."
    return Chart("seeds", "The clean policy's return, seed by seed", caption, panels, min(3, len(drawn)), "all")
