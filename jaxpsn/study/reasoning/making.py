"""What the units of a study of reasoning do: a task's base, an arm's tuning, or all seeds of an arm.

Each goes on where it was left. A ``Study`` is that of :mod:`jaxpsn.study.kinds.reasoning`, which imports this module.
"""

import contextlib
import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxpsn.core import files
from jaxpsn.rlvr import setup
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.program import Reasoner
from jaxpsn.run import cache, loop, status
from jaxpsn.run.config import RunConfig
from jaxpsn.stats import evaluations, pass_at_k
from jaxpsn.study import record, stages
from jaxpsn.study.reasoning.arms import Arm
from jaxpsn.study.units import Result

TUNING = "tuning"
"""Label of the evaluation by which a scale is chosen."""
Say = Callable[[str], None]
Study = Any


class _Job(NamedTuple):
    """One run of a unit: where it lies, its seed and length, and by which evaluation it is judged."""

    path: Path
    seed: int
    steps: int
    label: str
    scale: dict[str, Any] | None


def base(study: Study, task: str, say: Say) -> Result:
    """Pre-train the policy that a task's arms start from, and judge it."""
    path = study.base(task)
    files.refuse_links(study.path, path)
    path.mkdir(parents=True, exist_ok=True)
    config = Arm(task, "", {"noise": "none"}, None).config(_on(study, task))
    with _program(study, config, study.config.seed, study.config.steps) as program:
        setup.judge_base(program, path, _quiet)
    found = evaluations.read(evaluations.path(path, evaluations.BASE))
    record.finish(path, step=0, backend=jax.default_backend())
    say(_told(found))
    return Result(status.DONE)


def tune(study: Study, task: str, arm: Arm, say: Say) -> Result:
    """Choose the scale of ``arm`` on a task: one run for each value and seed, judged on problems not reported."""
    path, config = study.tuning(task, arm.label), study.config
    values, seeds = arm.scale.grid, range(config.tune_seed, config.tune_seed + config.tune_seeds)
    scores = []
    for value in values:
        jobs = [
            _Job(
                path / f"{value:g}" / str(seed), seed, config.tune_steps or config.steps, TUNING,
                {"field": arm.scale.field, "value": value},
            )
            for seed in seeds
        ]  # fmt: skip
        made = _series(study, task, arm.config(_tuning(study, task), value), jobs, lambda text: None)
        if made.stop is not None:
            return made
        scores.append([score(job.path) for job in jobs])
    means = [float(np.mean([one for one in row if one is not None] or [-np.inf])) for row in scores]
    chosen = values[int(np.argmax(means))]
    choice = {
        "field": arm.scale.field, "values": list(values), "seeds": list(seeds), "scores": scores,
        "by": f"mean pass@k over k = 1, 2, 4, ..., {config.tune_samples}", "chosen": chosen,
    }  # fmt: skip
    files.write_atomically(path / record.CHOICE, json.dumps(choice, indent=2) + "\n")
    told = ", ".join(f"{value:g}: {mean:.3f}" for value, mean in zip(values, means, strict=True))
    say(f"{arm.scale.field} = {chosen:g} ({choice['by']}: {told})")
    return Result(status.DONE)


def arm(study: Study, task: str, arm: Arm, say: Say) -> Result:
    """Make all seeds of ``arm`` on a task."""
    value = study.choice(task, arm)
    scale = None if value is None else {"field": arm.scale.field, "value": value}
    jobs = [
        _Job(study.run(task, arm.label, seed), seed, study.config.steps, evaluations.TRAINED, scale)
        for seed in study.seeds
    ]
    return _series(study, task, arm.config(_on(study, task), value), jobs, say)


def score(path: Path) -> float | None:
    """What a tuning run is judged by: mean pass@k over the powers of two up to its samples; None where it failed.

    The area under the curve over log k, which favours neither the small nor the large k.
    """
    file = evaluations.path(path, TUNING)
    if not file.is_file():
        return None
    found = evaluations.read(file)
    ks = [1 << power for power in range(found.n.bit_length()) if 1 << power <= found.n]
    return float(np.mean([pass_at_k.estimate(found.n, found.correct, k).mean() for k in ks]))


def _series(study: Study, task: str, config: RlvrConfig, jobs: list[_Job], say: Say) -> Result:
    """Make the runs that are left, which share what is compiled, up to one in which a signal came."""
    made = Result(status.DONE)
    with ExitStack() as stack:
        program: Reasoner | None = None
        for job in jobs:
            if record.finished(job.path) is not None:
                continue
            if program is None:
                program = stack.enter_context(_program(study, config, job.seed, job.steps))
                if job.label == TUNING:
                    program = setup.on_other_problems(program, _reported(study), job.seed)
            else:
                program = setup.reseeded(program, job.seed)
            ended = _run(study, program, job, say)
            if ended.status == status.NOT_FINITE:
                made = ended
                say(f"seed {job.seed}: failed, {ended.reason}")
            if ended.stop is not None:
                return ended
    return made


def _run(study: Study, program: Reasoner, job: _Job, say: Say) -> Result:
    """One run from wherever it is to its end, its evaluation and its mark."""
    files.refuse_links(study.path, job.path)
    job.path.parent.mkdir(parents=True, exist_ok=True)
    run = RunConfig(
        steps=job.steps, seed=job.seed, chunk=1, eval_every=study.config.eval_every, checkpoint_every=0, keep=1,
        progress="none",
    )  # fmt: skip

    def done(outcome: loop.Outcome) -> None:
        setup.judge(program, program.weights(outcome.state), job.path, job.label, int(outcome.state.clock), _quiet)
        rows = record.rows(job.path)
        spent = [float(row["seconds_step"]) for row in rows if row["seconds_step"]]
        record.finish(job.path, step=job.steps, seconds=float(rows[-1]["seconds"]), scale=job.scale)
        record.drop_checkpoints(study, job.path)
        found = evaluations.read(evaluations.path(job.path, job.label))
        say(f"seed {job.seed}: {_told(found)}, {statistics.median(spent):.2f} s a step")

    return stages.stage(job.path, run, program, program.config, "", done)


def _reported(study: Study) -> int:
    """Problems of a task from which the tuning keeps away."""
    judged = study.shared.evaluation
    return max(judged.problems, judged.monitor_problems)


def _on(study: Study, task: str) -> RlvrConfig:
    return study.task(task).config(study.shared)


def _tuning(study: Study, task: str) -> RlvrConfig:
    """The shared config with the judgement of the tuning."""
    config = _on(study, task)
    asked = study.config
    judged = replace(config.evaluation, problems=asked.tune_problems, samples=asked.tune_samples, monitor_problems=1)
    return replace(config, evaluation=judged)


@contextlib.contextmanager
def _program(study: Study, config: RlvrConfig, seed: int, steps: int) -> Iterator[Reasoner]:
    kept = cache.home() / "bases"
    with setup.reasoner(config, seed, steps, kept, lambda text: None, _quiet) as program:
        yield program


def _quiet(done: int, total: int, shown: dict[str, float]) -> None:
    """A worker has no display of its own."""


def _told(found: evaluations.Evaluation) -> str:
    """pass@1 and pass@n in a few words."""
    first, last = (float(pass_at_k.estimate(found.n, found.correct, k).mean()) for k in (1, found.n))
    return f"pass@1 {first:.3f}, pass@{found.n} {last:.3f}"
