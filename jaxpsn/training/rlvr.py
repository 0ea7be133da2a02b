"""The reasoning job: from the command line to a trained, judged, exported policy and its report."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxpsn import errors
from jaxpsn.rlvr import names
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.presets import PRESETS as RLVR_PRESETS
from jaxpsn.tasks import file_task, files, registry
from jaxpsn.training import command, distributed, folder, interrupts, progress, startup, status
from jaxpsn.training.config import ClusterConfig, RunConfig
from jaxpsn.training.team import Team

MODEL = "model"
"""Folder of a run that holds the trained policy as Hugging Face files."""
_UNTRAINED = "ended before there was a run; a small decoder that was not trained to its end is trained anew"
HASHES = "hashes"
"""Entry of a run's record: SHA-256 of the files of problems. A run goes on with the same ones only."""


@dataclass(frozen=True)
class RlvrJob:
    """What to train, and how the run is kept; all lengths are in training steps."""

    rlvr: Annotated[RlvrConfig, tyro.conf.arg(name="")] = field(default_factory=RlvrConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)
    cluster: Annotated[ClusterConfig, tyro.conf.arg(name="")] = field(default_factory=ClusterConfig)


_LENGTHS = {
    "smoke": RunConfig(steps=4, chunk=1, eval_every=2, checkpoint_every=2),
    "default": RunConfig(steps=200, chunk=1, eval_every=20, checkpoint_every=40),
}
_PAPER_LENGTH = RunConfig(steps=250, chunk=1, eval_every=50, checkpoint_every=50)

PRESETS: dict[str, RlvrJob] = {
    name: RlvrJob(config, _PAPER_LENGTH if name.startswith("paper") else _LENGTHS.get(name, _LENGTHS["default"]))
    for name, config in RLVR_PRESETS.items()
}
"""Whole jobs by name."""


def restore(record: Mapping[str, Any]) -> RlvrJob:
    """The job of a run folder's config.json."""
    run = replace(command.from_record(RunConfig, record["run"]), name=None, resume=None, overwrite=False)
    config = {name: value for name, value in record["config"].items() if name != HASHES}
    return RlvrJob(command.from_record(RlvrConfig, config), run)


def run(job: RlvrJob) -> int:
    """Train, judge base and trained policy, export, write the report; returns the exit status."""
    _refuse(job)
    with contextlib.ExitStack() as stack:
        team = stack.enter_context(distributed.joined(job.cluster, job.rlvr.mesh))
        content = _content(job.rlvr)
        team.alike(distributed.common(job.run, content, mesh=job.rlvr.mesh))
        if team.first:  # the others have no folder
            folder.check(job.run, content)
        own = replace(job, run=distributed.quiet(team, job.run))
        program = stack.enter_context(_prepared(own, team))
        from jaxpsn.training import loop

        engine = loop.ready(program, own.run)
        claimed = stack.enter_context(distributed.claim(team, job.run, content, _name(job.rlvr)))
        _judge_base(program, claimed, own, team)
        outcome = loop.train(program, own.run, claimed, team=team, engine=engine)
        if outcome.status == status.DONE:
            _finish(program, outcome, claimed.path, own, team)
        if team.first:
            startup.result(claimed.path)
        return outcome.status


@contextlib.contextmanager
def _prepared(job: RlvrJob, team: Team) -> Iterator[Any]:
    """The program; the display is up while JAX loads and the small decoder learns. There is no folder yet."""
    with contextlib.ExitStack() as stack:
        show = progress.make(job.run.progress)
        with contextlib.closing(show), interrupts.stage(leave=show.close):
            with show.phase("loading JAX"):
                from jaxpsn.rlvr import setup, sizes
                from jaxpsn.rlvr.placement import Placement
                from jaxpsn.training import cache, memory, sinks

                cache.enable()
                place = Placement(job.rlvr.mesh)
                distributed.meet(team, place.mesh)
            parts = sizes.parts(job.rlvr, place)
            memory.require({name: (memory.held(tree), fields) for name, (tree, fields) in parts.items()}, place.mesh)
            home, told = cache.home() / "bases", progress.teller(show)
            shared = (partial(_agreed, team), team.alike)
            with interrupts.stage(_UNTRAINED), memory.told(", ".join(fields for _, fields in parts.values())):
                made = setup.reasoner(
                    job.rlvr, job.run.seed, job.run.steps, home, show.say, told, sinks.RowLog, *shared
                )
                program = stack.enter_context(made)
        yield program


def _judge_base(program: Any, claimed: folder.RunFolder, job: RlvrJob, team: Team) -> None:
    """Judge the policy that the training starts from, unless that was done before an interruption."""
    from jaxpsn.rlvr import setup
    from jaxpsn.training import memory

    path = claimed.path
    lost = "ended while the base was judged, before the first step"
    lost += f"; go on with --resume {claimed.shared or path}" if claimed.resumed else ""
    with contextlib.closing(progress.make(job.run.progress)) as show, interrupts.stage(lost, show.close):
        # What process 0 has all have: whether there is something to do must not be each one's own view.
        if team.tell("" if setup.base_is_judged(path) else "to do"):
            show.say("judging the base")
            with memory.told(names.LOWERS_EVALUATION):
                setup.judge_base(program, path, progress.teller(show, "answers"))


def _agreed(team: Team, grade: Callable[..., Any]) -> Callable[..., Any]:
    """Scores as process 0 finds them: a verifier that is cut off in time may end differently elsewhere."""

    def agreed(problems: Sequence[Any], texts: Sequence[str]) -> list[float]:
        scores = [float(score) for score in grade(problems, texts)] if team.first else []
        return json.loads(team.tell(json.dumps(scores)))

    return grade if team.count == 1 else agreed


def _name(config: RlvrConfig) -> str:
    return config.task if config.model is None else Path(config.model).name


def _content(config: RlvrConfig) -> dict[str, Any]:
    """What is trained, as a run records it; on which devices is not part of it."""
    given = {name: getattr(config, name) for name in ("data", "test_data")}
    hashes = {name: files.file_hash(path) for name, path in given.items() if path is not None}
    return folder.plain(replace(config, mesh=None)) | ({HASHES: hashes} if hashes else {})


def _refuse(job: RlvrJob) -> None:
    """Refuse what needs no JAX to be seen as wrong, before there is a run folder."""
    config = job.rlvr
    if job.run.seeds != 1:
        errors.refuse("seeds", job.run.seeds, "1; runs of several seeds are made one after the other, with --seed")
    if config.data is None:
        registry.make(config.task, **config.task_options)
    for path in (config.data, config.test_data):
        if path is not None:
            file_task.FileTask(files.read(path), config.verifier)
    for name, path in (("model", config.model), ("sigma.bert", config.sigma.bert)):
        if path is not None and not (Path(path) / "config.json").is_file():
            errors.refuse(name, path, "a Hugging Face folder; there is no config.json in it")
    if job.run.resume is None or config.sigma.rule != "staged":
        return
    recorded = folder.read(job.run.resume)["run"]["steps"]
    if job.run.steps != recorded:
        errors.refuse("steps", job.run.steps, f"{recorded} as recorded; sigma.rule = 'staged' decays over it")


def _finish(program: Any, outcome: Any, path: Path, job: RlvrJob, team: Team) -> None:
    from jaxpsn.analysis import report
    from jaxpsn.rlvr import setup
    from jaxpsn.training import memory

    left = f"all steps are made and saved; the trained policy is not judged: --resume {path} does it"
    show = progress.make(job.run.progress)

    def leave() -> None:
        show.close()
        for part in path.glob(f".{MODEL}.{os.getpid()}.*"):
            shutil.rmtree(part, ignore_errors=True)

    with contextlib.closing(show), interrupts.stage(left, leave), memory.told(names.LOWERS_EVALUATION, lambda: left):
        show.say("judging the trained policy")
        setup.judge_trained(program, outcome.state, path, progress.teller(show, "answers"))
        with show.phase("writing the model and the report"):
            setup.export(program, outcome.state, path / MODEL)
            if team.first:
                startup.speak(f"report: {report.build(path)}")


def main(argv: Sequence[str]) -> int:
    """Run the job that ``argv`` asks for; returns the exit status."""
    about = "Reinforcement learning with verifiable rewards and parameter-space noise, on language models."
    return run(command.parse(RlvrJob, PRESETS, argv, restore, about, resumes="run of reasoning"))
