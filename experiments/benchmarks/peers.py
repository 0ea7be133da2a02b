"""Our training beside that of other libraries: the same task, in turns, each in a process and packages of its own."""

import functools
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers_homes, peers_rows, timing
from benchmarks.peers_options import EVOLUTION, OURS, Peers
from benchmarks.peers_rows import Run
from benchmarks.peers_worker import Died, Report, Worker
from benchmarks.tables import Table
from jaxpsn.core import errors
from jaxpsn.envs import brax_names, registry
from jaxpsn.run import folder, startup

FEWEST = 3
"""Rounds that are timed however long they take."""

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "brax", "mujoco", "rejax", "evosax")
_ASK = """
import importlib.metadata, json, sys
have = {each.metadata["Name"].lower(): each.version for each in importlib.metadata.distributions()}
print(json.dumps({name: have[name] for name in sys.argv[1:] if name in have}))
"""


def table(options: Peers) -> Table:
    """A row for every contender, ours first in each part; ``details`` hold the returns over time and the versions.

    A peer that cannot be installed, or that ends by itself, is left out with the reason in its row. Raises UserError
    for a task that is none of Brax's own.
    """
    tasks = {part: _task(options, part) for part in options.parts}
    pythons, left = _pythons(options)
    found, curves = [], []
    for part, task in tasks.items():
        of = {name: python for name, python in pythons.items() if options.contenders()[name] == part}
        runs = _train(options, part, task, of, left)
        found += peers_rows.rows(part, runs)
        curves += peers_rows.points(runs)
    found += [{"part": options.contenders()[name], "name": name, "left_out": reason} for name, reason in left.items()]
    versions = {name: _versions(python) for name, python in pythons.items()}
    return Table(found, timing.machine(), {"versions_of_peers": versions, "curves": curves})


def interleave(
    starts: Mapping[str, Callable[[], Any]], seconds: float
) -> tuple[dict[str, list[Report]], dict[str, str]]:
    """Reports of what ``starts`` begin (workers), a chunk each in turn, and the last words of those that died.

    One after the other they start, compile and make their first chunk; then come rounds in ever another order, at
    least :data:`FEWEST`, in which those take part who have not yet trained for ``seconds``.
    """
    workers: dict[str, Any] = {}
    reports: dict[str, list[Report]] = {name: [] for name in starts}
    dead: dict[str, str] = {}

    def hear(name: str, ask: Callable[[], Report]) -> None:
        try:
            reports[name].append(ask())
        except Died as error:
            dead[name] = str(error)

    try:
        for name, start in starts.items():
            workers[name] = start()
            hear(name, workers[name].report)
            if name not in dead:
                hear(name, workers[name].chunk)
        for turn in itertools.count():
            going = [name for name in starts if name not in dead]
            going = [name for name in going if turn < FEWEST or _trained(reports[name]) < seconds]
            if not going:
                break
            for place in np.random.default_rng(turn).permutation(len(going)):
                hear(going[place], workers[going[place]].chunk)
    finally:
        for worker in workers.values():
            worker.close()
    return {name: of for name, of in reports.items() if name not in dead}, dead


def _trained(reports: list[Report]) -> float:
    return sum(report.seconds for report in reports[2:])


def _train(
    options: Peers, part: str, task: dict[str, Any], pythons: Mapping[str, Path], left: dict[str, str]
) -> dict[str, list[Run]]:
    """Every seed of everyone in ``part``; who dies moves to ``left``. Raises RuntimeError where ours does."""
    runs: dict[str, list[Run]] = {name: [] for name in pythons}
    with tempfile.TemporaryDirectory() as compiled:
        for seed in range(options.seeds):
            startup.speak(f"{part}, seed {seed}: {', '.join(runs)}")
            starts = {
                name: functools.partial(
                    Worker, pythons[name], _script(name), task | {"seed": seed}, Path(compiled) / name
                )
                for name in runs
            }
            reports, dead = interleave(starts, options.seconds)
            if OURS[part] in dead:
                raise RuntimeError(f"our own run ended: {dead[OURS[part]]}")
            left |= dead
            runs = {name: [*runs[name], Run(name, seed, reports[name])] for name in reports}
    return runs


def _script(name: str) -> Path:
    ours = name in OURS.values()
    return peers_homes.RUNNERS / f"{'ours' if ours else name.replace('-', '_')}.py"


def _task(options: Peers, part: str) -> dict[str, Any]:
    """What a runner is told but for its seed."""
    name = registry.canonical(options.env)
    if name not in brax_names.SUPPORTED:
        errors.refuse("env", options.env, f"one of Brax's own, which the peers know: {', '.join(brax_names.SUPPORTED)}")
    backend = brax_names.default_backend(name) if options.backend is None else options.backend
    brax_names.check_backend(name, backend)
    control = folder.plain(options.control(part))
    control["env"] |= {"name": name, "backend": backend}
    calls = options.episode_length if part == EVOLUTION else options.calls
    return {"control": control, "calls": calls, "reward_scaling": options.reward_scaling}


def _pythons(options: Peers) -> tuple[dict[str, Path], dict[str, str]]:
    """The Python of everyone who has one, and why the others have none."""
    found, left = {}, {}
    for name in options.contenders():
        try:
            ours = name in OURS.values()
            found[name] = Path(sys.executable) if ours else peers_homes.python(name, options.extra)
        except errors.UserError as error:
            left[name] = str(error)
    return found, left


def _versions(python: Path) -> dict[str, str]:
    """Versions of the packages that decide the numbers, as that Python has them."""
    done = subprocess.run([str(python), "-c", _ASK, *_PACKAGES], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
