"""Cells of the tables of the pages: files below results/, numbers, intervals."""

import csv
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
Row = dict[str, str]


def rows(file: str) -> list[Row]:
    """The lines of a CSV file below results/."""
    with open(RESULTS / file, newline="") as opened:
        return list(csv.DictReader(opened))


def markdown(head: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, body)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def number(value: str | float, digits: int = 3) -> str:
    """A number to so many significant digits, with commas; `never` for infinity, a dash for nothing."""
    if value == "" or float(value) != float(value):
        return "-"
    value = float(value)
    if value == float("inf"):
        return "never"
    places = max(0, digits - len(str(int(abs(value)))))
    return f"{value:,.{places}f}" if abs(value) >= 0.005 or value == 0 else f"{value:.1g}"


def ratio(row: Row | None, name: str = "ratio") -> str:
    """`1.32 (1.11 .. 3.26)`: the median over rounds with the 10 % and 90 % quantiles."""
    if row is None or not row.get(name):
        return "-"
    return f"{number(row[name])} ({number(row[f'{name}_low'])} .. {number(row[f'{name}_high'])})"


def interval(row: Row, name: str) -> str:
    """`0.99 [0.79, 1.00]`: an estimate with its 95 % interval."""
    low, high = row.get(f"{name}_low", ""), row.get(f"{name}_high", "")
    return number(row[name]) + (f" [{number(low)}, {number(high)}]" if low and high else "")


def points(row: Row, digits: int = 1) -> str:
    """A difference in points with its interval."""
    point, low, high = (f"{100 * float(row[name]):+.{digits}f}" for name in ("difference", "low", "high"))
    return f"{point} [{low}, {high}]"
