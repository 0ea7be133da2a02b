"""Two evaluations on the same problems, compared problem by problem: as a table, as CSV and as JSON."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxpsn.core import errors, text
from jaxpsn.stats import pass_at_k, statistics
from jaxpsn.stats.evaluations import Evaluation
from jaxpsn.stats.pass_at_k import Curve
from jaxpsn.stats.statistics import Band

_NAMED = 3  # problems that an error names


@dataclass(frozen=True)
class Comparison:
    """``ours`` against ``theirs``, paired by problem; ``ours`` has its problems in the order of ``theirs``.

    ``distinct``: difference [1] of the distinct right solutions of a problem, None where they are unknown or the
    numbers of answers differ. ``gained``: ids solved by ours alone, ``lost``: by theirs alone. ``notes``: what differs
    in how the two were sampled, and what was left out.
    """

    ours: Evaluation
    theirs: Evaluation
    our_curve: Curve
    their_curve: Curve
    difference: Curve
    distinct: Band | None
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    notes: tuple[str, ...]

    def rows(self) -> list[dict[str, float | int | None]]:
        """One row for each k: the two means and their difference, each with its interval; None is no interval."""
        columns = (("ours", self.our_curve), ("theirs", self.their_curve), ("difference", self.difference))
        rows = []
        for index, k in enumerate(self.difference.ks):
            row: dict[str, float | int | None] = {"k": k}
            for name, curve in columns:
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), point(curve.band, index), strict=True))
            rows.append(row)
        return rows

    def table(self) -> str:
        """A table in plain columns for a terminal, ending in a newline."""
        ours, theirs = self.ours, self.theirs
        head = ("", theirs.label, ours.label, "difference")
        cells = [head, *(_cells(f"pass@{row['k']}", row) for row in self.rows())]
        cells += [more for more in (self._distinct(), self._shares()) if more is not None]
        widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        title = f"{ours.label} against {theirs.label}: {len(ours.ids)} problems of {ours.task}"
        solved = f"Solved by {ours.label} alone: {len(self.gained)}. By {theirs.label} alone: {len(self.lost)}."
        reading = "In brackets: 95 % bootstrap intervals over problems; the difference is paired."
        return "\n".join((title, "", *lines, "", solved, *self.notes, reading)) + "\n"

    def _distinct(self) -> tuple[str, ...] | None:
        sides = self.theirs.mean_distinct(), self.ours.mean_distinct()
        if self.distinct is None or None in sides:
            return None
        shown = (text.interval(*point(band, 0), digits=2) for band in sides)
        return "distinct solutions", *shown, text.interval(*point(self.distinct, 0), digits=2, signed=True)

    def _shares(self) -> tuple[str, ...] | None:
        sides = self.theirs.share_of_solutions(), self.ours.share_of_solutions()
        if self.distinct is None or None in sides:
            return None
        return "share of all solutions", *(text.interval(*point(band, 0)) for band in sides), ""

    def csv(self) -> str:
        """The rows as CSV; an empty cell is no interval."""
        rows, file = self.rows(), io.StringIO()
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return file.getvalue()

    def json(self) -> str:
        """The rows, who was compared and how, distinct solutions and the problems gained and lost, as JSON."""
        content = {
            "ours": about(self.ours),
            "theirs": about(self.theirs),
            "pass_at_k": self.rows(),
            "distinct_difference": None if self.distinct is None else point(self.distinct, 0),
            "gained": self.gained,
            "lost": self.lost,
            "notes": self.notes,
        }
        return json.dumps(content, indent=2, allow_nan=False) + "\n"


def compare(ours: Evaluation, theirs: Evaluation, ks: Sequence[int] = pass_at_k.KS) -> Comparison:
    """Compare two evaluations on the same problems, matched by id.

    Raises UserError, naming the two and the counts, where the problems are not the same.
    """
    refuse_other_problems(ours, theirs)
    ours = ours.select(theirs.ids)
    mine, other = (ours.correct, ours.samples), (theirs.correct, theirs.samples)
    difference = pass_at_k.difference(mine, other, ks)
    equal = np.array_equal(ours.samples, theirs.samples)
    known = equal and not np.isnan(ours.distinct - theirs.distinct).any()
    gained, lost = (ours.correct > 0) & (theirs.correct == 0), (theirs.correct > 0) & (ours.correct == 0)
    return Comparison(
        ours=ours,
        theirs=theirs,
        our_curve=pass_at_k.curve(*mine, difference.ks),
        their_curve=pass_at_k.curve(*other, difference.ks),
        difference=difference,
        distinct=statistics.mean_curve((ours.distinct - theirs.distinct)[:, None]) if known else None,
        gained=tuple(np.array(theirs.ids, object)[gained]),
        lost=tuple(np.array(theirs.ids, object)[lost]),
        notes=(*difference.notes, *unlike(ours, theirs)),
    )


def point(band: Band, index: int) -> tuple[float, float | None, float | None]:
    """Value and interval of one point of a band; None where there is no interval."""
    value, low, high = (float(part[index]) for part in band)
    return (value, None, None) if np.isnan(low) else (value, low, high)


def refuse_other_problems(ours: Evaluation, theirs: Evaluation) -> None:
    """Raise UserError, naming the two and the counts, where two evaluations are not on the same problems."""
    mine, other = set(ours.ids), set(theirs.ids)
    if mine != other:
        counts = (
            f"{ours.label} has {len(mine)} problems, {theirs.label} {len(other)}, {len(mine & other)} of them shared"
        )
        raise errors.UserError(f"{counts}; {_named(ours, mine - other)}{_named(theirs, other - mine)}".rstrip(" ;"))
    prompts = dict(zip(ours.ids, ours.prompts, strict=True))
    changed = [name for name, prompt in zip(theirs.ids, theirs.prompts, strict=True) if prompts[name] != prompt]
    if changed:
        both = f"{ours.label} and {theirs.label}"
        raise errors.UserError(f"{both}: {len(changed)} problems have another prompt, such as {_short(changed[0])}")


def _named(who: Evaluation, ids: Iterable[str]) -> str:
    shown = sorted(ids)
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return f"only in {who.label}: {', '.join(map(_short, shown[:_NAMED]))}{more}; " if shown else ""


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "...")


def unlike(ours: Evaluation, theirs: Evaluation) -> Iterable[str]:
    """How two evaluations of the same problems, in one order, were sampled, where it differs."""
    pair = f"{ours.label} and {theirs.label}"
    if ours.temperature != theirs.temperature:
        yield f"Sampled at unlike temperatures: {pair} at {ours.temperature:g} and {theirs.temperature:g}."
    if ours.noisy != theirs.noisy:
        yield f"Only {(ours if ours.noisy else theirs).label} was judged with perturbed weights."
    if not np.array_equal(ours.samples, theirs.samples):
        yield f"Unlike numbers of answers ({pair}: {ours.n} and {theirs.n}): distinct solutions are not compared."


def _cells(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    parts = ((side, row[side], row[f"{side}_low"], row[f"{side}_high"]) for side in ("theirs", "ours", "difference"))
    return name, *(text.interval(*values, signed=side == "difference") for side, *values in parts)


def about(evaluation: Evaluation) -> dict[str, Any]:
    """Who was judged and how, as JSON values."""
    fields = ("label", "step", "n", "temperature", "noisy", "task")
    told = {name: getattr(evaluation, name) for name in fields} | {"problems": len(evaluation.ids)}
    for name, band in (("distinct", evaluation.mean_distinct()), ("share", evaluation.share_of_solutions())):
        told[name] = None if band is None else point(band, 0)
    return told
