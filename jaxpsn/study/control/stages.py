"""One stage of a study, an arm or its tuning: the run folder of a program that is new or goes on."""

import gc
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxpsn.core import errors, files, shapes
from jaxpsn.run import folder, loop, status
from jaxpsn.run.config import RunConfig
from jaxpsn.study.control import record

FAILED = "failed.json"


class Ended(NamedTuple):
    """How a stage (an arm, or its tuning) ended."""

    status: int
    """Of ``jaxpsn.run.status``."""
    reason: str
    stop: int | None = None
    """Exit status with which the whole study is to stop, None to go on."""


def stage(
    path: Path,
    run: RunConfig,
    made: Any,
    content: Any,
    title: str,
    done: Callable[[loop.Outcome], None] = lambda outcome: None,
) -> Ended:
    """Run ``made`` in the run folder ``path``, a new one or one that was cut off. Raises as ``loop.train`` does.

    ``done(outcome)`` is called once all steps are made, while the folder is claimed. Where something was not finite,
    ``failed.json`` says so, and the stage is not run again.
    """
    failed = shapes.optional(path / FAILED, shapes.FAILED)
    if failed is not None:
        return Ended(status.NOT_FINITE, f"{failed['reason']} (delete {path} to try again)")
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
    return Ended(outcome.status, outcome.reason, None if outcome.signum is None else 128 + outcome.signum)


def run_config(study: record.Study, *, steps: int, seed: int, seeds: int) -> RunConfig:
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


def drop_checkpoints(study: record.Study, path: Path) -> None:
    """Delete what only an unfinished stage needs, unless the study keeps it."""
    if not study.config.keep_checkpoints:
        shutil.rmtree(path / "checkpoints", ignore_errors=True)
