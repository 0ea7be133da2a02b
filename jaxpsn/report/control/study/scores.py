"""The numbers of a study: per seed, per arm with intervals, between arms; and the two tables they are written to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpsn.report.control.study.folder import Arm, Study
from jaxpsn.report.runs import Run, Series
from jaxpsn.report.study import tidy
from jaxpsn.stats import statistics
from jaxpsn.stats.hypotheses import METRICS, Hypothesis
from jaxpsn.stats.statistics import Estimate

LAST = 3
"""Evaluations of a seed, its last ones, whose mean is its final return."""


@dataclass(frozen=True)
class Scores:
    """One arm, seed by seed [s]; None was not recorded, NaN is a seed without a value, inf a time never reached."""

    end: float
    """Environment steps made by each seed."""
    final: Float[np.ndarray, "s"] | None
    area: Float[np.ndarray, "s"] | None
    first_reward: Float[np.ndarray, "s"] | None
    solved: Float[np.ndarray, "s"] | None
    coverage: Float[np.ndarray, "s"] | None
    distance: Float[np.ndarray, "s"] | None


class Row(NamedTuple):
    """One arm in the final table; None is unknown, or not to be compared."""

    arm: Arm
    scores: Scores | None
    final: Estimate | None = None
    area: Estimate | None = None
    improvement: Estimate | None = None
    """Probability that a run of the study's first arm ends above one of this arm."""
    first_reward: Estimate | None = None
    rewarded: Estimate | None = None
    """Share of seeds that ever saw a reward."""
    threshold: Estimate | None = None
    solved: Estimate | None = None
    """Share of seeds that ever reached the threshold."""
    coverage: Estimate | None = None
    distance: Estimate | None = None


class Pair(NamedTuple):
    """How often a run of ``ours`` does better than one of ``theirs``; a tie counts one half."""

    ours: str
    theirs: str
    of: str
    """final return, area, first reward or threshold."""
    estimate: Estimate


@dataclass(frozen=True)
class Results:
    """All numbers of a study; ``rows`` has one for each arm, ``pairs`` one for each ordered pair and measure."""

    study: Study
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]

    @property
    def ranked(self) -> tuple[Row, ...]:
        """The finished arms with a final return, best first."""
        found = [row for row in self.rows if row.arm.finished and row.final is not None]
        return tuple(sorted(found, key=lambda row: -row.final.value if row.final else 0.0))

    def pair(self, ours: str, theirs: str, of: str = "final return") -> Estimate | None:
        """The estimate of one pair, None where it is not known."""
        return next((one.estimate for one in self.pairs if (one.ours, one.theirs, one.of) == (ours, theirs, of)), None)

    def difference(self, asked: Hypothesis) -> Estimate | None:
        """P(a run of ``asked.ours`` does better than one of ``theirs``) less one half; None until both are finished."""
        found = self.pair(asked.ours, asked.theirs, METRICS["control"][asked.metric])
        if found is None:
            return None
        low, high = (None if end is None else end - 0.5 for end in (found.low, found.high))
        return Estimate(found.value - 0.5, low, high, found.runs)


def compute(study: Study) -> Results:
    """Every number of ``study``. Only finished arms are compared with each other."""
    scores = {arm.label: score(arm.run, study.threshold) for arm in study.arms if arm.run is not None}
    compared = [arm.label for arm in study.arms if arm.finished]
    pairs = tuple(_pairs(compared, scores))
    first = study.arms[0].label
    against = {pair.theirs: pair.estimate for pair in pairs if (pair.ours, pair.of) == (first, "final return")}
    rows = tuple(_row(arm, scores.get(arm.label), against.get(arm.label)) for arm in study.arms)
    return Results(study, rows, pairs)


def score(run: Run, threshold: float | None) -> Scores:
    """The numbers of each seed of ``run``; a seed is solved at its first evaluation of at least ``threshold``."""
    returns = run.series("eval_return")
    return Scores(
        end=float(run.columns["step"].max()),
        final=None if returns is None else _per_seed(returns, lambda steps, values: values[-LAST:].mean()),
        area=None if returns is None else _per_seed(returns, _mean_over_steps),
        first_reward=_first_value(run, "first_reward"),
        solved=None if returns is None or threshold is None else reached(returns, threshold),
        coverage=_last_value(run, "coverage"),
        distance=_mean_value(run, "action_distance"),
    )


def reached(returns: Series, threshold: float) -> Float[np.ndarray, "s"]:
    """Step of the first evaluation of each seed whose return is at least ``threshold``; inf if there is none."""
    above = np.nan_to_num(returns.values, nan=-np.inf) >= threshold
    return np.where(above.any(axis=1), returns.steps[above.argmax(axis=1)], np.inf)


def _per_seed(series: Series, number: Callable[[Any, Any], Any]) -> Float[np.ndarray, "s"]:
    """``number(steps, values)`` of what each seed has, NaN where it has nothing."""
    masks = np.isfinite(series.values)
    rows = zip(series.values, masks, strict=True)
    return np.array([float(number(series.steps[seen], row[seen])) if seen.any() else np.nan for row, seen in rows])


def _mean_over_steps(steps: Float[np.ndarray, "t"], values: Float[np.ndarray, "t"]) -> float:
    """The area under a curve over its length, by the trapezoidal rule."""
    return float(np.trapezoid(values, steps) / np.ptp(steps)) if len(steps) > 1 else float(values[0])


def _first_value(run: Run, name: str) -> Float[np.ndarray, "s"] | None:
    """The first value of a metric that is blank before something happened; inf where it stays blank."""
    if name not in run.columns:
        return None
    series = run.series(name)
    if series is None:
        return np.full(len(run.seeds), np.inf)
    found = _per_seed(series, lambda steps, values: values[0])
    return np.where(np.isnan(found), np.inf, found)


def _last_value(run: Run, name: str) -> Float[np.ndarray, "s"] | None:
    series = run.series(name)
    return None if series is None else _per_seed(series, lambda steps, values: values[-1])


def _mean_value(run: Run, name: str) -> Float[np.ndarray, "s"] | None:
    series = run.series(name)
    return None if series is None else _per_seed(series, lambda steps, values: values.mean())


def _row(arm: Arm, scores: Scores | None, improvement: Estimate | None) -> Row:
    if scores is None:
        return Row(arm, None)
    return Row(
        arm,
        scores,
        final=_iqm(scores.final),
        area=_iqm(scores.area),
        improvement=improvement,
        first_reward=None if scores.first_reward is None else statistics.median_time(scores.first_reward),
        rewarded=None if scores.first_reward is None else statistics.share(np.isfinite(scores.first_reward)),
        threshold=None if scores.solved is None else statistics.median_time(scores.solved),
        solved=None if scores.solved is None else statistics.share(np.isfinite(scores.solved)),
        coverage=_iqm(scores.coverage),
        distance=_iqm(scores.distance),
    )


def _iqm(values: Float[np.ndarray, "s"] | None) -> Estimate | None:
    known = () if values is None else values[np.isfinite(values)]
    return statistics.bootstrap(known) if len(known) else None


def _pairs(labels: Sequence[str], scores: dict[str, Scores]) -> Iterator[Pair]:
    """Every ordered pair in every measure that both have; a sooner time is better, never is worst."""
    for ours in labels:
        for theirs in labels:
            if ours != theirs:
                for of, mine, other in _measures(scores[ours], scores[theirs]):
                    yield Pair(ours, theirs, of, statistics.probability_of_improvement(mine, other))


def _measures(ours: Scores, theirs: Scores) -> Iterator[tuple[str, Any, Any]]:
    late = max(ours.end, theirs.end) + 1.0
    for of, mine, other in (
        ("final return", ours.final, theirs.final),
        ("area", ours.area, theirs.area),
        ("first reward", ours.first_reward, theirs.first_reward),
        ("threshold", ours.solved, theirs.solved),
    ):
        if mine is None or other is None:
            continue
        mine, other = mine[~np.isnan(mine)], other[~np.isnan(other)]
        if of in ("first reward", "threshold"):
            mine, other = -np.minimum(mine, late), -np.minimum(other, late)
        if mine.size and other.size:
            yield of, mine, other


_ESTIMATES = ("final", "area", "improvement", "solved", "rewarded", "first_reward", "threshold", "coverage", "distance")


def table_csv(results: Results) -> str:
    """One row for each arm: value, low and high of every number; blank is unknown, inf a time never reached."""
    columns = ["arm", "status", "spec", "scale_field", "scale", "tuned", "seeds", "steps"]
    columns += [f"{name}{end}" for name in _ESTIMATES for end in ("", "_low", "_high")] + ["seconds"]
    return tidy.csv_text(columns, (_cells(row) for row in results.rows))


def _cells(row: Row) -> list[Any]:
    arm, scale = row.arm, row.arm.scale or {}
    seeds = "" if arm.run is None else len(arm.run.seeds)
    cells = [arm.label, arm.told.status, arm.spec, scale.get("field"), scale.get("value"), scale.get("tuned"), seeds]
    cells.append(None if row.scores is None else row.scores.end)
    for name in _ESTIMATES:
        estimate = getattr(row, name)
        cells += [None] * 3 if estimate is None else list(estimate[:3])
    return [*cells, arm.told.seconds]


def pairs_csv(results: Results) -> str:
    """One row for each ordered pair of finished arms and each measure."""
    columns = ["ours", "theirs", "of", "probability", "low", "high", "runs"]
    return tidy.csv_text(columns, ((pair.ours, pair.theirs, pair.of, *pair.estimate) for pair in results.pairs))
