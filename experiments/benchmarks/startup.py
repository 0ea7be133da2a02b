"""Time from process start to the first training step, cold and with everything compiled before, in fresh processes."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import paths, timing
from benchmarks.first_step import STAGES
from benchmarks.options import Startup
from benchmarks.tables import Row, Table
from jaxpsn.control.config import ControlConfig
from jaxpsn.core import errors
from jaxpsn.envs import registry
from jaxpsn.run import folder, startup, status

TOTAL = "total"
_CACHES = ("cold", "warm")


def table(options: Startup) -> Table:
    """A row for every stage of every arm, cold and warm, and for their totals.

    ``ratio`` is to the first rule cold, ``cold_ratio`` to the same arm cold, ``base_ratio`` to the first rule with
    the same cache, each of the same stage in the same round. Files of the packages are in the system's own cache after
    an unmeasured start, so "cold" is about compilation alone.
    """
    arms = options.arms()
    registry.canonical(options.env)
    startup.speak("one start that does not count")
    with tempfile.TemporaryDirectory() as nothing:
        told = start_process(next(iter(arms.values())), Path(nothing))
    rounds = []
    for turn in range(options.rounds):
        startup.speak(f"round {turn + 1} of {options.rounds}: {len(arms)} cold and {len(arms)} warm starts")
        order = np.random.default_rng(turn).permutation(list(arms))
        rounds.append({name: _twice(arms[name]) for name in map(str, order)})
    # This process has left the device alone, so that the started ones have it to themselves.
    return Table(rows(list(arms), rounds), told["machine"])


def _twice(config: ControlConfig) -> dict[str, dict[str, float]]:
    """Seconds of every stage of a cold start and of the warm one after it."""
    with tempfile.TemporaryDirectory() as cache:
        return {which: start_process(config, Path(cache))["seconds"] for which in _CACHES}


def rows(arms: list[str], rounds: list[dict[str, dict[str, dict[str, float]]]]) -> list[Row]:
    """The table of ``rounds``, each: arm -> cold or warm -> stage -> seconds; the first of ``arms`` is the baseline."""
    made = []
    for stage in (TOTAL, *STAGES):

        def taken(arm: str, which: str, stage: str = stage) -> np.ndarray:
            told = [one[arm][which] for one in rounds]
            return np.array([sum(each.values()) if stage == TOTAL else each[stage] for each in told])

        names = [(arm, which) for arm in arms for which in _CACHES]
        seconds = np.stack([taken(*name) for name in names], axis=1)
        found = timing.compare([f"{arm}, {which}: {stage}" for arm, which in names], seconds)
        for (arm, which), one in zip(names, found, strict=True):
            row = one._asdict() | {"arm": arm, "cache": which, "stage": stage, "rounds": len(rounds)}
            for name, other in (("cold", (arm, "cold")), ("base", (arms[0], which))):
                ratio = timing.ratio(taken(arm, which), taken(*other))
                row |= {f"{name}_ratio": ratio.median, f"{name}_ratio_low": ratio.low, f"{name}_ratio_high": ratio.high}
            made.append(row)
    return made


def start_process(config: ControlConfig, cache: Path | None) -> dict[str, Any]:
    """What :mod:`first_step` says of a fresh process; ``cache``: its compilation cache, None for none.

    Raises UserError with the process's own words where the config is at fault.
    """
    kept = {} if cache is None else {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    own = {"PYTHONPATH": paths.search_path(), "JAX_ENABLE_COMPILATION_CACHE": str(int(bool(kept)))}
    told = json.dumps({"begun": time.time(), "control": folder.plain(config)})
    command = [sys.executable, "-m", "benchmarks.first_step", told]
    done = subprocess.run(command, env=os.environ | own | kept, capture_output=True, text=True)
    if done.returncode == status.USER_ERROR:
        raise errors.UserError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    if done.returncode:
        raise RuntimeError(f"a started process ended with status {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])
