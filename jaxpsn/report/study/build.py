"""A study on one page: tables, plots and ``report.html`` from the folder of several arms, finished or not.

``python -m jaxpsn.report.study.build STUDY`` builds them; with ``--markdown`` it prints the final table instead, and
that of several studies if several are named.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from jaxpsn.core import files
from jaxpsn.report import page
from jaxpsn.report.study import folder as study_folder
from jaxpsn.report.study import page as study_page
from jaxpsn.report.study import plots, report, scores, tasks, words


def build(folder: str | Path) -> Path:
    """Write ``table.csv``, ``pairs.csv``, ``plots/*.png`` and ``report.html`` of a study; returns the page's path.

    Arms that are missing, unfinished or failed are said to be so and left out of every comparison. Raises UserError if
    the folder holds no readable ``study.json``.
    """
    results = scores.compute(study_folder.read(folder))
    path = results.study.path
    files.write_atomically(path / "table.csv", scores.table_csv(results))
    files.write_atomically(path / "pairs.csv", scores.pairs_csv(results))
    written = plots.write(results, path / "plots")
    return page.write(report.as_run(results.study), report.content(results, written))


def markdown(folder: str | Path) -> str:
    """The final table of a study in Markdown, with a line on what its numbers are. Raises UserError as ``build``."""
    return words.markdown(scores.compute(study_folder.read(folder)))


def combine(folders: Sequence[str | Path]) -> str:
    """Several studies of the same arms in Markdown: each task, and an aggregate over tasks of normalised returns.

    See :func:`jaxpsn.report.study.tasks.markdown`. Raises UserError as ``build``, and for less than two folders.
    """
    return tasks.markdown([scores.compute(study_folder.read(folder)) for folder in folders])


def main(arguments: list[str] | None = None) -> int:
    """Build the report of the study named on the command line; a user's mistake is one line and status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return study_page.serve(arguments, build, _printed, several=True)


def _printed(folders: Sequence[str]) -> str:
    return markdown(folders[0]) if len(folders) == 1 else combine(folders)


if __name__ == "__main__":
    sys.exit(main())
