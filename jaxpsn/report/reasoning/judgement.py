"""One evaluation by itself, with nothing to compare it to: as a table, as CSV and as JSON."""

import csv
import io
import json

from jaxpsn.core import text
from jaxpsn.stats import comparison
from jaxpsn.stats.evaluations import Evaluation


def rows(evaluation: Evaluation) -> list[dict[str, float | int | None]]:
    """One row for each k: pass@k with its interval; None is no interval."""
    curve = evaluation.curve
    points = (comparison.point(curve.band, index) for index in range(len(curve.ks)))
    return [
        {"k": k} | dict(zip(("value", "low", "high"), point, strict=True))
        for k, point in zip(curve.ks, points, strict=True)
    ]


def table(evaluation: Evaluation) -> str:
    """A table in plain columns for a terminal, ending in a newline."""
    cells = [(f"pass@{row['k']}", text.interval(row["value"], row["low"], row["high"])) for row in rows(evaluation)]
    for name, band, digits in (
        ("distinct solutions", evaluation.mean_distinct(), 2),
        ("share of all solutions", evaluation.share_of_solutions(), 3),
    ):
        if band is not None:
            cells.append((name, text.interval(*comparison.point(band, 0), digits=digits)))
    width = max(len(name) for name, _ in cells)
    lines = [f"{name:{width}}  {shown}" for name, shown in cells]
    total = len(evaluation.ids)
    title = f"{evaluation.label}: {total} problems of {evaluation.task}, {evaluation.n} answers to each"
    solved = f"Solved at least once: {int((evaluation.correct > 0).sum())} of {total}."
    reading = "In brackets: 95 % bootstrap intervals over problems."
    return "\n".join((title, "", *lines, "", solved, *evaluation.curve.notes, reading)) + "\n"


def csv_text(evaluation: Evaluation) -> str:
    """The rows as CSV; an empty cell is no interval."""
    found, file = rows(evaluation), io.StringIO()
    writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return file.getvalue()


def json_text(evaluation: Evaluation) -> str:
    """The rows, and what was judged and how, as JSON."""
    content = {"policy": comparison.about(evaluation), "pass_at_k": rows(evaluation)}
    return json.dumps(content | {"notes": evaluation.curve.notes}, indent=2, allow_nan=False) + "\n"
