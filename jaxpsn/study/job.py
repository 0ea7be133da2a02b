"""A study as a job: from what was asked for to a folder with its report."""

from typing import Any

from jaxpsn.run import interrupts, startup, status, vacancy
from jaxpsn.stats import hypotheses
from jaxpsn.study import scheduler
from jaxpsn.study.record import STUDY, Study


def run(kind: type[Study], shared: Any, config: Any) -> int:
    """Make the whole study, or what is left of it, and the report; returns the exit status.

    Raises UserError for what cannot be, before anything is written as far as it is known without JAX.
    """
    arms, tasks = kind.plan(shared, config)
    hypotheses.refuse_unknown(config.hypotheses, [arm.label for arm in arms], kind.KIND)
    if config.seeds == 1:
        startup.speak(kind.ONE_SEED)
    if config.resume is None:
        vacancy.check(config, STUDY)
    with kind.claim(shared, config, arms, tasks) as study:
        begun = "going on with" if study.resumed else "writing to"
        startup.speak(f"{begun} {study.path}; after an interruption: {study.again}")
        for note in study.notes:
            startup.speak(note)
        kept = f"ended; what was finished or saved is kept; the study goes on with: {study.again}"
        with interrupts.stage(kept):
            code = scheduler.execute(study)
            if code in (status.DONE, status.NOT_FINITE):
                startup.speak(f"report: {study.report()}")
        startup.result(study.path)
    return code
