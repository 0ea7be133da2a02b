"""The reasoning job: from the command line to a trained, judged, exported policy and its report."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxpsn import errors
from jaxpsn.lm import clock, hf_config, places
from jaxpsn.lm import config as decoders
from jaxpsn.rlvr import lengths, words
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.presets import PRESETS as RLVR_PRESETS
from jaxpsn.tasks import file_task, files, registry
from jaxpsn.training import command, distributed, folder, inputs, progress, startup, status
from jaxpsn.training.config import ClusterConfig, RunConfig
from jaxpsn.training.team import Team

MODEL = "model"
"""Folder of a run that holds the trained policy as Hugging Face files."""
BASE = "base"
"""Folder of a run that holds the pre-trained policy it started from, and the entry of its record with its digest."""


@dataclass(frozen=True)
class RlvrJob:
    """What to train, and how the run is kept; all lengths are in training steps."""

    rlvr: Annotated[RlvrConfig, tyro.conf.arg(name="")] = field(default_factory=RlvrConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)
    cluster: Annotated[ClusterConfig, tyro.conf.arg(name="")] = field(default_factory=ClusterConfig)


_LENGTHS = {
    "smoke": RunConfig(steps=40, chunk=1, eval_every=10, checkpoint_every=20),
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
    config = {name: value for name, value in record["config"].items() if name != inputs.HASHES}
    return RlvrJob(command.from_record(RlvrConfig, config), run)


def run(job: RlvrJob) -> int:
    """Train, judge base and trained policy, export, write the report; returns the exit status."""
    job = replace(job, rlvr=inputs.located(job.rlvr))
    _refuse(job)
    with contextlib.ExitStack() as stack:
        team = stack.enter_context(distributed.joined(job.cluster, job.rlvr.mesh))
        job = replace(job, rlvr=_timed(job.rlvr, team))
        content = _content(job)
        team.alike(distributed.common(job.run, content, mesh=job.rlvr.mesh))
        claimed = stack.enter_context(distributed.claim(team, job.run, content, _name(job.rlvr)))
        own = replace(job, run=distributed.quiet(team, job.run))
        program = stack.enter_context(_prepared(own, claimed, team))
        from jaxpsn.training import loop

        outcome = loop.train(program, own.run, claimed, team=team)
        if outcome.status == status.DONE:
            _finish(program, outcome, claimed.path, own, team)
        if team.first:
            startup.result(claimed.path)
        return outcome.status


@contextlib.contextmanager
def _prepared(job: RlvrJob, claimed: folder.RunFolder, team: Team) -> Iterator[Any]:
    """The program, its base judged; the display is up while JAX loads and the small decoder learns."""
    with contextlib.ExitStack() as stack:
        show = progress.make(job.run.progress)
        with contextlib.closing(show):
            with show.phase("loading JAX"):
                from jaxpsn.rlvr import setup
                from jaxpsn.rlvr.placement import Placement
                from jaxpsn.training import cache, draws, sinks

                draws.fix()
                cache.enable()
                distributed.meet(team, Placement(job.rlvr.mesh).mesh)
            home, told = cache.home() / "bases", progress.teller(show)
            path, shared = claimed.path, (partial(_agreed, team), partial(_same_base, team, claimed), _own(claimed))
            made = setup.reasoner(job.rlvr, job.run.seed, job.run.steps, home, show.say, told, sinks.RowLog, *shared)
            program = stack.enter_context(made)
            show.say("judging the base")
            # What process 0 has all have: whether there is something to do must not be each one's own view.
            if team.tell("" if setup.base_is_judged(path) else "to do"):
                setup.judge_base(program, path, progress.teller(show, "answers"))
        yield program


def _agreed(team: Team, grade: Callable[..., Any]) -> Callable[..., Any]:
    """Scores as process 0 finds them: a verifier that is cut off in time may end differently elsewhere."""

    def agreed(problems: Sequence[Any], texts: Sequence[str]) -> list[float]:
        scores = [float(score) for score in grade(problems, texts)] if team.first else []
        return json.loads(team.tell(json.dumps(scores)))

    return grade if team.count == 1 else agreed


def _name(config: RlvrConfig) -> str:
    return config.task if config.model is None else places.name(Path(config.model))


def _own(claimed: folder.RunFolder) -> Path:
    return (claimed.shared or claimed.path) / BASE


def _same_base(team: Team, claimed: folder.RunFolder, facts: Mapping[str, str]) -> None:
    """Refuse a pre-trained policy that is another than in the other processes, or than what the run started from."""
    team.alike(facts)
    (now,) = facts.values()
    was = folder.read(_own(claimed).parent).get(BASE)
    if was is None and team.first:
        folder.note(claimed, **{BASE: now})
    if was is not None and was != now:
        errors.refuse(
            "resume",
            str(claimed.path),
            "a run with the pre-trained policy that it started from; the one here is another",
        )


def _content(job: RlvrJob) -> dict[str, Any]:
    """What is trained, as a run records it; on which devices is not part of it. Refuses inputs that have changed."""
    config, recorded = job.rlvr, {}
    with contextlib.closing(progress.make(job.run.progress)) as show:
        if job.run.resume is None:
            recorded = inputs.hashes(config, show.phase)
        else:
            record = folder.read(job.run.resume)
            recorded = record["config"].get(inputs.HASHES, {})
            # What is named anew is another config, which is told when the folder is claimed.
            before = inputs.named(restore(record).rlvr)
            same = [name for name, path in inputs.named(config).items() if before.get(name) == path]
            inputs.refuse_changed(job.run.resume, config, recorded, show.phase, fields=same)
    return folder.plain(replace(config, mesh=None)) | ({inputs.HASHES: recorded} if recorded else {})


def _timed(config: RlvrConfig, team: Team) -> RlvrConfig:
    """``config`` with the time that its chat template is told, which is part of what a run records.

    It is that of the start of process 0, where the template asks for one. Refuses tokens and templates that cannot be
    used, before there is a run folder.
    """
    if config.model is None:
        return config
    path = Path(config.model)
    tokens = words.read(path, hf_config.read_config(path).vocab_size, config.system, config.template, clock.now())
    told = team.tell(getattr(tokens, "clock", None) or "")
    return replace(config, template=config.template.at(told or None))


def _refuse(job: RlvrJob) -> None:
    """Refuse what needs no JAX to be seen as wrong, before there is a run folder."""
    config = job.rlvr
    if job.run.seeds != 1:
        errors.refuse("seeds", job.run.seeds, "1; runs of several seeds are made one after the other, with --seed")
    if config.data is None:
        registry.make(config.task, **config.task_options)
    for path in (config.data, config.test_data):
        if path is not None:
            file_task.FileTask(files.read(path, config.data_kind), config.verifier)
    form = decoders.tiny(3) if config.model is None else hf_config.read_config(config.model)
    lengths.check_asked(config.rollout, form.max_positions)
    if job.run.resume is None or config.sigma.rule != "staged":
        return
    recorded = folder.read(job.run.resume)["run"]["steps"]
    if job.run.steps != recorded:
        errors.refuse("steps", job.run.steps, f"{recorded} as recorded; sigma.rule = 'staged' decays over it")


def _finish(program: Any, outcome: Any, path: Path, job: RlvrJob, team: Team) -> None:
    from jaxpsn.analysis import report
    from jaxpsn.rlvr import setup

    with contextlib.closing(progress.make(job.run.progress)) as show:
        show.say("judging the trained policy")
        setup.judge_trained(program, outcome.state, path, progress.teller(show, "answers"))
        with show.phase("writing the model and the report"):
            setup.export(program, outcome.state, path / MODEL)
            if team.first:
                startup.speak(f"report: {report.build(path)}")


def main(argv: Sequence[str]) -> int:
    """Run the job that ``argv`` asks for; returns the exit status."""
    about = "Reinforcement learning with verifiable rewards and parameter-space noise, on language models."
    return run(command.parse(RlvrJob, PRESETS, argv, restore, about))
