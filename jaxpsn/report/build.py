"""The report of a run: one HTML page that holds its key numbers, plots, samples or rollout, events and config.

``python -m jaxpsn.report.build RUN`` writes ``plots/*.png`` and ``report.html`` into a run folder, of either home.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from jaxpsn.core import errors
from jaxpsn.report import page, runs
from jaxpsn.report.control import page as control_report
from jaxpsn.report.reasoning import folder
from jaxpsn.report.reasoning import page as reasoning_report
from jaxpsn.stats import evaluations


def build(run_folder: str | Path) -> Path:
    """Write the plots and ``report.html`` of a run folder; returns the page's path.

    A reasoning run is known by its evaluations, its samples or its config; any other is one of control, whose rollout
    gets a page of its own (``rollout.html``). Raises UserError if the folder holds no readable metrics (a reasoning
    run may have evaluations alone); a missing or broken rollout, evaluation or log only leaves its section saying so.
    """
    judged = any((Path(run_folder) / evaluations.FOLDER).glob("*.json"))
    run = runs.read(run_folder, metrics=not judged)
    content = reasoning_report.content if folder.recognises(run) else control_report.content
    return page.write(run, content(run))


def main(arguments: list[str] | None = None) -> int:
    """Build the report of the run folder named on the command line; a user's mistake is one line and status 2."""
    return page.answer(_answer, sys.argv[1:] if arguments is None else arguments)


def _answer(arguments: Sequence[str]) -> str:
    if len(arguments) != 1:
        errors.refuse("arguments", " ".join(arguments), "one run folder: python -m jaxpsn.report.build RUN")
    return f"{build(arguments[0])}\n"


if __name__ == "__main__":
    sys.exit(main())
