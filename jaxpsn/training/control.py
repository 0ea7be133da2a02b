"""The control job: from the command line to a trained, resumable policy and its report."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import tyro

from jaxpsn import errors, files
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.presets import PRESETS as CONTROL_PRESETS
from jaxpsn.training import command, folder, progress, startup, status
from jaxpsn.training.config import RunConfig


@dataclass(frozen=True)
class ControlJob:
    """What to train, and how the run is kept."""

    control: Annotated[ControlConfig, tyro.conf.arg(name="")] = field(default_factory=ControlConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)


_LENGTHS = {
    "default": RunConfig(steps=500_000, chunk=6400, eval_every=32_000, checkpoint_every=96_000),
    "gpu": RunConfig(steps=50_000_000, chunk=4096 * 50, eval_every=4096 * 250, checkpoint_every=4096 * 1000),
    "sparse": RunConfig(steps=400_000, chunk=8000, eval_every=16_000, checkpoint_every=80_000),
    "smoke": RunConfig(steps=1600, chunk=160, eval_every=800, checkpoint_every=320),
}
_PAPER_LENGTH = RunConfig(steps=1_000_000, chunk=1000, eval_every=10_000, checkpoint_every=50_000)

PRESETS: dict[str, ControlJob] = {
    name: ControlJob(control, _LENGTHS.get(name, _PAPER_LENGTH)) for name, control in CONTROL_PRESETS.items()
}
"""Whole jobs by name."""


def restore(record: Mapping[str, Any]) -> ControlJob:
    """The job of a run folder's config.json."""
    run = command.from_record(RunConfig, record["run"])
    # A folder resumes where it lies, whatever it was first asked to be called or to overwrite.
    run = replace(run, name=None, resume=None, overwrite=False)
    return ControlJob(command.from_record(ControlConfig, record["config"]), run)


def run(job: ControlJob) -> int:
    """Train, then write the rollout and the report; returns the exit status."""
    _refuse_other_schedule(job)
    with folder.claim(job.run, job.control, default_name=job.control.env.name.replace("/", "-")) as claimed:
        show = progress.make(job.run.progress)
        with contextlib.closing(show), show.phase("loading JAX and the physics"):
            # Imported late: the display is up while these load.
            from jaxpsn.control import program as programs
            from jaxpsn.training import cache, loop

            cache.enable()
            program = programs.make(job.control, -(-job.run.steps // job.control.steps_per_call))
        outcome = loop.train(program, job.run, claimed)
        if outcome.status == status.DONE:
            _finish(program, outcome, claimed)
        startup.result(claimed.path)
        return outcome.status


def _refuse_other_schedule(job: ControlJob) -> None:
    """An annealed scale is a function of the run's length, which a resumed run could otherwise extend."""
    if job.run.resume is None or job.control.exploration.controller != "linear":
        return
    recorded = folder.read(job.run.resume)["run"]["steps"]
    if job.run.steps != recorded:
        errors.refuse(
            "steps", job.run.steps, f"{recorded} as recorded; exploration.controller = 'linear' anneals over it"
        )


def _finish(program: Any, outcome: Any, claimed: folder.RunFolder) -> None:
    from jaxpsn.analysis import report
    from jaxpsn.control import record

    startup.speak("recording a rollout and writing the report")
    try:
        rollout = record.rollout(program, outcome.first_seed())
    except errors.UserError as error:  # a task without bodies; the report says that there is nothing to watch
        startup.speak(f"no rollout: {error}")
    else:
        files.write_atomically(claimed.path / "rollout.json", json.dumps(rollout))
    page = report.build(claimed.path)
    startup.speak(f"report: {page}")


def main(argv: Sequence[str]) -> int:
    """Run the job that ``argv`` asks for; returns the exit status."""
    about = "Off-policy control with parameter-space noise."
    return run(command.parse(ControlJob, PRESETS, argv, restore, about))
