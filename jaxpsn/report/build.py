"""The report of a folder, whatever it is: a run or a study, of control or of reasoning.

``python -m jaxpsn.report FOLDER`` builds it; see :mod:`jaxpsn.report.command`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpsn.core import errors, files
from jaxpsn.report import page, runs
from jaxpsn.report.charts import picture
from jaxpsn.report.control import run as control_run
from jaxpsn.report.control.study import folder as control_folder
from jaxpsn.report.control.study import plots as control_plots
from jaxpsn.report.control.study import report as control_report
from jaxpsn.report.control.study import scores as control_scores
from jaxpsn.report.control.study import tasks
from jaxpsn.report.control.study import words as control_words
from jaxpsn.report.reasoning import folder as reasoning_runs
from jaxpsn.report.reasoning import run as reasoning_run
from jaxpsn.report.reasoning.study import folder as reasoning_folder
from jaxpsn.report.reasoning.study import plots as reasoning_plots
from jaxpsn.report.reasoning.study import report as reasoning_report
from jaxpsn.report.reasoning.study import scores as reasoning_scores
from jaxpsn.report.reasoning.study import words as reasoning_words
from jaxpsn.report.study import folder, raw, tidy
from jaxpsn.report.study.words import as_run
from jaxpsn.stats import evaluations

_KINDS: Mapping[str, tuple[Any, Any, Any, Any, Any]] = {
    "control": (control_folder, control_scores, control_plots, control_report, control_words),
    "reasoning": (reasoning_folder, reasoning_scores, reasoning_plots, reasoning_report, reasoning_words),
}
"""Of each kind of study: how its folder is read, its numbers, its charts, its page, and what is said of them."""


def is_study(path: str | Path) -> bool:
    """Whether a folder is that of a study."""
    return (Path(path) / folder.FILE).exists()


def build(path: str | Path) -> Path:
    """Write the tables, ``plots/*.svg`` and ``report.html`` of a folder; returns the page's path.

    Of a study the final tables (``table.csv`` and what belongs to it) and the tidy table of all its runs are written;
    what is missing, unfinished or failed is said to be so. A reasoning run is known by its evaluations, its samples or
    its config; any other is one of control, whose rollout gets a page of its own (``rollout.html``). Raises UserError
    if the folder holds neither a readable ``study.json`` nor readable metrics (a reasoning run may have evaluations
    alone); a missing or broken rollout, evaluation or log only leaves its section saying so.
    """
    if is_study(path):
        return _study(path)
    judged = any((Path(path) / evaluations.FOLDER).glob("*.json"))
    run = runs.read(path, metrics=not judged)
    content = reasoning_run.content if reasoning_runs.recognises(run) else control_run.content
    return page.write(run, content(run))


def results(path: str | Path) -> Any:
    """Every number of a study; of which type depends on its kind. Raises UserError as ``build``."""
    content = folder.content(path)
    reader, scores, *_ = _KINDS[content["kind"]]
    with raw.opened(Path(path)) as place:
        study = reader.read(place, content)
    return scores.compute(dataclasses.replace(study, path=Path(path)))


def markdown(paths: Sequence[str | Path]) -> str:
    """The final table of a study in Markdown, with what its numbers are; of several studies of control, each task.

    See :func:`jaxpsn.report.control.study.tasks.markdown`. Raises UserError as ``build``, and for several of which one
    is of reasoning.
    """
    found = [results(path) for path in paths]
    kinds = {one.study.content["kind"] for one in found}
    if len(found) == 1:
        return _KINDS[kinds.pop()][4].markdown(found[0])
    if kinds != {"control"}:
        errors.refuse("studies", ", ".join(map(str, paths)), "one study, or several of control")
    return tasks.markdown(found)


def _study(path: str | Path) -> Path:
    found = results(path)
    study = found.study
    _, _, plots, report, _ = _KINDS[study.content["kind"]]
    for name, table in report.tables(found).items():
        files.write_atomically(study.path / name, table)
    tidy.write(study.units, study.path)
    return page.write(as_run(study), report.content(found, picture.write(plots.charts(found), study.path / "plots")))
