"""From what a chunk reports to rows of metrics and to the words of a NaN stop."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxpsn.run.chunk import ChunkReport

FIRST = (
    "return", "length", "sigma", "distance", "target", "critic_loss", "actor_loss", "q", "reward", "noise_kl_k1",
    "indicator", "similarity", "certainty", "loss", "entropy", "eval_return", "eval_length", "eval_pass_at_1",
)  # fmt: skip
"""Columns that come first, in this order; all others follow by name."""

Row = dict[str, Any]


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))


def columns(metrics: Iterable[str], evaluation: Iterable[str], updates: bool) -> tuple[str, ...]:
    """The columns of metrics.csv. ``steps_per_second`` counts the steps of all seeds together."""
    ends = ("seconds", "steps_per_second")
    return ("step", "seed", *(["updates"] if updates else []), *_ordered(metrics), *_ordered(evaluation), *ends)


def _number(value: Any) -> float | None:
    value = float(value)
    return None if math.isnan(value) else value


def means(report: ChunkReport) -> dict[str, np.ndarray]:
    """Each metric of a chunk over its calls, [seeds]; NaN where it never was present."""
    found = {}
    for name, (total, count) in report.totals.items():
        total, count = np.atleast_1d(total), np.atleast_1d(count)
        found[name] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return found


def rows(
    step: int,
    seeds: Sequence[int],
    report: ChunkReport | None,
    evaluation: dict[str, Any] | None,
    seconds: float,
    rate: float | None,
) -> list[Row]:
    """One row per seed; what is absent is None."""
    values = {} if report is None else means(report)
    values |= {name: np.atleast_1d(value) for name, value in (evaluation or {}).items()}
    updates = None if report is None or report.updates is None else np.atleast_1d(report.updates)
    made = []
    for index, seed in enumerate(seeds):
        row: Row = {"step": step, "seed": seed}
        if updates is not None:
            row["updates"] = int(updates[index if len(updates) > 1 else 0])
        row |= {name: _number(value[index]) for name, value in values.items()}
        made.append(row | {"seconds": round(seconds, 3), "steps_per_second": rate})
    return made


def averages(rows: Sequence[Row], names: Iterable[str]) -> dict[str, float]:
    """Mean over seeds of those of ``names`` that are present."""
    found = {}
    for name in names:
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            found[name] = sum(values) / len(values)
    return found


def culprits(report: ChunkReport, seeds: Sequence[int], start: int, steps_per_call: int) -> list[str]:
    """For each seed that lost finiteness: its first bad step and what was bad then; empty if all is well.

    ``start`` is the step before the chunk; the step named is the one at whose end the value was first seen.
    """
    found = []
    for index, seed in enumerate(seeds):
        first = {name: int(np.atleast_1d(calls)[index]) for name, calls in report.bad.items()}
        hit = [call for call in first.values() if call >= 0]
        if hit:
            names = [name for name, call in first.items() if call == min(hit)]
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            step = start + (min(hit) + 1) * steps_per_call
            found.append(f"step {step:,}, seed {seed}: {', '.join(names[:4])}{more}")
    return found
