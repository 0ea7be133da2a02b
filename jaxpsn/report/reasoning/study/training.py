"""How the arms of a reasoning study trained: numbers of each seed, and curves over seeds, from ``metrics.csv``."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpsn.report.reasoning import folder
from jaxpsn.report.reasoning.study.folder import Cell, Study
from jaxpsn.report.runs import Run, Series
from jaxpsn.report.series import thinned
from jaxpsn.stats import statistics
from jaxpsn.stats.statistics import Band

DIFFERENCE = "zero advantage difference"
_TENTH = 10  # first and last: means over this part of the steps
_POINTS = 60  # a curve is drawn from at most this many points
_RESAMPLES = 500  # of a curve's band


def _first(values: Float[np.ndarray, "t"]) -> float:
    return float(np.array_split(values, min(_TENTH, len(values)))[0].mean())


def _last(values: Float[np.ndarray, "t"]) -> float:
    return float(np.array_split(values, min(_TENTH, len(values)))[-1].mean())


def _mean(values: Float[np.ndarray, "t"]) -> float:
    return float(values.mean())


def _median(values: Float[np.ndarray, "t"]) -> float:
    return float(np.median(values))


def _end(values: Float[np.ndarray, "t"]) -> float:
    return float(values[-1])


NUMBERS: dict[str, tuple[str, Callable[[np.ndarray], float]]] = {
    "zero advantage": ("zero advantage", _mean),
    "entropy first": ("entropy", _first),
    "entropy last": ("entropy", _last),
    "sigma last": ("sigma", _end),
    "effective": ("effective", _mean),
    "kl": ("kl", _mean),
    "seconds step": ("seconds step", _median),
    "seconds probe": ("seconds probe", _median),
    "seconds sample": ("seconds sample", _median),
    "seconds verify": ("seconds verify", _median),
    "seconds update": ("seconds update", _median),
}
"""Numbers of a run by name: the metric (a key of reasoning.COLUMNS), and what is made of its steps."""
Numbers = Mapping[str, tuple[Sequence[int], Float[np.ndarray, "s"]]]


def numbers(study: Study, task: str, arm: str, reference: str) -> Numbers:
    """Every number of an arm on a task, as (seeds, values), NaN where it was not recorded.

    DIFFERENCE is the share of groups without advantage minus that of ``reference`` at the same seed and step, where
    both answered the same prompts: below zero, groups were rescued.
    """
    cell = study.cells[task, arm]
    found = {
        name: (cell.seeds, np.array([_number(one.run, metric, part) for one in cell.finished]))
        for name, (metric, part) in NUMBERS.items()
    }
    found["seconds"] = (cell.seeds, np.array([one.told.seconds for one in cell.finished]))
    theirs = {one.seed: one.run for one in study.cells[task, reference].finished} if reference in study.labels else {}
    shared = [one for one in cell.finished if one.seed in theirs and arm != reference]
    differences = np.array([_difference(one.run, theirs[one.seed]) for one in shared])
    return found | {DIFFERENCE: (tuple(one.seed for one in shared), differences)}


def metric(run: Run, name: str) -> Series | None:
    """A metric of a run: a key of reasoning.COLUMNS, or pass@1 of the short evaluations on the way."""
    if name == "monitor pass@1":
        return folder.pass_at(run).get(1)
    return folder.series(run, name)


def _number(run: Run, name: str, part: Callable[[np.ndarray], float]) -> float:
    series = metric(run, name)
    return float("nan") if series is None else part(series.values[0])


def _difference(ours: Run, theirs: Run) -> float:
    """Mean difference over the steps that both made."""
    mine, other = (metric(run, "zero advantage") for run in (ours, theirs))
    if mine is None or other is None:
        return float("nan")
    steps, here, there = np.intersect1d(mine.steps, other.steps, return_indices=True)
    return float((mine.values[0, here] - other.values[0, there]).mean()) if steps.size else float("nan")


class Curve(NamedTuple):
    """A metric over steps, with the band of its seeds."""

    steps: Float[np.ndarray, "t"]
    band: Band
    seeds: int


def curve(cells: Sequence[Cell], name: str) -> Curve | None:
    """The mean of a metric over seeds, and over the tasks of ``cells``, at the steps that all of them have.

    The band is a 95 % bootstrap interval over seeds. None where a seed has no such metric.
    """
    found = [[metric(one.run, name) for one in cell.finished] for cell in cells]
    count = min((len(of_task) for of_task in found), default=0)
    series = [one for of_task in found for one in of_task[:count] if one is not None]
    if not series or len(series) < count * len(found):
        return None
    steps = series[0].steps
    for one in series[1:]:
        steps = np.intersect1d(steps, one.steps)
    if not steps.size:
        return None
    values = np.array([one.values[0, np.searchsorted(one.steps, steps)] for one in series])
    values = values.reshape(len(found), count, len(steps)).mean(axis=0)
    thin = thinned(Series(steps, values), _POINTS)
    return Curve(thin.steps, statistics.mean_curve(thin.values, resamples=_RESAMPLES), count)
