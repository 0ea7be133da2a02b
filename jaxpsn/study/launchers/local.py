"""Units in worker processes of this host, on shares of its cores or a GPU each."""

import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from jaxpsn.core import Whole, errors
from jaxpsn.study import launchers, units
from jaxpsn.study.launchers import LAUNCHERS, Launcher, Pool, Study
from jaxpsn.study.units import Result, Unit

CORES, SHOWN = "JAXPSN_STUDY_CORES", "JAXPSN_STUDY_SHOWN"
"""Environment of a worker: its cores, such as 0,1 (XLA makes a thread for each); whether its display is the study's."""
MOST = 8
"""Workers at most by default: each holds a program and its data, about a gigabyte."""


class Share(NamedTuple):
    """What one worker has of the host: cores (all if there are none listed), and a GPU (all if it is None)."""

    cores: tuple[int, ...]
    gpu: str | None


@LAUNCHERS.register("local")
@dataclass(frozen=True)
class Local(Launcher):
    """Worker processes on this host, each with a share of its cores, or with a GPU of its own.

    A worker that is killed is started again, twice at most, and goes on from its checkpoint; the end of the study
    itself, however it dies, lets its workers save and end.
    """

    workers: Annotated[int, Whole(0, 1024)] = 0
    """Processes side by side; 0: one for every GPU, or for every core, 8 at most."""
    cores: Annotated[int, Whole(0, 4096)] = 0
    """Cores of each; 0: an equal share of all."""

    def pool(self, study: Study) -> Pool:
        """The workers. Raises UserError for more of them than GPUs, or more cores than there are."""
        return _Processes(study, self.shares())

    def shares(self) -> list[Share]:
        """What each worker has of this host."""
        here, devices = _cores(), _gpus()
        if self.cores > len(here):
            errors.refuse("local.cores", self.cores, f"at most {len(here)}, the cores of this host")
        if devices and self.workers > len(devices):
            errors.refuse("local.workers", self.workers, f"at most {len(devices)}, one for each GPU")
        count = self.workers or len(devices) or min(MOST, max(1, len(here) // max(self.cores, 1)))
        if count == 1 and not self.cores:
            return [Share((), None)]
        return [Share(_part(here, index, count, self.cores), devices[index] if devices and count > 1 else None)
                for index in range(count)]  # fmt: skip


def _cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _part(here: Sequence[int], index: int, count: int, each: int) -> tuple[int, ...]:
    """Cores of one of ``count`` workers: parts that do not meet, as far as there are enough."""
    if each:
        return tuple(here[(index * each + offset) % len(here)] for offset in range(each))
    begin, end = index * len(here) // count, (index + 1) * len(here) // count
    return tuple(here[begin:end]) or (here[index % len(here)],)


def _gpus() -> tuple[str, ...]:
    """The GPUs that JAX would use here, as CUDA_VISIBLE_DEVICES names them; JAX itself would occupy them."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    wanted = not platforms or any(name in platforms for name in ("cuda", "gpu"))
    if not wanted or not any(importlib.util.find_spec(f"jax_cuda{major}_plugin") for major in (12, 13)):
        return ()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return tuple(part.strip() for part in listed.split(",") if part.strip() and part.strip() != "-1")
    found = [path for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    return tuple(str(index) for index in range(len(found)))


class _Worker(NamedTuple):
    process: subprocess.Popen
    share: Share


class _Processes(Pool):
    def __init__(self, study: Study, shares: list[Share]):
        self._study, self._free, self._alone = study, list(shares), len(shares) == 1
        self._workers: dict[Unit, _Worker] = {}
        self._asked: set[Unit] = set()

    def room(self) -> int:
        return len(self._free)

    def start(self, units_: Sequence[Unit]) -> None:
        for unit in units_:
            share = self._free.pop(0)
            units.place(self._study.path, unit).mkdir(parents=True, exist_ok=True)
            environment = dict(os.environ)
            environment |= {CORES: ",".join(map(str, share.cores))} if share.cores else {}
            environment |= {"CUDA_VISIBLE_DEVICES": share.gpu} if share.gpu is not None else {}
            environment |= {SHOWN: "1"} if self._alone else {}
            process = subprocess.Popen(
                [sys.executable, "-m", launchers.WORKER, str(self._study.path), str(unit)],
                stdin=subprocess.PIPE,  # its end tells the worker that the study is gone
                stdout=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the study, which tells its workers
            )
            self._workers[unit] = _Worker(process, share)

    @property
    def running(self) -> Sequence[Unit]:
        return tuple(self._workers)

    def poll(self) -> Mapping[Unit, Result | None]:
        time.sleep(0.1)
        gone = [unit for unit, worker in self._workers.items() if worker.process.poll() is not None]
        return {unit: self._end(unit) for unit in gone}

    def _end(self, unit: Unit) -> Result | None:
        worker, folder = self._workers.pop(unit), units.place(self._study.path, unit)
        worker.process.stdin.close()
        self._free.append(worker.share)
        self._asked.discard(unit)
        code, told = worker.process.returncode, units.ended(folder)
        if told is not None:
            return told
        return None if code < 0 else Result(code, units.last_words(folder))

    def stop(self) -> None:
        for unit, worker in self._workers.items():
            if unit not in self._asked:  # asked once, as a second signal would cut it off
                self._asked.add(unit)
                worker.process.terminate()

    def kill(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()
