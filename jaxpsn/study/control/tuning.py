"""The choice of an arm's scale, by runs whose seeds are not reported."""

import json
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpsn.core import files, shapes
from jaxpsn.report import runs
from jaxpsn.run import folder, startup, status, sweep
from jaxpsn.stats import statistics
from jaxpsn.study.control import experiment, record, stages
from jaxpsn.study.control.arms import Arm
from jaxpsn.study.control.stages import Ended

LAST = 3
"""Evaluations at the end of a run whose mean is its final return."""


class Trials(NamedTuple):
    """What became of V values with S seeds each."""

    final: Float[np.ndarray, "v s"]
    """Mean return of the last evaluations."""
    first_reward: Float[np.ndarray, "v s"]
    """Environment steps up to the first reward, NaN if there was none."""
    coverage: Float[np.ndarray, "v s"]
    """Distinct states visited by the end, NaN if unknown."""


def choose(trials: Trials, steps: int) -> tuple[int, str]:
    """Index of the best value, and by what it was chosen.

    The largest interquartile mean over seeds of the final return counts; between equal ones the earliest first reward
    (mean over seeds; a seed without one counts as ``steps``), then the largest coverage, then the order.
    """
    final = np.where(np.isnan(trials.final), -np.inf, trials.final)
    first = np.where(np.isnan(trials.first_reward), steps, trials.first_reward)
    coverage = np.where(np.isnan(trials.coverage), 0.0, trials.coverage)
    left = np.arange(len(final))
    scores = (
        ("final return", np.array([float(statistics.iqm(row)) for row in final])),
        ("first reward", -first.mean(axis=1)),
        ("coverage", coverage.mean(axis=1)),
    )
    for by, score in scores:
        best = score[left].max()
        left = left[np.isclose(score[left], best, rtol=1e-6, atol=0.0)]
        if len(left) == 1:
            return int(left[0]), by
    return int(left[0]), "order"


def tune(study: record.Study, arm: Arm, title: str, env: Any) -> tuple[Arm, Ended]:
    """The arm with the scale that its own runs chose, written down, and how they ended.

    All values and seeds are one compiled run; one that was cut off goes on, a choice once made stands.
    """
    config, scale, path = study.config, arm.scale, study.tuning(arm.label)
    choice, ended = shapes.optional(path / record.CHOICE, shapes.CONTROL_CHOICE), Ended(status.DONE, "chosen before")
    if choice is None or choice["values"] != list(scale.grid):
        steps = config.tune_steps or config.steps
        runs_in_all = len(scale.grid) * config.tune_seeds
        run = stages.run_config(study, steps=steps, seed=config.tune_seed, seeds=runs_in_all)
        program = experiment.program(arm.control, steps, env)
        swept = sweep.over(program, scale.field, scale.grid, config.tune_seeds)
        content = folder.plain(arm.control) | {"sweep": {"field": scale.field, "values": list(scale.grid)}}
        ended = stages.stage(path, run, swept, content, f"{title}, tuning")
        if ended.status != status.DONE:
            return arm, ended
        choice = _choice(study, arm, steps)
        files.write_atomically(path / record.CHOICE, json.dumps(choice, indent=2) + "\n")
        told = ", ".join(f"{value:g}: {mean:.4g}" for value, mean in zip(choice["values"], _means(choice), strict=True))
        startup.speak(f"{title}: {scale.field} = {choice['chosen']:g} by {choice['by']} ({told})")
    tuned = arm.scaled(choice["chosen"])
    study.put(tuned)
    stages.drop_checkpoints(study, path)
    return tuned, ended


def _choice(study: record.Study, arm: Arm, steps: int) -> dict[str, Any]:
    """``choice.json``: what was tried, what came of it, and the value taken."""
    values, seeds = arm.scale.grid, study.config.tune_seeds
    first = np.arange(study.config.tune_seed, study.config.tune_seed + len(values) * seeds)
    trials = _trials(runs.read(study.tuning(arm.label)), len(values))
    index, by = choose(trials, steps)
    told = {"field": arm.scale.field, "values": list(values), "seeds": first.reshape(-1, seeds).tolist()}
    told |= {name: _lists(table) for name, table in trials._asdict().items()}
    return told | {"chosen": values[index], "by": by}


def _trials(run: runs.Run, values: int) -> Trials:
    """The tables of a sweep's rows, whose seeds ascend value by value."""
    evaluations = run.series("eval_return")
    later = evaluations.values[:, evaluations.steps > 0]
    first, coverage = run.series("first_reward"), run.series("coverage")
    nothing = np.full(len(run.seeds), np.nan)
    columns = (
        later[:, -LAST:].mean(axis=1),
        nothing if first is None else np.array([_first(row) for row in first.values]),
        nothing if coverage is None else coverage.values[:, -1],
    )
    return Trials(*(column.reshape(values, -1) for column in columns))


def _first(row: Float[np.ndarray, "t"]) -> float:
    """The first number of a row; NaN if there is none."""
    present = row[~np.isnan(row)]
    return float(present[0]) if present.size else np.nan


def _lists(table: Float[np.ndarray, "v s"]) -> list[list[float | None]]:
    return [[None if np.isnan(cell) else float(cell) for cell in row] for row in table]


def _means(choice: dict[str, Any]) -> list[float]:
    return [float(statistics.iqm(np.array(row, float))) for row in choice["final"]]
