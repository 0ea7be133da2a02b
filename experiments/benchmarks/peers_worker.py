"""A runner in a process of its own, which trains a chunk when it is asked to and is silent in between."""

import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import paths
from benchmarks.peers_runners import protocol


class Report(NamedTuple):
    """What a runner did since its last report, and how good its clean policy is now."""

    steps: int  # environment steps
    updates: int  # critic updates, or generations
    seconds: float  # of training; of the first chunk with what was compiled for it
    score: float  # mean return of whole episodes
    compile_seconds: float  # of XLA, since the start of the process
    peak_bytes: int  # of the device, or of the process where the device does not tell
    wall: float  # seconds since the start of the process


class Died(RuntimeError):
    """A runner ended by itself; the text is the last of what it said."""


class Worker:
    """The runner ``script`` run by ``python``; ``compiled``: where its compiled programs are kept between seeds."""

    def __init__(self, python: Path, script: Path, task: dict[str, Any], compiled: Path):
        self._begun = time.perf_counter()
        compiled.mkdir(parents=True, exist_ok=True)
        self._said = tempfile.TemporaryFile()
        reading, writing = os.pipe()
        self._reports = os.fdopen(reading, encoding="utf-8")
        self._process = subprocess.Popen(
            [str(python), str(script), json.dumps(task), str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            pass_fds=[writing],
            cwd=compiled,  # where MuJoCo may leave its log
            env=_environment(compiled, own=script.stem == "ours"),
        )
        os.close(writing)

    def report(self) -> Report:
        """The next report: first that of the policy before training, then one for every chunk. Raises Died."""
        line = self._reports.readline()
        if not line:
            raise Died(self._last_words())
        told = json.loads(line)
        return Report(score=told.pop("return"), wall=time.perf_counter() - self._begun, **told)

    def chunk(self) -> Report:
        """Ask for a chunk and wait for it."""
        with contextlib.suppress(BrokenPipeError):  # its report says how it ended
            self._process.stdin.write(f"{protocol.GO}\n".encode())
            self._process.stdin.flush()
        return self.report()

    def close(self) -> None:
        """End the process: by the end of what it is told, or, where it does not listen, by force."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reports.close()
        self._said.close()

    def _last_words(self) -> str:
        self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with status {self._process.returncode}"


def _environment(compiled: Path, own: bool) -> dict[str, str]:
    """The variables of a runner: this package for ours alone, and a cache of compiled programs that begins empty."""
    kept = {name: value for name, value in os.environ.items() if own or not name.startswith("PYTHON")}
    if own:
        kept["PYTHONPATH"] = paths.search_path()
    return kept | {
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_ENABLE_COMPILATION_CACHE": "1",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        # Several processes share one accelerator; nobody may take all of its memory at once.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
