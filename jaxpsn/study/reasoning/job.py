"""The study of reasoning as a job: from the command line to a study folder with its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.run import command, interrupts, startup, status, vacancy
from jaxpsn.run.reasoning.job import SHORT
from jaxpsn.study.control import record as records
from jaxpsn.study.reasoning import arms as arm_specs
from jaxpsn.study.reasoning import presets, record
from jaxpsn.study.reasoning.config import ReasoningStudyConfig


@dataclass(frozen=True)
class ReasoningStudyJob:
    """What all arms share, and what is compared."""

    rlvr: Annotated[RlvrConfig, tyro.conf.arg(name="")] = field(default_factory=RlvrConfig)
    study: ReasoningStudyConfig = field(default_factory=ReasoningStudyConfig)


PRESETS: dict[str, ReasoningStudyJob] = {
    name: ReasoningStudyJob(shared, study) for name, (shared, study) in presets.PRESETS.items()
}
"""Whole studies by name."""


def restore(content: Mapping[str, Any]) -> ReasoningStudyJob:
    """The job of a study folder's study.json."""
    return ReasoningStudyJob(*record.restore(content))


def run(job: ReasoningStudyJob) -> int:
    """Make the whole study, or what is left of it, and the report; returns the exit status."""
    shared, config = job.rlvr, job.study
    arms, tasks = record.plan(shared, config)
    if config.seeds == 1:
        startup.speak("one seed: intervals will tell of the problems alone, not of the training")
    if config.resume is None:
        vacancy.check(config, records.STUDY)
    from jaxpsn.study.reasoning import runner

    with record.claim(shared, config, arms, tasks) as study:
        begun = "going on with" if study.resumed else "writing to"
        startup.speak(f"{begun} {study.path}; after an interruption: {runner.again(study.path)}")
        for note in study.notes:
            startup.speak(note)
        kept = f"ended; what was finished or saved is kept; the study goes on with: {runner.again(study.path)}"
        with interrupts.stage(kept):
            code = runner.execute(study)
            if code in (status.DONE, status.NOT_FINITE):
                startup.speak(f"report: {runner.report(study)}")
        startup.result(study.path)
    return code


def main(argv: Sequence[str]) -> int:
    """Run the study that ``argv`` asks for; ``--quick`` stands for ``--preset quick``. Returns the exit status."""
    given = [part for word in argv for part in (("--preset", "quick") if word == "--quick" else (word,))]
    about = "What parameter-space noise does to pass@k: arms with the same base, prompts, answers and updates."
    about += f"\n\nArms: {', '.join(arm_specs.VARIANTS)}; path=value after a comma."
    return run(
        command.parse(
            ReasoningStudyJob, PRESETS, given, restore, about, record.read, resumes="study of reasoning", short=SHORT
        )
    )
