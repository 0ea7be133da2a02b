"""The command of reports: build that of a run or a study, print a study's table, or compare folders side by side.

``python -m jaxpsn.report FOLDER`` writes ``report.html`` into a run or a study. With ``--markdown`` it prints the final
table of a study instead, and for several studies of control each task with an aggregate over tasks. Two or more folders
are compared side by side, their configs first, in a folder of their own (``--out``). ``--pack`` writes the raw rows of
a study as one file, to be published with its tables; the report can be made again from it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jaxpsn.core import errors


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line of ours."""

    def error(self, message: str) -> NoReturn:
        errors.refuse("arguments", message, "FOLDER... [--markdown] [--pack] [--out DIR] [--overwrite]; see --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its status. A user's mistake is one line and status 2."""
    try:
        print(_answer(_parsed(arguments)), end="")
    except errors.UserError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename}: cannot be written ({error.strerror})", file=sys.stderr)
        return 2
    return 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m jaxpsn.report", description=__doc__, formatter_class=argparse.RawTextHelpFormatter,
                     allow_abbrev=False)  # fmt: skip
    parser.add_argument("folders", nargs="+", metavar="FOLDER", type=Path, help="a run or a study")
    parser.add_argument("--markdown", action="store_true", help="print the final table of studies")
    parser.add_argument("--pack", action="store_true", help="put the raw rows of studies into one file, raw.tar.gz")
    parser.add_argument("--out", type=Path, help="where a comparison is written (default: report-NAME-NAME...)")
    parser.add_argument("--help-all", action="help", help="show this text and end")
    parser.add_argument("--overwrite", action="store_true", help="replace a comparison that is there")
    found = parser.parse_args(arguments)
    alone = len(found.folders) == 1 or found.markdown or found.pack
    if alone and (found.out is not None or found.overwrite):
        errors.refuse("out" if found.out else "overwrite", found.out or True, "a comparison of two or more folders")
    return found


def _answer(found: argparse.Namespace) -> str:
    from jaxpsn.report import build, compare
    from jaxpsn.report.study import raw

    if found.pack:
        return "".join(f"{raw.pack(path)}\n" for path in found.folders)
    if found.markdown:
        return build.markdown(found.folders)
    if len(found.folders) == 1:
        return f"{build.build(found.folders[0])}\n"
    return f"{compare.compare(found.folders, found.out, overwrite=found.overwrite)}\n"
