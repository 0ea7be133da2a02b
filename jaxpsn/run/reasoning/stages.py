"""The stages of a reasoning run around its training: the policy, its judgement before and after, export and report."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jaxpsn.core import errors
from jaxpsn.rlvr import names
from jaxpsn.run import folder, interrupts, progress
from jaxpsn.run.cluster import distributed
from jaxpsn.run.cluster.team import Team

MODEL = "model"
"""Folder of a run that holds the trained policy as Hugging Face files."""
BASE = "base"
"""Folder of a run that holds the pre-trained policy it started from, and the entry of its record with its digest."""
_UNTRAINED = "ended before there was a run; a small decoder that was not trained to its end is trained anew"


class Phases:
    """Seconds of the stages outside the training loop, told as events of the run once it has a folder."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str, float]] = []

    @contextlib.contextmanager
    def __call__(self, phase: str, step: int = 0) -> Iterator[None]:
        """Time the block."""
        begun = time.monotonic()
        yield
        self._waiting.append((step, phase, time.monotonic() - begun))

    def write(self, team: Team, claimed: folder.RunFolder) -> None:
        """Write what was timed since the last call; the first process does."""
        from jaxpsn.run.loggers import sinks

        if team.first:
            with contextlib.closing(sinks.EventLog(claimed.events)) as events:
                for step, phase, seconds in self._waiting:
                    events.write(step, "phase", phase, seconds)
        self._waiting = []


@contextlib.contextmanager
def prepared(job: Any, team: Team, phases: Phases, record: dict[str, str]) -> Iterator[Any]:
    """The program; the display is up while JAX loads and the small decoder learns. There is no folder yet.

    ``record`` is given the digest of a small decoder, under :data:`BASE`.
    """
    with contextlib.ExitStack() as stack:
        show = progress.make(job.run.progress)
        with contextlib.closing(show), interrupts.stage(leave=show.close):
            with show.phase("loading JAX"):
                from jaxpsn.rlvr import setup, sizes
                from jaxpsn.rlvr.placement import Placement
                from jaxpsn.run import cache, draws, memory
                from jaxpsn.run.loggers import sinks

                draws.fix()
                cache.enable()
                place = Placement(job.rlvr.mesh)
                distributed.meet(team, place.mesh)
            parts = sizes.parts(job.rlvr, place)
            memory.require({name: (memory.held(tree), fields) for name, (tree, fields) in parts.items()}, place.mesh)
            home, told = cache.home() / "bases", progress.teller(show)
            shared = partial(_agreed, team), partial(_same_base, team, job.run.resume, record), _own(job.run.resume)
            lowers = ", ".join(fields for _, fields in parts.values())
            trains = job.rlvr.model is None and job.run.resume is None
            phase = "pre-training" if trains else "reading the model"
            with interrupts.stage(_UNTRAINED), memory.told(lowers), phases(phase):
                made = setup.reasoner(
                    job.rlvr, job.run.seed, job.run.steps, home, show.say, told, sinks.RowLog, *shared
                )
                program = stack.enter_context(made)
        yield program


def _agreed(team: Team, grade: Callable[..., Any]) -> Callable[..., Any]:
    """Scores as process 0 finds them: a verifier that is cut off in time may end differently elsewhere."""

    def agreed(problems: Sequence[Any], texts: Sequence[str]) -> list[float]:
        scores = [float(score) for score in grade(problems, texts)] if team.first else []
        return json.loads(team.tell(json.dumps(scores)))

    return grade if team.count == 1 else agreed


def _own(resume: str | None) -> Path | None:
    return None if resume is None else Path(resume) / BASE


def _same_base(team: Team, resume: str | None, record: dict[str, str], facts: Mapping[str, str]) -> None:
    """Refuse a pre-trained policy that is another than in the other processes, or than what the run started from."""
    team.alike(facts)
    (now,) = facts.values()
    record[BASE] = now
    if resume is not None and folder.read(resume).get(BASE, now) != now:
        allowed = "a run with the pre-trained policy that it started from; the one here is another"
        errors.refuse("resume", resume, allowed)


def keep_base(program: Any, claimed: folder.RunFolder, team: Team, record: Mapping[str, str]) -> None:
    """Keep the small decoder that a new run starts from in its folder, and its digest in its record."""
    from jaxpsn.rlvr import base as bases

    if record and not team.tell("resumed" if claimed.resumed else ""):
        bases.keep((claimed.shared or claimed.path) / BASE, program.base)
        if team.first:
            folder.note(claimed, **record)


def judge_base(program: Any, claimed: folder.RunFolder, job: Any, team: Team, phases: Phases) -> None:
    """Judge the policy that the training starts from, unless that was done before an interruption."""
    from jaxpsn.rlvr import setup
    from jaxpsn.run import memory

    path = claimed.path
    lost = "ended while the base was judged, before the first step"
    lost += f"; go on with --resume {claimed.shared or path}" if claimed.resumed else ""
    with contextlib.closing(progress.make(job.run.progress)) as show, interrupts.stage(lost, show.close):
        # What process 0 has all have: whether there is something to do must not be each one's own view.
        if team.tell("" if setup.base_is_judged(path) else "to do"):
            show.say("judging the base")
            with memory.told(names.LOWERS_EVALUATION), phases("judging the base"):
                setup.judge_base(program, path, progress.teller(show, "answers"))
    if not claimed.resumed:  # a folder that a run may not be able to go on from stays as it is
        phases.write(team, claimed)


def finish(program: Any, outcome: Any, claimed: folder.RunFolder, job: Any, team: Team, phases: Phases) -> None:
    """Judge the trained policy, export it, write the report."""
    from jaxpsn.report import build
    from jaxpsn.rlvr import setup
    from jaxpsn.run import memory

    path = claimed.path
    left = f"all steps are made and saved; the trained policy is not judged: --resume {path} does it"
    show = progress.make(job.run.progress)

    def leave() -> None:
        show.close()
        for part in path.glob(f".{MODEL}.{os.getpid()}.*"):
            shutil.rmtree(part, ignore_errors=True)

    with contextlib.closing(show), interrupts.stage(left, leave), memory.told(names.LOWERS_EVALUATION, lambda: left):
        show.say("judging the trained policy")
        with phases("judging the trained policy", outcome.step):
            setup.judge_trained(program, outcome.state, path, progress.teller(show, "answers"))
        phases.write(team, claimed)
        with show.phase("writing the model and the report"):
            setup.export(program, outcome.state, path / MODEL)
            if team.first:
                show.say(f"report: {build.build(path)}")
