"""What the contenders did, as rows of a table: times per environment step, and returns at equal time."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from benchmarks import timing
from benchmarks.peers_worker import Report

STEPS = 1000
"""A row's ``seconds`` are those of so many environment steps."""

Row = dict[str, Any]


class Run(NamedTuple):
    """One seed of one contender: the report before training, that of the first chunk, and one for every round.

    The first chunk holds the warm-up and what was compiled for it, so its time tells no speed. Rounds are those of all
    contenders: who has trained long enough sits them out, and has fewer reports.
    """

    name: str
    seed: int
    reports: list[Report]


class Curve(NamedTuple):
    """Returns of a run over its time of training; before training first."""

    seconds: Float[np.ndarray, " reports"]
    steps: Float[np.ndarray, " reports"]
    score: Float[np.ndarray, " reports"]


def paces(run: Run) -> Float[np.ndarray, " rounds"]:
    """Seconds of an environment step in every round."""
    return np.array([report.seconds / report.steps for report in run.reports[2:]])


def curve(run: Run) -> Curve:
    """The run's returns over time, its first chunk charged like a median one: the warm-up learns nothing."""
    reports = run.reports
    seconds = np.array([report.seconds for report in reports])
    seconds[1] = np.median(seconds[2:])
    return Curve(
        np.cumsum(seconds), np.cumsum([float(report.steps) for report in reports]), np.array([r.score for r in reports])
    )


def at(found: Curve, seconds: float) -> float:
    """The return after ``seconds`` of training, on the line between the evaluations before and after."""
    return float(np.interp(seconds, found.seconds, found.score))


def rows(part: str, runs: Mapping[str, Sequence[Run]]) -> list[Row]:
    """A row for every contender of ``part``, name -> its seeds; the first is what the others are compared with.

    ``seconds``: median of 1000 environment steps; ``ratio``: to the first, round by round; ``return`` and
    ``return_half``: mean over seeds at ``return_seconds`` of training, the longest that all have, and at half of it.
    """
    first = next(iter(runs))
    curves = {name: [curve(run) for run in of] for name, of in runs.items()}
    most = min(each.seconds[-1] for of in curves.values() for each in of)
    found = []
    for name, of in runs.items():
        pace = np.concatenate([paces(run) for run in of])
        ours, theirs = _paired(runs[first], of)
        ratio = timing.ratio(theirs, ours)
        scores = [at(each, most) for each in curves[name]]
        found.append(
            {
                "part": part,
                "name": name,
                "seconds": STEPS * float(np.median(pace)),
                "ratio": ratio.median,
                "ratio_low": ratio.low,
                "ratio_high": ratio.high,
                "best": float(np.min(theirs) / np.min(ours)),
                "steps_per_second": float(1 / np.median(pace)),
                "updates_per_second": _updates_per_second(of),
                "compile_seconds": of[0].reports[1].compile_seconds,
                "first_chunk_seconds": of[0].reports[1].wall,
                "peak_bytes": max(report.peak_bytes for run in of for report in run.reports),
                "return_seconds": float(most),
                "return": float(np.mean(scores)),
                "return_low": min(scores),
                "return_high": max(scores),
                "return_half": float(np.mean([at(each, most / 2) for each in curves[name]])),
                "steps": float(np.mean([np.interp(most, each.seconds, each.steps) for each in curves[name]])),
                "rounds": len(ours),
                "seeds": len(of),
            }
        )
    return found


def points(runs: Mapping[str, Sequence[Run]]) -> list[Row]:
    """The returns over time of every run, as they go into the JSON file."""
    told = []
    for name, of in runs.items():
        for run in of:
            columns = {column: values.tolist() for column, values in curve(run)._asdict().items()}
            told.append({"name": name, "seed": run.seed} | columns)
    return told


def _paired(ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Seconds a step of two contenders in the rounds that both took part in, over all seeds."""
    pairs = [(paces(a), paces(b)) for a, b in zip(ours, theirs, strict=True)]
    both = [(a[: len(b)], b[: len(a)]) for a, b in pairs]
    return np.concatenate([a for a, _ in both]), np.concatenate([b for _, b in both])


def _updates_per_second(runs: Sequence[Run]) -> float:
    later = [report for run in runs for report in run.reports[2:]]
    return float(np.median([report.updates / report.seconds for report in later]))
