"""A reasoning study on one page: tables, plots and ``report.html`` from the folder of several arms, finished or not.

``python -m jaxpsn.report.reasoning_study.build STUDY`` builds them; with ``--markdown`` it prints the table of the
judgement and the paper's pattern instead.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from jaxpsn.core import files
from jaxpsn.report import page
from jaxpsn.report.reasoning_study import folder as reasoning_study_folder
from jaxpsn.report.reasoning_study import plots, report, scores, tables, words
from jaxpsn.report.reasoning_study.scores import Results
from jaxpsn.report.study import page as study_page


def build(folder: str | Path) -> Path:
    """Write ``table.csv``, ``contrasts.csv``, ``hypotheses.csv``, ``plots/*.png`` and ``report.html`` of a study.

    Returns the page's path. Only complete seeds count; what is missing is said. Raises UserError, in one line, if the
    folder holds no readable ``study.json`` or evaluations that cannot be compared.
    """
    results = _results(folder)
    path = results.study.path
    files.write_atomically(path / "table.csv", tables.table(results))
    files.write_atomically(path / "contrasts.csv", tables.contrasts(results))
    files.write_atomically(path / "hypotheses.csv", tables.hypotheses(results))
    written = plots.write(results, path / "plots")
    return page.write(report.as_run(results), report.content(results, written))


def markdown(folder: str | Path) -> str:
    """The table of the judgement and the paper's pattern in Markdown. Raises UserError as ``build``."""
    return words.markdown(_results(folder))


def _results(folder: str | Path) -> Results:
    return scores.compute(reasoning_study_folder.read(folder))


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the report of the study named on the command line; a user's mistake is one line and status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return study_page.serve(arguments, build, lambda folders: markdown(folders[0]), several=False)


if __name__ == "__main__":
    sys.exit(main())
