"""What the units of a study of control do: a look at all arms, the choice of a scale, and the reported seeds."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpsn import envs
from jaxpsn.control import program as programs
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.placement import Placement
from jaxpsn.core import errors, files
from jaxpsn.report import runs
from jaxpsn.run import folder, loop, status, sweep
from jaxpsn.run.config import RunConfig
from jaxpsn.stats import statistics
from jaxpsn.study import record, stages
from jaxpsn.study.control.arms import Arm
from jaxpsn.study.control.config import StudyConfig
from jaxpsn.study.record import Study
from jaxpsn.study.units import Result

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


def environment(control: ControlConfig) -> Any:
    """The task, made once for all arms. Raises UserError for a task that does not exist."""
    options = {"backend": control.env.backend} if control.env.backend else {}
    return envs.make(control.env.name, **options)


def program(control: ControlConfig, steps: int, env: Any) -> Any:
    """The program of one arm; compiles nothing. Raises UserError for what the task or the rule refuses."""
    # Made by name, and handed over once for all arms: the limit that it has by its name is stated.
    limit = programs.episode_length(control)
    stated = replace(control, env=replace(control.env, episode_length=limit))
    return programs.make(stated, -(-steps // control.steps_per_call), env, Placement(ours=True))


def check(arms: Sequence[Arm], config: StudyConfig, env: Any) -> None:
    """Refuse what one of the arms could not run with on this machine, its memory included."""
    for arm in arms:
        trials = len(arm.scale.grid) * config.tune_seeds if config.tune and arm.scale is not None else 0
        run = RunConfig(steps=config.steps, seed=config.seed, seeds=max(config.seeds, trials))
        try:
            loop.ready(program(arm.control, config.steps, env), run)
        except errors.UserError as error:
            raise errors.UserError(f"arm {arm.label}: {error}") from None


def run(study: Study, path: Path, arm: Arm, title: str) -> Result:
    """All reported seeds of an arm, in the run folder ``path``, from wherever they are to their end."""
    config = study.config
    files.refuse_links(study.path, path)
    lengths = stages.run_config(study, steps=config.steps, seed=config.seed, seeds=config.seeds)
    made = program(arm.control, config.steps, environment(arm.control))
    result = stages.stage(path, lengths, made, arm.control, title)
    if result.status == status.DONE:
        last = record.rows(path)[-1]
        record.finish(path, step=int(last["step"]), seconds=float(last["seconds"]))
    stages.release()
    return result


def tune(study: Study, path: Path, arm: Arm, title: str, say: Callable[[str], None]) -> Result:
    """Choose the scale of an arm by runs of its own: all values and seeds are one program, in ``path``.

    A choice that was made over the same values stands.
    """
    config, scale = study.config, arm.scale
    files.refuse_links(study.path, path)
    steps, count = config.tune_steps or config.steps, len(scale.grid) * config.tune_seeds
    lengths = stages.run_config(study, steps=steps, seed=config.tune_seed, seeds=count)
    made = program(arm.control, steps, environment(arm.control))
    swept = sweep.over(made, scale.field, scale.grid, config.tune_seeds)
    content = folder.plain(arm.control) | {"sweep": {"field": scale.field, "values": list(scale.grid)}}
    result = stages.stage(path, lengths, swept, content, title)
    if result.status == status.DONE:
        choice = _choice(study, path, arm)
        files.write_atomically(path / record.CHOICE, json.dumps(choice, indent=2) + "\n")
        told = ", ".join(f"{value:g}: {mean:.4g}" for value, mean in zip(choice["values"], _means(choice), strict=True))
        say(f"{scale.field} = {choice['chosen']:g} by {choice['by']} ({told})")
    stages.release()
    return result


def _choice(study: Study, path: Path, arm: Arm) -> dict[str, Any]:
    """``choice.json``: what was tried, what came of it, and the value taken."""
    values, seeds = arm.scale.grid, study.config.tune_seeds
    first = np.arange(study.config.tune_seed, study.config.tune_seed + len(values) * seeds)
    steps = study.config.tune_steps or study.config.steps
    trials = _trials(runs.read(path), len(values))
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
