"""The control job: from the command line to a trained, resumable policy and its report."""

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxpsn.control.agents.family import Generational
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.presets import PRESETS as CONTROL_PRESETS
from jaxpsn.core import errors, files, plugins
from jaxpsn.core.lazily import Lazy
from jaxpsn.envs import registry
from jaxpsn.run import cadence, command, folder, interrupts, progress, startup, status
from jaxpsn.run.cluster import distributed
from jaxpsn.run.config import ClusterConfig, RunConfig
from jaxpsn.run.trained import Trained


@dataclass(frozen=True)
class ControlJob:
    """What to train, how the run is kept, and on which devices it is made; a run may go on on others."""

    control: Annotated[ControlConfig, tyro.conf.arg(name="")] = field(default_factory=ControlConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)
    mesh: str | None = None
    """Devices over which environments, perturbations and replay are cut, as data=8; one device if left out."""
    cluster: Annotated[ClusterConfig, tyro.conf.arg(name="")] = field(default_factory=ClusterConfig)


_MEMBERS = 3  # perturbed policies beside the clean one in the rollout

_LENGTHS = {
    "default": RunConfig(steps=500_000, chunk=6400, eval_every=32_000, checkpoint_every=96_000),
    "gpu": RunConfig(steps=50_000_000, chunk=4096 * 50, eval_every=4096 * 250, checkpoint_every=4096 * 1000),
    "fast": RunConfig(steps=50_000_000, chunk=1024 * 100, eval_every=1024 * 1000, checkpoint_every=1024 * 4000),
    "flash-sac": RunConfig(steps=50_000_000, chunk=1024 * 100, eval_every=1024 * 1000, checkpoint_every=1024 * 4000),
    "ppo": RunConfig(steps=5_242_880, chunk=32_768, eval_every=131_072, checkpoint_every=524_288),
    "sac": RunConfig(steps=5_000_000, chunk=12_800, eval_every=512_000, checkpoint_every=512_000),
    "dqn": RunConfig(steps=100_000, chunk=2000, eval_every=10_000, checkpoint_every=50_000),
    "dqn-chain": RunConfig(steps=54_000, chunk=540, eval_every=540, checkpoint_every=13_500),
    "pqn": RunConfig(steps=491_520, chunk=20_480, eval_every=40_960, checkpoint_every=122_880),
    "pqn-minatar": RunConfig(steps=9_994_240, chunk=81_920, eval_every=409_600, checkpoint_every=1_638_400),
    "sparse": RunConfig(steps=400_000, chunk=8000, eval_every=16_000, checkpoint_every=80_000),
    "es": RunConfig(steps=1_280_000, chunk=12_800, eval_every=25_600, checkpoint_every=256_000),
    "smoke": RunConfig(steps=1600, chunk=160, eval_every=800, checkpoint_every=320),
}
_PAPER_LENGTH = RunConfig(steps=1_000_000, chunk=1000, eval_every=10_000, checkpoint_every=50_000)


def _preset(name: str) -> ControlJob:
    return ControlJob(CONTROL_PRESETS[name], _LENGTHS.get(name, _PAPER_LENGTH))


PRESETS: Lazy[ControlJob] = Lazy({name: functools.partial(_preset, name) for name in CONTROL_PRESETS})
"""Whole jobs by name."""


def restore(record: Mapping[str, Any]) -> ControlJob:
    """The job of a run folder's config.json."""
    if "exploration" in record["config"]:
        old = record.get("versions", {}).get("jaxpsn", "unknown")
        errors.refuse("version", old, "a newer one: this run was made before there were components; it stays as it is")
    run = command.going_on(RunConfig, record, "run")
    return ControlJob(command.from_record(ControlConfig, record["config"]), run)


def run(job: ControlJob) -> int:
    """Train, then write the rollout and the report; returns the exit status."""
    trained = train(job)
    if trained.first:
        startup.result(trained.outcome.folder)
    return trained.outcome.status


def train(job: ControlJob, env: Any = None, loggers: Sequence[Any] = ()) -> Trained:
    """Train into a run folder, then write the rollout and the report.

    ``env``: a ``brax.envs.Env`` of one's own in place of the one that the config names; ``loggers``: trackers of one's
    own. All that can be refused is, before there is a folder. Raises UserError.
    """
    refuse(job, env)
    with contextlib.ExitStack() as stack:
        team = stack.enter_context(distributed.joined(job.cluster, job.mesh))
        own = distributed.shared(team, job.run, job.control, job.mesh)
        program, engine, shelf = _prepared(job, own, env, team)
        name = registry.slug(job.control.env.name)
        claimed = stack.enter_context(distributed.claim(team, job.run, job.control, name))
        from jaxpsn.run import loop

        outcome = loop.train(program, own, claimed, team=team, engine=engine, loggers=loggers)
        if team.first and outcome.status == status.DONE:
            _finish(program, outcome.first_seed(), claimed, own.progress, shelf)
        return Trained(program, outcome, team.first)


def in_memory(job: ControlJob, env: Any = None, loggers: Sequence[Any] = ()) -> tuple[Trained, list[dict[str, Any]]]:
    """The same without a run folder, rollout and report, in one process; also the rows of metrics."""
    refuse(job, env)
    program, engine, _ = _prepared(job, job.run, env)
    from jaxpsn.run import untracked

    record = {"name": job.control.env.name, "config": folder.plain(job.control), "run": folder.plain(job.run)}
    outcome, rows = untracked.train(program, job.run, record, loggers=loggers, engine=engine)
    return Trained(program, outcome, True), rows


def _prepared(job: ControlJob, run: RunConfig, env: Any, team: Any = None) -> tuple[Any, Any, Any]:
    """The program, what drives it and where it is kept; the display is up while JAX and the physics load."""
    show = progress.make(run.progress)
    with contextlib.closing(show), interrupts.stage(leave=show.close), show.phase("loading JAX and the physics"):
        from jaxpsn.control import placement
        from jaxpsn.run import cache, exported, loop

        kept, place = cache.enable(), placement.Placement(job.mesh, ours=True)
        plan, calls = cadence.plan(run, job.control.steps_per_call), -(-run.steps // job.control.steps_per_call)
        own = env is not None or place.mesh is not None
        shelf = None if own else exported.shelf(kept, job.control, calls=calls, seeds=run.seeds)
        if shelf is not None:
            shelf.begin((f"step x {plan.calls}", "starts", "init", "evaluation"))
        from jaxpsn.control import program as programs  # Brax, beside which kept programs load

        program = programs.make(job.control, calls, env, place)
        if team is not None:
            distributed.meet(team, place.mesh)
        engine = loop.ready(program, run, shelf)
    if team is None or team.first:
        for line in program.remarks():
            startup.speak(line)
    return program, engine, shelf


def refuse(job: ControlJob, env: Any = None) -> None:
    """Refuse what is seen as wrong before the physics load; ``env``: the user's own, if any. Raises UserError."""
    config = job.control
    if env is None:
        registry.check(config.env.name, config.env.backend)
    config.refuse_idle(cadence.plan(job.run, config.steps_per_call).end)
    if config.annealed:
        command.refuse_other_length(job.run, "the scale of explore is annealed over it")
    limit = config.env.episode_length or (registry.default_episode_length(config.env.name) if env is None else 1)
    if isinstance(config.agent, Generational) and job.run.steps < limit * config.env.num_envs:
        startup.speak(f"warning: steps = {job.run.steps}: no generation ends if episodes last {limit} steps")


def _finish(program: Any, state: Any, claimed: folder.RunFolder, display: str, shelf: Any) -> None:
    from jaxpsn.run import memory

    path = claimed.path
    left = f"all steps are made and saved; the report is not written: --resume {path} writes it"
    with interrupts.stage(left), memory.told(f"env.num_envs, {program.config.agent.widths}", lambda: left):
        say = startup.speak if display != "none" else lambda text: None
        _report(program, state, path, say, shelf)


def _report(program: Any, state: Any, path: Path, say: Callable[[str], None], shelf: Any) -> None:
    from jaxpsn.control import record
    from jaxpsn.core.placement import Placement
    from jaxpsn.report import build
    from jaxpsn.run.compiling import Workshop

    say("recording a rollout and writing the report")
    try:
        with Workshop(Placement(), shelf, {}) as shop:
            rollout = record.rollout(program, state, members=_MEMBERS, compiled=shop.alone)
    except errors.UserError as error:  # a task without bodies; the report says that there is nothing to watch
        say(f"no rollout: {error}")
    else:
        files.write_atomically(path / "rollout.json", json.dumps(rollout, separators=(",", ":")))
    say(f"report: {build.build(path)}")


def main(argv: Sequence[str]) -> int:
    """Run the job that ``argv`` asks for; returns the exit status."""
    about = "Control with parameter-space noise; --describe NAME tells of a component, --plugin FILE brings one."
    job = command.parse(ControlJob, PRESETS, argv, restore, about, values={"env.name": registry.canonical})
    if not plugins.loaded():  # which may want it
        from jaxpsn.envs import brax_door

        brax_door.forgo_warp()
    return run(job)


if __name__ == "__main__":
    sys.exit(startup.script(lambda: main(sys.argv[1:])))
