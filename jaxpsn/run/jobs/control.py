"""The control job: from the command line to a trained, resumable policy and its report."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxpsn.control.agents.family import Generational
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.presets import PRESETS as CONTROL_PRESETS
from jaxpsn.core import errors, files, plugins
from jaxpsn.envs import registry
from jaxpsn.run import cadence, command, folder, interrupts, progress, startup, status
from jaxpsn.run.cluster import distributed
from jaxpsn.run.config import ClusterConfig, RunConfig


@dataclass(frozen=True)
class ControlJob:
    """What to train, how the run is kept, and on which devices it is made; a run may go on on others."""

    control: Annotated[ControlConfig, tyro.conf.arg(name="")] = field(default_factory=ControlConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)
    mesh: str | None = None
    """Devices over which environments, perturbations and replay are cut, as data=8; one device if left out."""
    cluster: Annotated[ClusterConfig, tyro.conf.arg(name="")] = field(default_factory=ClusterConfig)


_LENGTHS = {
    "default": RunConfig(steps=500_000, chunk=6400, eval_every=32_000, checkpoint_every=96_000),
    "gpu": RunConfig(steps=50_000_000, chunk=4096 * 50, eval_every=4096 * 250, checkpoint_every=4096 * 1000),
    "sparse": RunConfig(steps=400_000, chunk=8000, eval_every=16_000, checkpoint_every=80_000),
    "es": RunConfig(steps=1_280_000, chunk=12_800, eval_every=25_600, checkpoint_every=256_000),
    "smoke": RunConfig(steps=1600, chunk=160, eval_every=800, checkpoint_every=320),
}
_PAPER_LENGTH = RunConfig(steps=1_000_000, chunk=1000, eval_every=10_000, checkpoint_every=50_000)

PRESETS: dict[str, ControlJob] = {
    name: ControlJob(control, _LENGTHS.get(name, _PAPER_LENGTH)) for name, control in CONTROL_PRESETS.items()
}
"""Whole jobs by name."""


def restore(record: Mapping[str, Any]) -> ControlJob:
    """The job of a run folder's config.json."""
    if "exploration" in record["config"]:
        old = record.get("versions", {}).get("jaxpsn", "unknown")
        errors.refuse("version", old, "a newer one: this run was made before there were components; it stays as it is")
    plugins.require(record.get("plugins", []))
    run = command.from_record(RunConfig, record["run"])
    # A folder resumes where it lies, whatever it was first asked to be called or to overwrite.
    run = replace(run, name=None, resume=None, overwrite=False)
    return ControlJob(command.from_record(ControlConfig, record["config"]), run)


def run(job: ControlJob) -> int:
    """Train, then write the rollout and the report; returns the exit status."""
    _refuse(job)
    with contextlib.ExitStack() as stack:
        team = stack.enter_context(distributed.joined(job.cluster, job.mesh))
        team.alike(distributed.common(job.run, job.control, mesh=job.mesh))
        if team.first:  # the others have no folder
            folder.check(job.run, job.control)
        own = distributed.quiet(team, job.run)
        show = progress.make(own.progress)
        with contextlib.closing(show), interrupts.stage(leave=show.close), show.phase("loading JAX and the physics"):
            # Imported late: the display is up while these load. All that can be refused is, before there is a folder.
            from jaxpsn.control import placement
            from jaxpsn.control import program as programs
            from jaxpsn.run import cache, loop

            cache.enable()
            place = placement.Placement(job.mesh)
            program = programs.make(job.control, -(-job.run.steps // job.control.steps_per_call), place=place)
            distributed.meet(team, place.mesh)
            engine = loop.ready(program, own)
        name = job.control.env.name.replace("/", "-")
        claimed = stack.enter_context(distributed.claim(team, job.run, job.control, name))
        outcome = loop.train(program, own, claimed, team=team, engine=engine)
        state = outcome.first_seed()
        if team.first:
            if outcome.status == status.DONE:
                _finish(program, state, claimed)
            startup.result(claimed.path)
        return outcome.status


def _refuse(job: ControlJob) -> None:
    """Refuse what needs no JAX to be seen as wrong."""
    config = job.control
    registry.check(config.env.name, config.env.backend)
    config.refuse_idle(cadence.plan(job.run, config.steps_per_call).end)
    _refuse_other_schedule(job)
    limit = config.env.episode_length or registry.default_episode_length(config.env.name)
    if isinstance(config.agent, Generational) and job.run.steps < limit * config.env.num_envs:
        startup.speak(f"warning: steps = {job.run.steps}: no generation ends if episodes last {limit} steps")


def _refuse_other_schedule(job: ControlJob) -> None:
    """An annealed scale is a function of the run's length, which a resumed run could otherwise extend."""
    if job.run.resume is None or not job.control.annealed:
        return
    recorded = folder.read(job.run.resume)["run"]["steps"]
    if job.run.steps != recorded:
        errors.refuse("steps", job.run.steps, f"{recorded} as recorded; the scale of explore is annealed over it")


def _finish(program: Any, state: Any, claimed: folder.RunFolder) -> None:
    from jaxpsn.run import memory

    path = claimed.path
    left = f"all steps are made and saved; the report is not written: --resume {path} writes it"
    with interrupts.stage(left), memory.told("env.num_envs, agent.actor_hidden", lambda: left):
        _report(program, state, path)


def _report(program: Any, state: Any, path: Path) -> None:
    from jaxpsn.control import record
    from jaxpsn.report import build

    startup.speak("recording a rollout and writing the report")
    try:
        rollout = record.rollout(program, state)
    except errors.UserError as error:  # a task without bodies; the report says that there is nothing to watch
        startup.speak(f"no rollout: {error}")
    else:
        files.write_atomically(path / "rollout.json", json.dumps(rollout))
    page = build.build(path)
    startup.speak(f"report: {page}")


def main(argv: Sequence[str]) -> int:
    """Run the job that ``argv`` asks for; returns the exit status."""
    about = "Control with parameter-space noise; --describe NAME tells of a component, --plugin FILE brings one."
    return run(command.parse(ControlJob, PRESETS, argv, restore, about))
