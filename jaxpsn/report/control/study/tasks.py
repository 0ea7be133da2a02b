"""The same arms on several tasks: each task's final return, and an aggregate over tasks of normalised returns."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpsn.core import errors
from jaxpsn.report.control.study import words
from jaxpsn.report.control.study.scores import Results, Row
from jaxpsn.report.study.words import interval
from jaxpsn.stats import statistics


def markdown(studies: Sequence[Results]) -> str:
    """A table in Markdown: arms by studies, with the aggregate IQM over the arms that are finished in all of them.

    A seed's final return is divided by the best arm's IQM in its study; a study in which no arm's is above zero cannot
    be normalised so, and is left out of the aggregate. Intervals are stratified: seeds are drawn within each study.
    Raises UserError for less than two studies.
    """
    if len(studies) < 2:
        errors.refuse("studies", len(studies), "at least two")
    labels = list(dict.fromkeys(arm.label for results in studies for arm in results.study.arms))
    scaled = [(results, best) for results in studies if (best := _best(results)) > 0]
    scores = {label: _normalised(label, scaled) for label in labels}
    first = labels[0]
    head = ["arm", *(_name(results) for results in studies), "all, normalised", f"P({first} ends above)"]
    lines = [head, ["---"] * len(head)]
    for label in labels:
        cells = [_cell(_row(results, label)) for results in studies]
        lines.append([label, *cells, _aggregate(scores[label]), _against(label, first, scores)])
    table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
    return f"{table}\n\n{' '.join(_notes(studies, scaled, scores))}\n"


def _name(results: Results) -> str:
    return f"{results.study.task} ({results.study.name})"


def _row(results: Results, label: str) -> Row | None:
    return next((row for row in results.rows if row.arm.label == label and row.arm.finished), None)


def _best(results: Results) -> float:
    """The highest IQM of the final return in a study; 0 where there is none."""
    return max((row.final.value for row in results.ranked if row.final is not None), default=0.0)


def _normalised(label: str, scaled: Sequence[tuple[Results, float]]) -> Float[np.ndarray, "s t"] | None:
    """Final returns over the best [seeds, studies] of an arm finished in all; as many seeds as the fewest."""
    columns = []
    for results, best in scaled:
        row = _row(results, label)
        if row is None or row.scores is None or row.scores.final is None:
            return None
        columns.append(row.scores.final[np.isfinite(row.scores.final)] / best)
    fewest = min((len(column) for column in columns), default=0)
    return np.stack([column[:fewest] for column in columns], axis=1) if fewest else None


def _cell(row: Row | None) -> str:
    if row is None or row.final is None:
        return "-"
    solved = "" if row.solved is None else f", {words.hits(row.solved)}/{row.solved.runs} solve"
    return f"{interval(row.final)}{solved}"


def _aggregate(scores: Any) -> str:
    return "-" if scores is None else words.share(statistics.bootstrap(scores))


def _against(label: str, first: str, scores: dict[str, Any]) -> str:
    ours, theirs = scores[first], scores[label]
    if label == first or ours is None or theirs is None:
        return "-"
    return words.share(statistics.probability_of_improvement(ours, theirs))


def _notes(
    studies: Sequence[Results], scaled: Sequence[tuple[Results, float]], scores: dict[str, Any]
) -> Iterator[str]:
    yield (
        "Cells: interquartile mean of the final return with its 95 % bootstrap interval. All, normalised: the same over"
        " all seeds of all tasks, each divided by the best arm's IQM on its task; seeds are drawn within each task."
    )
    left = [_name(results) for results in studies if _best(results) <= 0]
    if left:
        yield f"Not in the aggregate, as no arm's return is above zero: {', '.join(left)}."
    absent = [label for label, found in scores.items() if found is None]
    if absent and scaled:
        yield f"Not aggregated, as not finished on every task: {', '.join(absent)}."
    uneven = {
        len(row.arm.run.seeds)
        for results, _ in scaled
        for row in results.rows
        if row.arm.label not in absent and row.arm.run is not None
    }
    if len(uneven) > 1:
        yield f"Seeds differ between tasks: the first {min(uneven)} of each count in the aggregate."
