"""Runs a study: each arm in turn, from where it was left, in a run folder of its own."""

import csv
import json
import shlex
from pathlib import Path
from typing import Any

from jaxpsn.core import errors, files
from jaxpsn.run import folder, loop, startup, status
from jaxpsn.run.config import RunConfig
from jaxpsn.study.control import experiment, record, stages, tuning
from jaxpsn.study.control.arms import Arm
from jaxpsn.study.control.config import StudyConfig
from jaxpsn.study.control.record import Study
from jaxpsn.study.control.stages import Ended


def check(arms: list[Arm], config: StudyConfig, env: Any) -> None:
    """Refuse, before anything is written, what one of the arms could not run with, its memory included."""
    for arm in arms:
        trials = len(arm.scale.grid) * config.tune_seeds if config.tune and arm.scale is not None else 0
        run = RunConfig(steps=config.steps, seed=config.seed, seeds=max(config.seeds, trials))
        try:
            loop.ready(experiment.program(arm.control, config.steps, env), run)
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
        title, left = f"arm {number}/{len(study.arms)} {label}", study.arms[number:]
        before = study.finished(label)
        ended = _arm(study, label, title, env) if before is None else _keep(study, label, title, before)
        if ended.status == status.NOT_FINITE:
            startup.speak(f"{title}: failed, {ended.reason}")
            code = status.NOT_FINITE
        finished = study.finished(label) is not None
        if finished and before is None and left:
            _draft(study, title)
        if ended.stop is not None and (left or not (finished or ended.status == status.NOT_FINITE)):
            startup.speak(f"stopped; the study goes on with: {again(study.path)}")
            return ended.stop
        stages.release()
    return code


def again(path: Path) -> str:
    """The command that goes on with the study in ``path``."""
    return f"python experiments/compare.py --resume {shlex.quote(str(path))}"


def _arm(study: Study, label: str, title: str, env: Any) -> Ended:
    """One arm, from wherever it is to its end."""
    record.read(study.path)  # a study that was moved or deleted meanwhile is not made again
    path, config = study.arm(label), study.config
    for place in (path, study.tuning(label)):
        files.refuse_links(study.path, place)
    arm = next(arm for arm in study.arms if arm.label == label)
    if config.tune and arm.scale is not None and not arm.scale.tuned:
        arm, ended = tuning.tune(study, arm, title, env)
        if ended.status != status.DONE or ended.stop is not None:
            return ended
        stages.release()
    run = stages.run_config(study, steps=config.steps, seed=config.seed, seeds=config.seeds)
    ended = stages.stage(path, run, experiment.program(arm.control, config.steps, env), arm.control, title)
    if ended.status == status.DONE:
        _finish(path)
        stages.drop_checkpoints(study, path)
    return ended


def _draft(study: Study, title: str) -> None:
    """The report so far."""
    try:
        report(study)
    except Exception as error:  # of whatever kind: the arms that are left matter more, and the last report tells
        startup.speak(f"{title}: no report yet ({type(error).__name__}: {error})")


def _keep(study: Study, label: str, title: str, done: dict[str, Any]) -> Ended:
    """Leave a finished arm as it is, and say so."""
    startup.speak(f"{title}: finished before ({done['step']:,} steps); kept")
    old, now = done["versions"], folder.versions()
    others = [name for name in sorted(old.keys() | now.keys()) if old.get(name) != now.get(name)]
    if others:
        listed = ", ".join(f"{name} {old.get(name)} (now {now.get(name)})" for name in others)
        startup.speak(f"warning: {title}: made with other versions, and kept: {listed}")
    stages.drop_checkpoints(study, study.arm(label))
    return Ended(status.DONE, "finished before")


def _finish(path: Path) -> None:
    """Mark an arm as complete; only then may its checkpoints go."""
    with (path / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    done = {"step": int(last["step"]), "seconds": float(last["seconds"]), "versions": folder.versions()}
    files.write_atomically(path / record.FINISHED, json.dumps(done, indent=2) + "\n")


def report(study: Study) -> Path:
    """Tables, plots and the report of what there is so far; returns the page."""
    from jaxpsn.report import build

    return build.build(study.path)
