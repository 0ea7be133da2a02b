"""``jaxpsn.train``: a control run in one call, in memory or into a run folder."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from jaxpsn.api import runs, settings
from jaxpsn.core import errors
from jaxpsn.run import folder as folders
from jaxpsn.run import interrupts
from jaxpsn.run.jobs import control
from jaxpsn.run.loggers import family


def train(
    env: Any = None, agent: Any = None, explore: Any = None, *, preset: str = "default", steps: int | None = None,
    seeds: int | None = None, seed: int | None = None, folder: str | Path | None = None, resume: bool = False,
    overwrite: bool = False, progress: str = "auto", logger: Any = None, mesh: str | None = None, **fields: Any,
) -> runs.ControlRun:  # fmt: skip
    """Train a control policy with parameter-space noise; returns its metrics, policies and state.

    ``env``: the name of a task (``jaxpsn.envs.names()``), or a ``brax.envs.Env`` of your own, then with
    ``episode_length``. ``agent``, ``explore``: such as ``"td3"`` and ``"parameter(target=0.6)"``, or objects of your
    own; likewise ``bonus``, as ``"rnd(beta=1)"``. What is left out is that of the ``preset``; any other field is named
    as it is: ``num_envs=16``, ``warmup=1000``, ``chunk=4000``.

    ``seeds`` runs are made side by side, from ``seed`` on, each of ``steps`` environment steps. With ``steps`` and no
    cadence there are 20 rows of metrics, each with an evaluation.

    ``folder``: None leaves nothing on the disk; a path is the run folder that ``jaxpsn train`` makes. ``resume=True``
    goes on with the folder if it is there, and begins it if it is not, so a script that is started again goes on.
    ``logger``: one tracker or several, with the methods of :class:`jaxpsn.run.loggers.callbacks.Logger`; ``log``: those
    that have a name, as ``"csv + wandb(project=x)"``. ``mesh``: such
    as ``"data=8"``.

    Ctrl-C ends the chunk under way and gives back the run as it is, with ``run.status == "SIGINT"``; before the first
    step, and if it comes again, it raises KeyboardInterrupt. SIGTERM and SIGHUP end likewise, and then raise
    SystemExit. Raises :class:`jaxpsn.UserError`, in one line, for whatever cannot be.
    """
    path, going_on = settings.place(folder, resume)
    base = _recorded(path) if going_on else settings.preset(control.PRESETS, preset)
    of_control, of_run = settings.split(fields)
    config = settings.control_config(base.control, env, agent, explore, of_control)
    run = settings.run_config(
        base.run, steps=steps, seed=seed, seeds=seeds, folder=path, resume=going_on, overwrite=overwrite,
        progress=progress, fields=of_run,
    )  # fmt: skip
    job = dataclasses.replace(base, control=config, run=run, mesh=mesh)
    own = None if env is None or isinstance(env, str) else env
    trackers = settings.loggers(logger)
    family.require(run.log, folder=path is not None)
    with interrupts.gentle():
        if path is None:
            trained, rows = control.in_memory(job, own, trackers)
            columns = runs.columns(rows)
        else:
            trained, columns = control.train(job, own, trackers), written(path)
    stopped(trained.outcome)
    return runs.ControlRun(trained.program, trained.outcome, runs.table(columns), range(run.seed, run.seed + run.seeds))


def stopped(outcome: Any) -> None:
    """End the process, in an orderly way, if a signal asked for that and not for this run alone."""
    if outcome.signum is not None and interrupts.ends(outcome.signum):
        sys.exit(128 + outcome.signum)


def _recorded(path: Path | None) -> Any:
    """The job of a run folder."""
    record = folders.read(str(path))
    with errors.within(path):
        return control.restore(record)


def written(path: Path) -> dict[str, Any]:
    """The columns of the metrics of a run folder."""
    from jaxpsn.report.runs import read

    return dict(read(path).columns)
