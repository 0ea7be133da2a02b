"""Units as Slurm jobs, through submitit.

- Units that are ready together are one array. A job claims its unit, and goes on from the unit's checkpoint.
- Before its time limit, and where the cluster preempts it with a warning (SIGUSR2), a job saves, and goes back to the
  queue. A job that Slurm requeues (preemption, ``scontrol requeue``, a lost node) does the same from what was saved.
- A job that was cancelled (``scancel``) saves if Slurm's KillWait allows, and its unit is left for ``--resume``.
- A job that Slurm says can never start, or that waits for longer than ``wait``, ends the study with its reason.
- The end of the study (Ctrl-C, SIGTERM) cancels what is queued, and lets what runs save and end. After ``kill -9`` the
  jobs go on; ``--resume`` finds them again.

Whether a unit is done is told by its own files. Jobs are looked up by ``squeue`` alone, as not every cluster keeps
accounts.
"""

import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from jaxpsn.core import Count, Real, Whole, errors, files, shapes
from jaxpsn.run import startup, status
from jaxpsn.study import launchers, units
from jaxpsn.study.launchers import LAUNCHERS, Launcher, Pool, Study
from jaxpsn.study.units import Result, Unit

JOB = "job.json"
"""In a unit's folder: the number of the job that was last submitted for it."""
HOPELESS = frozenset(
    {
        "AccountNotAllowed", "BadConstraints", "InvalidAccount", "InvalidQOS", "launch failed requeued held",
        "PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit", "QOSNotAllowed",
    }
)  # fmt: skip
"""Reasons of ``squeue`` for which a job does not start however long it waits."""
_JOB = {"job": str, "cluster": str}
EVERY = 10.0
"""Seconds between looks at the queue."""
_MISSED = 2  # looks in a row at which a job is not listed before it counts as gone


@LAUNCHERS.register("slurm")
@dataclass(frozen=True)
class Slurm(Launcher):
    """Slurm jobs, one a unit (needs the slurm extra); the study's folder must be one that all nodes see."""

    time_limit: Annotated[int, Whole(1, 60 * 24 * 365)] = 240
    """Minutes of a job; a unit that takes longer goes on in another one."""
    partition: str = ""
    """Where to run; empty: the cluster's own choice, as below."""
    account: str = ""
    """Who pays."""
    qos: str = ""
    """Quality of service."""
    constraint: str = ""
    """Features that a node must have."""
    gpus: Annotated[int, Whole(0, 1024)] = 0
    """GPUs of a job."""
    cpus: Annotated[int, Whole(1, 1024)] = 4
    """Cores of a job."""
    memory: Annotated[float, Real(0.0, 1e6)] = 0.0
    """GB of a job; 0: the cluster's own choice."""
    array: Annotated[int, Whole(0, 100_000)] = 0
    """Jobs of an array that run at a time; 0: as many as the cluster lets."""
    grace: Annotated[int, Whole(1, 3600)] = 120
    """Seconds before the time limit at which a job saves: longer than a chunk and a checkpoint take."""
    requeues: Count = 100
    """Times that a job may come to its time limit."""
    wait: Annotated[float, Real(0.0, 1e6)] = 0.0
    """Minutes that a job may wait in the queue; 0: any."""
    setup: tuple[str, ...] = ()
    """Shell commands before each job, such as module load cuda."""
    cluster: Literal["slurm", "local"] = "slurm"
    """local: the same on this host without Slurm, to try a study out."""

    def validate(self) -> None:
        """Refuse what does nothing without Slurm."""
        without = Slurm.__dataclass_fields__ if self.cluster == "local" else {}
        for name in set(without) - {"time_limit", "gpus", "grace", "requeues", "setup", "cluster"}:
            if getattr(self, name) != without[name].default:
                errors.refuse(f"slurm.{name}", getattr(self, name), "left out, as slurm.cluster is local")

    def pool(self, study: Study) -> Pool:
        """The jobs. Raises UserError without submitit or Slurm."""
        if importlib.util.find_spec("submitit") is None:
            errors.refuse("launcher", "slurm", "what is installed; it needs submitit: pip install 'jaxpsn[slurm]'")
        return _Jobs(self, study)

    def executor(self, folder: Path) -> Any:
        """submitit's, with these settings. Raises UserError on a host without Slurm."""
        import submitit

        try:
            kind = submitit.SlurmExecutor if self.cluster == "slurm" else submitit.LocalExecutor
            made = kind(folder, max_num_timeout=self.requeues)
            made.update_parameters(signal_delay_s=self.grace, setup=list(self.setup), **self._parameters())
        except RuntimeError as error:
            errors.refuse("launcher", "slurm", f"a host with Slurm: {error}")
        return made

    def _parameters(self) -> dict[str, Any]:
        if self.cluster == "local":
            return {"timeout_min": self.time_limit, "gpus_per_node": self.gpus}
        asked = {"partition": self.partition, "account": self.account, "qos": self.qos, "constraint": self.constraint}
        asked |= {"gpus_per_node": self.gpus, "mem": f"{1000 * self.memory:.0f}M" if self.memory else ""}
        return {name: value for name, value in asked.items() if value} | {
            "time": self.time_limit, "cpus_per_task": self.cpus, "array_parallelism": self.array or 1 << 20,
            "job_name": "jaxpsn", "additional_parameters": {"requeue": True},
        }  # fmt: skip


class Job:
    """What a job runs: the worker of a unit, which saves and ends where the job has to."""

    def __init__(self, study: str, unit: str):
        self.study, self.unit, self.worker = study, unit, launchers.WORKER
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        """Make the unit; returns the worker's exit status."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.worker, self.study, self.unit],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            preexec_fn=_leave_the_warning_to_us,
        )
        while (code := self._process.poll()) is None:
            time.sleep(0.2)
        folder = units.place(Path(self.study), Unit.of(self.unit))
        if code >= 0 and units.ended(folder) is None:
            units.end(folder, Result(code, units.last_words(folder)))
        return code

    def checkpoint(self) -> Any:
        """Let the worker save and end, and be begun again: submitit asks so before it requeues the job."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()  # not SIGTERM: Slurm may have sent one, and a second one ends at once
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            (units.place(Path(self.study), Unit.of(self.unit)) / units.ENDED).unlink(missing_ok=True)
        return DelayedSubmission(self)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_process": None}


def _leave_the_warning_to_us() -> None:
    """Slurm sends its warning to every process of a job; it would end the worker before it has saved."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _is_over(job: Any) -> bool:
    """Whether a job of this host has ended: one of ours, or one of an earlier session, known by its process alone."""
    return job.done() and not units.runs(int(job.job_id))


@dataclass
class _Submitted:
    job: Any
    since: float
    missed: int = 0
    started: bool = False


class _Jobs(Pool):
    def __init__(self, launcher: Slurm, study: Study):
        self._launcher, self._study = launcher, study
        self._executor = launcher.executor(study.path.absolute() / "units" / "jobs")
        self._jobs: dict[Unit, _Submitted] = {}
        self._looked, self._stopping = 0.0, False
        self._local = launcher.cluster == "local"

    def room(self) -> int:
        return 1 << 20

    def adopt(self, units_: Sequence[Unit]) -> list[Unit]:
        known = {} if self._local else self._listed() or {}
        for unit in units_:
            told = shapes.optional(self._folder(unit) / JOB, _JOB)
            if told is not None and told["cluster"] == self._launcher.cluster:
                job = self._executor.job_class(self._executor.folder, told["job"])
                if told["job"] in known or (self._local and not _is_over(job)):
                    self._jobs[unit] = _Submitted(job, time.monotonic())
        return list(self._jobs)

    def start(self, units_: Sequence[Unit]) -> None:
        study = str(self._study.path.absolute())
        for unit in units_:
            self._folder(unit).mkdir(parents=True, exist_ok=True)
            (self._folder(unit) / units.ENDED).unlink(missing_ok=True)
        try:
            with contextlib.redirect_stderr(io.StringIO()), self._executor.batch():  # its errors come below
                jobs = [self._executor.submit(Job(study, str(unit))) for unit in units_]
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:  # submitit's own errors are RuntimeErrors
            lines = [line for line in str(error).splitlines() if "error" in line.lower()] or [str(error)]
            errors.refuse("launcher", "slurm", f"what this cluster takes: {lines[-1].strip()}")
        for unit, job in zip(units_, jobs, strict=True):
            told = {"job": job.job_id, "cluster": self._launcher.cluster}
            files.write_atomically(self._folder(unit) / JOB, json.dumps(told) + "\n")
            self._jobs[unit] = _Submitted(job, time.monotonic())
        numbers = f"{jobs[0].job_id} to {jobs[-1].job_id}" if len(jobs) > 1 else jobs[0].job_id
        startup.speak(f"submitted {len(jobs)} of the study's parts as jobs: {numbers}")

    @property
    def running(self) -> Sequence[Unit]:
        return tuple(self._jobs)

    def poll(self) -> Mapping[Unit, Result | None]:
        time.sleep(0.2 if self._local else 1.0)
        found: dict[Unit, Result | None] = {}
        if self._local:
            found = {unit: units.ended(self._folder(unit)) for unit, one in self._jobs.items() if _is_over(one.job)}
        else:
            ended = {unit: units.ended(self._folder(unit)) for unit in self._jobs}
            # A worker that a signal ended may be one of a job that goes back to the queue.
            found = {unit: told for unit, told in ended.items() if told is not None and told.status < 128}
            if time.monotonic() - self._looked > EVERY:
                self._looked = time.monotonic()
                found = self._gone() | found
        for unit in found:
            del self._jobs[unit]
        return found

    def _gone(self) -> dict[Unit, Result | None]:
        """The units whose jobs Slurm does not know any more, or that it never starts."""
        known, found = self._listed(), {}
        for unit, one in self._jobs.items() if known is not None else ():  # no answer: the jobs may well go on
            state, reason = known.get(one.job.job_id, (None, ""))
            one.missed = one.missed + 1 if state is None else 0
            one.started |= state not in (None, "PENDING")
            if state == "PENDING" and (why := self._never(one, reason)) is not None:
                one.job.cancel(check=False)
                found[unit] = Result(status.USER_ERROR, f"Slurm job {one.job.job_id} does not start: {why}")
            elif one.missed >= _MISSED:
                found[unit] = units.ended(self._folder(unit))
                if found[unit] is None and not one.job.paths.stdout.exists():
                    found[unit] = Result(128 + signal.SIGTERM, "cancelled before it began")
        return found

    def _never(self, one: _Submitted, reason: str) -> str | None:
        """Why a queued job is given up; None as long as it may start."""
        limit = 60 * self._launcher.wait
        if reason in HOPELESS:
            return reason
        if limit and not one.started and time.monotonic() - one.since > limit:
            return f"{reason}, after {self._launcher.wait:g} minutes (slurm.wait)"
        return None

    def _listed(self) -> dict[str, tuple[str, str]] | None:
        """Our jobs that are queued or run: number -> state and reason; None if Slurm does not answer."""
        asked = ["squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r"]
        try:
            told = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return None
        rows = [line.strip().split("|", 2) for line in told.splitlines() if line.count("|") >= 2]
        return {number: (state, reason) for number, state, reason in rows}

    def _folder(self, unit: Unit) -> Path:
        return units.place(self._study.path, unit)

    def stop(self) -> None:
        if self._stopping or not self._jobs:
            return
        self._stopping = True
        if self._local:
            self.kill()  # the worker sees that its job is gone, and saves
            return
        self._cancel("--state=PENDING")
        self._cancel("--signal=TERM")

    def kill(self) -> None:
        if self._local:
            for one in self._jobs.values():
                one.job.cancel(check=False)
        elif self._jobs:
            self._cancel()

    def _cancel(self, *how: str) -> None:
        """scancel, for a moment: without its controller it would try for minutes."""
        numbers = [one.job.job_id for one in self._jobs.values()]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["scancel", "--quiet", *how, *numbers], capture_output=True, check=False, timeout=20)
