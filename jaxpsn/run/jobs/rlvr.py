"""The reasoning job: from the command line to a trained, judged, exported policy and its report."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxpsn.core import errors
from jaxpsn.core.components import called
from jaxpsn.lm import config as decoders
from jaxpsn.lm.folders import hf_config, places
from jaxpsn.lm.templates import clock
from jaxpsn.rlvr import lengths, words
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.run import command, folder, progress, startup, status
from jaxpsn.run.cluster import distributed
from jaxpsn.run.cluster.team import ALONE, Team
from jaxpsn.run.reasoning import inputs, stages
from jaxpsn.run.reasoning.job import PRESETS, SHORT, RlvrJob, refuse_unused, restore
from jaxpsn.run.trained import Trained
from jaxpsn.tasks import file_task, files, rewards


def run(job: RlvrJob) -> int:
    """Train, judge base and trained policy, export, write the report; returns the exit status."""
    with train(job) as trained:
        if trained.first:
            startup.result(trained.outcome.folder)
        return trained.outcome.status


@contextlib.contextmanager
def train(job: RlvrJob, loggers: Sequence[Any] = ()) -> Iterator[Trained]:
    """Train, judge base and trained policy, export, write the report; the program lives until the block ends.

    ``loggers``: trackers of one's own. Raises UserError.
    """
    job = _checked(job)
    with contextlib.ExitStack() as stack:
        team = stack.enter_context(distributed.joined(job.cluster, job.rlvr.mesh))
        job = replace(job, rlvr=_clocked(job.rlvr, team))
        content = _content(job)
        own = replace(job, run=distributed.shared(team, job.run, content, job.rlvr.mesh))
        phases, base = stages.Phases(), {}
        program = stack.enter_context(stages.prepared(own, team, phases, base))
        from jaxpsn.run import loop

        engine = loop.ready(program, own.run)
        claimed = stack.enter_context(distributed.claim(team, job.run, content, _name(job.rlvr)))
        stages.keep_base(program, claimed, team, base)
        stages.judge_base(program, claimed, own, team, phases)
        outcome = loop.train(program, own.run, claimed, team=team, engine=engine, loggers=loggers)
        if outcome.status == status.DONE:
            stages.finish(program, outcome, claimed, own, team, phases)
        yield Trained(program, outcome, team.first)


@contextlib.contextmanager
def in_memory(job: RlvrJob, loggers: Sequence[Any] = ()) -> Iterator[tuple[Trained, list[dict[str, Any]]]]:
    """Train without a run folder, in one process; also the rows of metrics. Nothing is judged but what they hold."""
    job = _checked(job)
    job = replace(job, rlvr=_clocked(job.rlvr, ALONE))
    with stages.prepared(job, ALONE, stages.Phases(), {}) as program:
        from jaxpsn.run import untracked

        record = {"name": _name(job.rlvr), "config": folder.plain(job.rlvr), "run": folder.plain(job.run)}
        outcome, rows = untracked.train(program, job.run, record, loggers=loggers)
        yield Trained(program, outcome, True), rows


def _name(config: RlvrConfig) -> str:
    return called(type(config.task)) if config.model is None else places.name(Path(config.model))


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
            before = inputs.named(restore(record, config.reward).rlvr)
            same = [name for name, path in inputs.named(config).items() if before.get(name) == path]
            inputs.refuse_changed(job.run.resume, config, recorded, show.phase, fields=same)
            inputs.refuse_other_rewards(job.run.resume, config, recorded)
    return folder.plain(replace(config, mesh=None)) | ({inputs.HASHES: recorded} if recorded else {})


def _clocked(config: RlvrConfig, team: Team) -> RlvrConfig:
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


def _checked(job: RlvrJob) -> RlvrJob:
    """The job, its paths worked out. Refuses, before there is a run folder, what needs no JAX to be seen as wrong."""
    config = job.rlvr
    if job.run.seeds != 1:
        errors.refuse("seeds", job.run.seeds, "1; runs of several seeds are made one after the other, with --seed")
    for path in (config.data, config.test_data):
        if path is not None:
            file_task.FileTask(files.read(path, config.data_kind), config.verifier)
    rewards.look(config.reward)
    config = inputs.located(config)
    form = decoders.tiny(vocab_size=3) if config.model is None else hf_config.read_config(config.model)
    lengths.check_asked(config.rollout, form.max_positions)
    if config.sigma.annealed:
        command.refuse_other_length(job.run, "noise.sigma depends on it")
    return replace(job, rlvr=config)


def main(argv: Sequence[str]) -> int:
    """Run the job that ``argv`` asks for; returns the exit status."""
    about = "Reinforcement learning with verifiable rewards and parameter-space noise, on language models."
    job = command.parse(RlvrJob, PRESETS, argv, restore, about, resumes="run of reasoning", short=SHORT)
    refuse_unused(argv, job.rlvr)
    return run(job)


if __name__ == "__main__":
    sys.exit(startup.script(lambda: main(sys.argv[1:])))
