"""The comparison as a job: from the command line to a study folder with its report."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import tyro

from jaxpsn.control.config import ControlConfig
from jaxpsn.envs import registry
from jaxpsn.run import command, interrupts, progress, startup, status, vacancy
from jaxpsn.study.control import arms as arm_specs
from jaxpsn.study.control import presets, record
from jaxpsn.study.control.config import StudyConfig


@dataclass(frozen=True)
class StudyJob:
    """What all arms share, and what is compared."""

    control: Annotated[ControlConfig, tyro.conf.arg(name="")] = field(
        default_factory=lambda: ControlConfig(diagnose=True)
    )
    study: StudyConfig = field(default_factory=StudyConfig)


PRESETS: dict[str, StudyJob] = {
    name: StudyJob(replace(control, diagnose=True), study) for name, (control, study) in presets.PRESETS.items()
}
"""Whole comparisons by name."""


def restore(content: Mapping[str, Any]) -> StudyJob:
    """The job of a study folder's study.json."""
    return StudyJob(*record.restore(content))


def run(job: StudyJob) -> int:
    """Make all arms, or those that are left, and the report; returns the exit status."""
    control, config = job.control, job.study
    arms = record.plan(control, config)
    if config.seeds == 1:
        startup.speak("one seed: there will be no intervals, and no probability of improvement")
    registry.check(control.env.name, control.env.backend)
    record.refuse_idle(config, arms)
    if config.resume is None:
        vacancy.check(config, record.STUDY)
    show = progress.make(config.progress)
    with contextlib.closing(show), interrupts.stage(leave=show.close), show.phase("loading JAX and the physics"):
        # Imported late: what cannot be is refused at once, and the display is up while these load.
        from jaxpsn.run import cache
        from jaxpsn.study.control import experiment, runner

        cache.enable()
        env = experiment.environment(control)
        runner.check(arms, config, env)
    with record.claim(control, config, arms) as study:
        begun = "going on with" if study.resumed else "writing to"
        startup.speak(f"{begun} {study.path}; after an interruption: {runner.again(study.path)}")
        for note in study.notes:
            startup.speak(note)
        kept = f"ended; what was finished or saved is kept; the study goes on with: {runner.again(study.path)}"
        with interrupts.stage(kept):
            code = runner.execute(study, env)
            if code in (status.DONE, status.NOT_FINITE):
                startup.speak(f"report: {runner.report(study)}")
        startup.result(study.path)
    return code


def main(argv: Sequence[str]) -> int:
    """Run the comparison that ``argv`` asks for; returns the exit status."""
    about = "Exploration methods compared on one task: the same learner (but for es), seeds and steps for every arm."
    about += (
        f"\n\nArms: {', '.join(arm_specs.names())}; with their fields, pink(std=1), and sums, parameter + gaussian."
    )
    return run(command.parse(StudyJob, PRESETS, argv, restore, about, record.read, resumes="study of control"))
