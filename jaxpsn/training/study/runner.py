"""Runs a study: each arm in turn, from where it was left, in a run folder of its own."""

import csv
import gc
import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxpsn import envs, errors, files
from jaxpsn.control import program as programs
from jaxpsn.control.config import ControlConfig
from jaxpsn.training import folder, loop, startup, status
from jaxpsn.training.config import RunConfig
from jaxpsn.training.study import record
from jaxpsn.training.study.arms import Arm
from jaxpsn.training.study.record import Study

FAILED = "failed.json"


class Ended(NamedTuple):
    """How a stage (an arm, or its tuning) ended."""

    status: int
    """Of ``jaxpsn.training.status``."""
    reason: str
    stop: int | None = None
    """Exit status with which the whole study is to stop, None to go on."""


def environment(control: ControlConfig) -> Any:
    """The task, made once for all arms. Raises UserError for a task that does not exist."""
    options = {"backend": control.env.backend} if control.env.backend else {}
    return envs.make(control.env.name, **options)


def program(control: ControlConfig, steps: int, env: Any) -> Any:
    """The program of one arm; compiles nothing. Raises UserError for what the task or the rule refuses."""
    return programs.make(control, -(-steps // control.steps_per_call), env)


def check(arms: list[Arm], steps: int, env: Any) -> None:
    """Refuse, before anything is written, what one of the arms could not run with."""
    for arm in arms:
        try:
            program(arm.control, steps, env)
        except errors.UserError as error:
            raise errors.UserError(f"arm {arm.label}: {error}") from None


def execute(study: Study, env: Any) -> int:
    """Make every arm that is not finished; returns the exit status.

    An arm that was cut off goes on from its own checkpoint; one that is finished is left as it is. An arm in which
    something is not finite stays as it ended, the others go on, and the status is ``status.NOT_FINITE``. A signal stops
    within the arm as in every run, with its status.
    """
    code = status.DONE
    for number, label in enumerate([arm.label for arm in study.arms], start=1):
        title = f"arm {number}/{len(study.arms)} {label}"
        ended = _arm(study, label, title, env)
        if ended.stop is not None and not (ended.status == status.DONE and number == len(study.arms)):
            startup.speak(f"stopped; the study goes on with: {again(study.path)}")
            return ended.stop
        if ended.status == status.NOT_FINITE:
            startup.speak(f"{title}: failed, {ended.reason}")
            code = status.NOT_FINITE
        jax.clear_caches()
        gc.collect()
    return code


def again(path: Path) -> str:
    """The command that goes on with the study in ``path``."""
    return f"python experiments/compare.py --resume {shlex.quote(str(path))}"


def _arm(study: Study, label: str, title: str, env: Any) -> Ended:
    """One arm from wherever it is to its end."""
    done = study.finished(label)
    if done is not None:
        _keep(study, label, title, done)
        return Ended(status.DONE, "finished")
    arm = next(arm for arm in study.arms if arm.label == label)
    path = study.arm(label)
    failed = record.json_or_none(path / FAILED)
    if failed is not None:
        return Ended(status.NOT_FINITE, f"{failed['reason']} (delete {path} to try again)")
    config = study.config
    run = RunConfig(
        steps=config.steps, seed=config.seed, seeds=config.seeds, chunk=config.chunk, eval_every=config.eval_every,
        checkpoint_every=config.checkpoint_every, progress=config.progress,
    )  # fmt: skip
    ended = stage(path, run, program(arm.control, config.steps, env), arm.control, title)
    if ended.status == status.NOT_FINITE:
        files.write_atomically(path / FAILED, json.dumps({"reason": ended.reason}) + "\n")
    if ended.status == status.DONE:
        _finish(study, label)
        try:
            report(study)
        except Exception as error:  # of whatever kind: the arms that are left matter more, and the last report tells
            startup.speak(f"{title}: no report yet ({type(error).__name__}: {error})")
    return ended


def stage(path: Path, run: RunConfig, made: Any, content: Any, title: str) -> Ended:
    """Run ``made`` in the run folder ``path``, a new one or one that was cut off. Raises as ``loop.train`` does."""
    if (path / "config.json").is_file():
        run = replace(run, resume=str(path))
    else:
        shutil.rmtree(path, ignore_errors=True)  # claimed and cut off before anything was recorded
        run = replace(run, out=str(path.parent), name=path.name)
    with folder.claim(run, content) as claimed:
        outcome = loop.train(made, run, claimed, title)
    stopped = None if outcome.signum is None else 128 + outcome.signum
    return Ended(outcome.status, outcome.reason, stopped)


def _keep(study: Study, label: str, title: str, done: dict[str, Any]) -> None:
    """Leave a finished arm as it is, and say so."""
    startup.speak(f"{title}: finished before ({done['step']:,} steps); kept")
    others = folder.differences(done["versions"], folder.versions())
    if others:
        startup.speak(f"warning: {title}: made with other versions, and kept: {', '.join(others)}")
    _drop_checkpoints(study, label)


def _finish(study: Study, label: str) -> None:
    """Mark an arm as complete; only then do its checkpoints go."""
    path = study.arm(label)
    with (path / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    done = {"step": int(last["step"]), "seconds": float(last["seconds"]), "versions": folder.versions()}
    files.write_atomically(path / record.FINISHED, json.dumps(done, indent=2) + "\n")
    _drop_checkpoints(study, label)


def _drop_checkpoints(study: Study, label: str) -> None:
    if not study.config.keep_checkpoints:
        shutil.rmtree(study.arm(label) / "checkpoints", ignore_errors=True)


def report(study: Study) -> Path:
    """Tables, plots and the report of what there is so far; returns the page."""
    from jaxpsn.analysis import study as reports

    return reports.build(study.path)
