"""The tables of a reasoning study as CSV: every arm on every task, every contrast, every hypothesis."""

from collections.abc import Iterator
from typing import Any

from jaxpsn.report.reasoning.study import hypotheses as statements
from jaxpsn.report.reasoning.study import training
from jaxpsn.report.reasoning.study.scores import Results
from jaxpsn.report.study import tidy
from jaxpsn.report.study.folder import FINISHED, MISSING, RUNNING
from jaxpsn.stats.evaluations import BASE
from jaxpsn.stats.statistics import Estimate

_ENDS = ("", "_low", "_high")
_WITH_INTERVAL = ("zero advantage", training.DIFFERENCE)
_TRAINING = (*_WITH_INTERVAL, *(name for name in training.NUMBERS if name not in _WITH_INTERVAL))


def table(results: Results) -> str:
    """One row for each task and arm: value, low and high of every number; shares, not percent; blank is unknown."""
    estimates = [f"pass_at_{k}" for k in results.ks] + ["distinct", "new", "lost"]
    columns = ["task", "arm", "status", "spec", "scale_field", "scale", "seeds", "problems"]
    columns += [f"{name}{end}" for name in estimates for end in _ENDS] + ["new_by_any", "lost_by_all", "base_never"]
    for name in _TRAINING:
        plain = name.replace(" ", "_")
        columns += [f"{plain}{end}" for end in _ENDS] if name in _WITH_INTERVAL else [plain]
    rows = (_row(results, task, arm) for task in results.tasks for arm in (BASE, *results.study.labels))
    return tidy.csv_text([*columns, "seconds"], rows)


def _row(results: Results, task: str, arm: str) -> list[Any]:
    cells = [_ended(results.estimate(task, arm, name)) for name in results.measures]
    solved = results.solved(task, arm)
    problems = sum(len(one.base.ids) for one in results.study.tasks if one.base and one.label in results.parts(task))
    row = [task, arm, *_about(results, task, arm), problems, *(cell for found in cells for cell in found)]
    row += [None] * 3 if solved is None else [solved.new_by_any, solved.lost_by_all, solved.hard]
    for name in _TRAINING:
        ended = _ended(results.trained(task, arm, name))
        row += ended if name in _WITH_INTERVAL else ended[:1]
    return [*row, *_ended(results.trained(task, arm, "seconds"))[:1]]


def _ended(found: Estimate | None) -> list[float | None]:
    return [None] * 3 if found is None else list(found[:3])


def _about(results: Results, task: str, arm: str) -> Iterator[Any]:
    """Status, spec, the field and the values of the scale, and the seeds that are complete."""
    if arm == BASE:
        yield from (FINISHED, BASE, None, None, None)
        return
    about = next(one for one in results.study.arms if one.label == arm)
    cells = results.cells(task, arm)
    seeds = min((len(cell.finished) for cell in cells), default=0)
    begun = any(cell.finished or cell.others for cell in cells)
    yield FINISHED if seeds and seeds >= (results.study.seeds or 1) else RUNNING if begun else MISSING
    yield about.spec
    yield None if about.scale is None else about.scale.get("field")
    values = dict.fromkeys(one.scale for cell in cells for one in cell.finished if one.scale is not None)
    yield " ".join(f"{value:.6g}" for value in values)
    yield seeds


def contrasts(results: Results) -> str:
    """Every arm minus the reference, paired: the difference, its interval, and how often it is above zero."""
    columns = ["task", "ours", "theirs", "k", "difference", "low", "high", "probability", "seeds"]
    rows = ([*one[:4], *one.estimate[:3], one.probability, one.estimate.runs] for one in results.contrasts())
    return tidy.csv_text(columns, rows)


def hypotheses(results: Results) -> str:
    """Every contrast of every hypothesis, on every task, with its verdict and that of the whole."""
    return tidy.csv_text(statements.COLUMNS, statements.rows(results))
