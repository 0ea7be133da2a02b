"""One stage of a study, an arm or its tuning: the run folder of a program that is new or goes on."""

import gc
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from jaxpsn.core import errors, files
from jaxpsn.run import folder, loop, status
from jaxpsn.run.config import RunConfig
from jaxpsn.study.record import FAILED, Study, failed
from jaxpsn.study.units import Result


def stage(
    path: Path,
    run: RunConfig,
    made: Any,
    content: Any,
    title: str,
    done: Callable[[loop.Outcome], None] = lambda outcome: None,
) -> Result:
    """Run ``made`` in the run folder ``path``, a new one or one that was cut off. Raises as ``loop.train`` does.

    ``done(outcome)`` is called once all steps are made, while the folder is claimed. Where something was not finite,
    ``failed.json`` says so, and the stage is not run again.
    """
    if (why := failed(path)) is not None:
        return Result(status.NOT_FINITE, why)
    if (path / "config.json").is_file():
        run = replace(run, resume=str(path))
    else:
        for name in ("metrics.csv", "metrics.jsonl", "checkpoints"):
            if (path / name).exists():
                allowed = f"with its config.json, as there is {name}; put it back, or delete the folder to begin anew"
                errors.refuse("run folder", str(path), allowed)
        shutil.rmtree(path, ignore_errors=True)  # claimed and cut off before anything was recorded
        run = replace(run, out=str(path.parent), name=path.name)
    with folder.claim(run, content) as claimed:
        outcome = loop.train(made, run, claimed, title)
        if outcome.status == status.DONE:
            done(outcome)
    if outcome.status == status.NOT_FINITE:
        files.write_atomically(path / FAILED, json.dumps({"reason": outcome.reason}) + "\n")
    return Result(outcome.status, outcome.reason, None if outcome.signum is None else 128 + outcome.signum)


def run_config(study: Study, *, steps: int, seed: int, seeds: int) -> RunConfig:
    """The lengths of a stage; its rhythm is that of the study."""
    config = study.config
    return RunConfig(
        steps=steps, seed=seed, seeds=seeds, chunk=config.chunk, eval_every=config.eval_every,
        checkpoint_every=config.checkpoint_every, progress=config.progress,
    )  # fmt: skip


def release() -> None:
    """Let go of the programs of the stage before, whose constants and buffers live as long as they do."""
    jax.clear_caches()
    gc.collect()
