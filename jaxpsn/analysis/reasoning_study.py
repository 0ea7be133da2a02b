"""A reasoning study on one page: tables, plots and ``report.html`` from the folder of several arms, finished or not.

``python -m jaxpsn.analysis.reasoning_study STUDY`` builds them; with ``--markdown`` it prints the table of the
judgement and the paper's pattern instead.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from jaxpsn import files
from jaxpsn.analysis import (
    page,
    reasoning_study_folder,
    reasoning_study_plots,
    reasoning_study_report,
    reasoning_study_scores,
    reasoning_study_tables,
    reasoning_study_words,
    study_page,
)
from jaxpsn.analysis.reasoning_study_scores import Results


def build(folder: str | Path) -> Path:
    """Write ``table.csv``, ``contrasts.csv``, ``hypotheses.csv``, ``plots/*.png`` and ``report.html`` of a study.

    Returns the page's path. Only complete seeds count; what is missing is said. Raises UserError, in one line, if the
    folder holds no readable ``study.json`` or evaluations that cannot be compared.
    """
    results = _results(folder)
    path = results.study.path
    files.write_atomically(path / "table.csv", reasoning_study_tables.table(results))
    files.write_atomically(path / "contrasts.csv", reasoning_study_tables.contrasts(results))
    files.write_atomically(path / "hypotheses.csv", reasoning_study_tables.hypotheses(results))
    written = reasoning_study_plots.write(results, path / "plots")
    return page.write(reasoning_study_report.as_run(results), reasoning_study_report.content(results, written))


def markdown(folder: str | Path) -> str:
    """The table of the judgement and the paper's pattern in Markdown. Raises UserError as ``build``."""
    return reasoning_study_words.markdown(_results(folder))


def _results(folder: str | Path) -> Results:
    return reasoning_study_scores.compute(reasoning_study_folder.read(folder))


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the report of the study named on the command line; a user's mistake is one line and status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return study_page.serve(arguments, build, lambda folders: markdown(folders[0]), several=False)


if __name__ == "__main__":
    sys.exit(main())
