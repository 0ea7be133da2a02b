"""``jaxpsn.load``: a trained policy out of a run folder."""

import os
from pathlib import Path
from typing import Any

from jaxpsn.api import policies
from jaxpsn.core import errors
from jaxpsn.run import folder as folders
from jaxpsn.run import vacancy
from jaxpsn.run.jobs import control


def load(run: str | Path, *, seed: int | None = None, env: Any = None) -> Any:
    """The trained policy of a run folder, of control (:class:`jaxpsn.api.policies.Policy`) or of reasoning.

    ``run``: ``runs/NAME`` for its newest whole checkpoint, or ``runs/NAME:STEP``; of reasoning also ``runs/NAME:base``,
    the policy that the training started from. The run may be under way. ``seed``:
    which of several; the first if left out. ``env``: the ``brax.envs.Env`` of your own that the run was trained on.
    Raises :class:`jaxpsn.UserError` if there is no such run, step or seed.
    """
    path, step = located(run)
    kind = vacancy.kind(path)
    if kind == "run of reasoning":
        from jaxpsn.api import reasoning

        if seed is not None or env is not None:
            errors.refuse("seed" if seed is not None else "env", seed if env is None else env, "of a control run alone")
        return reasoning.load(os.path.expanduser(str(run)))
    if kind != "run of control":
        folders.read(path, "run")  # says what is missing
        errors.refuse("run", str(run), f"a run folder; this is {'a ' + kind if kind else 'none that is known'}")
    record = folders.read(path, "run")
    with errors.within(path):
        job = control.restore(record)
    if step is None and str(run).endswith(":base"):
        errors.refuse("run", str(run), f"{path} or {path}:STEP")
    return _control(path, step, job, seed, env)


def located(run: str | Path) -> tuple[Path, int | None]:
    """The folder that ``run`` names, and the step behind a colon, None for ``base``."""
    text = os.path.expanduser(str(run))
    head, _, tail = text.rpartition(":")
    if Path(text).exists() or not head or not (tail.isdecimal() or tail == "base"):
        return Path(text), None
    return Path(head), int(tail) if tail.isdecimal() else None


def _control(path: Path, step: int | None, job: Any, seed: int | None, env: Any) -> policies.Policy:
    import jax

    from jaxpsn.control import program as programs
    from jaxpsn.run import cache, chunk
    from jaxpsn.run.checkpoints import store

    run = job.run
    seeds = range(run.seed, run.seed + run.seeds)
    chosen = run.seed if seed is None else seed
    if chosen not in seeds:
        errors.refuse("seed", chosen, f"{seeds[0]} to {seeds[-1]}, the seeds of {path}")
    cache.enable()
    with errors.within(path):
        program = programs.make(job.control, -(-run.steps // job.control.steps_per_call), env)
    shapes = jax.eval_shape(chunk.make_init(program, run.seeds), chunk.seed_keys(run.seed, run.seeds))
    wanted = {"learner": {"actor": shapes.learner.actor}, "statistics": shapes.statistics, "explore": shapes.explore}
    found = store.read(path / "checkpoints", wanted, step)
    state = found.state
    if run.seeds > 1:
        state = jax.tree.map(lambda leaf: leaf[chosen - run.seed], state)
    learnt = (state["learner"]["actor"], state["statistics"], state["explore"])
    return policies.Policy(program, *learnt, found.step, chosen)
