"""Plots of a study over environment steps: returns, first rewards, coverage, and how far the actions are moved."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxpsn.core import text
from jaxpsn.report import figures, runs
from jaxpsn.report.figures import SOFT, Plot
from jaxpsn.report.runs import Series
from jaxpsn.report.study import look as study_look
from jaxpsn.report.study.folder import Arm, Study
from jaxpsn.report.study.look import Look
from jaxpsn.report.study.scores import Results, Row
from jaxpsn.stats import statistics
from jaxpsn.stats.statistics import Estimate

_SPREAD = "Lines: interquartile mean over seeds. Bands: 95 % bootstrap intervals over seeds, point by point."
_EARLY = 0.02  # a first reward within this part of the run, in every seed, is no matter of exploration


def learning(results: Results) -> Plot | None:
    """Return of the clean policy, all arms in one panel."""
    return _curves(results, "learning", "eval_return", "return of the clean policy", _learning_finding(results))


def behaviour(results: Results) -> Plot | None:
    """Reward of the training, explored as each arm does.

    Per step: the returns of the episodes that ended in a chunk favour those that end early.
    """
    finding = _finding(results.study, "reward", "Reward per step of the behaviour at the end")
    return _curves(results, "behaviour", "reward", "reward per step of the behaviour", finding)


def coverage(results: Results) -> Plot | None:
    """Cells of the observation space visited so far."""
    finding = _finding(results.study, "coverage", "Cells of the observation space visited by the end")
    return _curves(results, "coverage", "coverage", "cells visited so far", finding)


def distance(results: Results) -> Plot | None:
    """Root mean square of executed minus clean action: what a rule really does to the actions."""
    finding = _finding(results.study, "action_distance", "Action distance at the end")
    return _curves(results, "distance", "action_distance", "executed minus clean action (RMS)", finding)


def _series(study: Study, name: str) -> list[tuple[Arm, Series]]:
    return [
        (arm, study_look.thinned(series))
        for arm in study.shown
        if arm.run is not None and (series := arm.run.series(name)) is not None
    ]


def _curves(results: Results, name: str, metric: str, label: str, finding: str) -> Plot | None:
    study, drawn = results.study, _series(results.study, metric)
    if not drawn:
        return None
    with figures.style():
        figure, (axes,) = figures.figure(finding, [3.9])
        _lines(axes, study, drawn)
        axes.set_ylabel(label)
        figures.plain(axes)
        figures.steps(axes, [series for _, series in drawn], "environment steps of a seed")
        if metric == "eval_return":
            study_look.threshold(axes, study.threshold)
        if metric in ("coverage", "action_distance"):
            axes.set_ylim(bottom=0)
        _name_ends(axes, study, drawn)
    alone = all(len(series.values) == 1 for _, series in drawn)
    return Plot(name, figure, finding, "One seed of each arm: no interval can be given." if alone else _SPREAD)


def _lines(axes: Axes, study: Study, drawn: Sequence[tuple[Arm, Series]]) -> None:
    looks = study_look.looks(study)
    for arm, series in drawn[::-1]:  # the first arm lies on top
        found = statistics.curve(series.values, resamples=1000)
        lead = arm is study.arms[0]
        study_look.band(axes, series.steps, found, looks[arm.label], lead=lead, crowd=len(drawn))


def _name_ends(axes: Axes, study: Study, drawn: Sequence[tuple[Arm, Series]]) -> None:
    looks = study_look.looks(study)
    study_look.label_ends(
        axes,
        (
            (series.steps[-1], figures.last(series), arm.label + ("" if arm.finished else "*"), looks[arm.label].color)
            for arm, series in drawn
        ),
    )


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
    ends = sorted(((figures.last(series), arm.label) for arm, series in _series(study, metric)), reverse=True)
    if not ends:
        return what
    if len(ends) > 1 and ends[0][0] == ends[-1][0]:
        return f"{what}: {text.number(ends[0][0])} in every arm"
    shown = [f"{label} {text.number(value)}" for value, label in ([ends[0], ends[-1]] if len(ends) > 1 else ends)]
    return f"{what}: most {shown[0]}, least {shown[1]}" if len(shown) > 1 else f"{what}: {shown[0]}"


def events(results: Results) -> Plot | None:
    """Share of seeds that have seen a reward, and that have reached the threshold, by each step."""
    rows = [row for row in results.rows if row.scores is not None]
    panels = [("have seen a reward", lambda row: row.scores.first_reward)] if exploring(results) else []
    if any(row.scores is not None and row.scores.solved is not None for row in rows):
        panels.append(("have solved the task", lambda row: row.scores.solved))
    if not panels:
        return None
    with figures.style():
        finding = _events_finding(results)
        figure, drawn = figures.figure(finding, [2.5] * len(panels))
        ends = [row.scores.end for row in rows if row.scores is not None]
        for axes, (what, times) in zip(drawn, panels, strict=True):
            _shares(axes, results, rows, times)
            axes.set_title(f"seeds that {what}")
        warmup = runs.setting(results.study.content, "warmup")
        if isinstance(warmup, int | float) and 0 < warmup < max(ends):
            drawn[0].axvline(warmup, color=SOFT, lw=0.8, ls=(0, (1, 2)))
            place = {"xy": (warmup, 0.6), "xycoords": ("data", "axes fraction"), "xytext": (3, -3)}
            place |= {"bbox": {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.0}, "zorder": 5}
            drawn[0].annotate("random until here", textcoords="offset points", color=SOFT, fontsize=8, **place)
        figures.steps(drawn[-1], [Series(np.array([max(ends)]), np.zeros((1, 1)))], "environment steps of a seed")
    return Plot("events", figure, finding, _EVENTS)


_EVENTS = (
    "Share of seeds to which it had happened by each step; n/m at the end: n of the m seeds. All seeds of an arm are"
    " watched equally long, so this is also the product-limit (Kaplan-Meier) curve; intervals of the shares and of the"
    " median times are in the table."
)


def exploring(results: Results) -> bool:
    """Whether the time to the first reward says something: it was recorded, and it is late in some seed."""
    times = [row.scores for row in results.rows if row.scores is not None and row.scores.first_reward is not None]
    return any((one.first_reward > _EARLY * one.end).any() for one in times if one.first_reward is not None)


def _shares(axes: Axes, results: Results, rows: Sequence[Row], times: Callable[[Row], Any]) -> None:
    looks, ends = study_look.looks(results.study), []
    for row in rows[::-1]:
        found = times(row)
        if found is None or row.scores is None:
            continue
        look, hits = looks[row.arm.label], int(np.isfinite(found).sum())
        at = np.unique([0.0, *found[np.isfinite(found)], row.scores.end])
        value = (found[:, None] <= at).mean(axis=0)
        lead = row.arm is results.study.arms[0]
        axes.plot(
            at,
            value,
            color=look.color,
            ls=look.dashes,
            lw=2.4 if lead else 1.7,
            zorder=3 + lead,
            drawstyle="steps-post",
        )
        ends.append((row.scores.end, float(value[-1]), f"{row.arm.label} {hits}/{found.size}", look.color))
    axes.set_ylim(-0.03, 1.03)
    figures.percent(axes)
    study_look.label_ends(axes, ends)


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


def noise(results: Results) -> Plot | None:
    """Sigma of the weight noise, and its measured distance with its target, of the arms that have them."""
    study = results.study
    sigma, moved = ([(arm, figures.positive(series)) for arm, series in _series(study, name)] for name in _NOISE)
    sigma, moved = ([(arm, series) for arm, series in found if series is not None] for found in (sigma, moved))
    if not sigma:
        return None
    with figures.style():
        finding = _finding(study, "sigma", "Sigma of the weight noise at the end")
        figure, panels = figures.figure(finding, [2.3] * (1 + bool(moved)))
        for axes, drawn, label in zip(panels, (sigma, moved), ("sigma", "distance (RMS)"), strict=False):
            _lines(axes, study, drawn)
            axes.set_ylabel(label)
        for arm, target in _series(study, "target"):
            look = study_look.looks(study)[arm.label]
            if moved and arm.perturbs_weights:
                panels[-1].plot(
                    target.steps, np.nanmean(target.values, axis=0), color=look.color, lw=1.0, ls=(0, (1, 2))
                )
        for axes, drawn in zip(panels, (sigma, moved), strict=False):
            figures.log(axes)
            _name_ends(axes, study, drawn)
        figures.steps(panels[-1], [series for _, series in sigma], "environment steps of a seed")
    return Plot("noise", figure, finding, f"Log axes. Dotted: the target to which sigma is adapted. {_SPREAD}")


_NOISE = ("sigma", "distance")


def seeds(results: Results) -> Plot | None:
    """The curve of every seed, one panel for each arm, on equal axes."""
    drawn = _series(results.study, "eval_return")
    if not drawn or all(len(series.values) == 1 for _, series in drawn):
        return None
    looks, columns = study_look.looks(results.study), min(3, len(drawn))
    count = -(-len(drawn) // columns)
    with figures.style():
        finding = "The clean policy's return, seed by seed"
        figure, panels = figures.figure(finding, [1.9] * count, columns)
        low = min(np.nanmin(series.values) for _, series in drawn)
        high = max(np.nanmax(series.values) for _, series in drawn)
        room = 0.05 * (high - low) or 1.0
        for axes, (arm, series) in zip(panels, drawn, strict=False):
            _seed_lines(axes, series, looks[arm.label])
            axes.set_title(arm.label, color=looks[arm.label].color)
            axes.set_ylim(low - room, high + room)
            figures.plain(axes)
        for axes in panels[len(drawn) :]:
            axes.set_axis_off()
        for axes in panels[max(0, len(drawn) - columns) : len(drawn)]:
            figures.steps(axes, [series for _, series in drawn], "environment steps")
            axes.tick_params(labelbottom=True)
            axes.locator_params(axis="x", nbins=4)
    return Plot("seeds", figure, finding, "Thin: one seed each. Thick: their interquartile mean. Equal axes.")


def _seed_lines(axes: Axes, series: Series, look: Look) -> None:
    for one in series.values:
        seen = np.isfinite(one)
        axes.plot(series.steps[seen], one[seen], color=look.color, lw=0.8, alpha=0.5)
    axes.plot(series.steps, statistics.curve(series.values, resamples=1).value, color=look.color, lw=2.2)
