"""Runs a reasoning study: its units in worker processes, each with a share of the cores, and the report."""

import contextlib
import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

from jaxpsn.core import errors, files
from jaxpsn.run import startup, status
from jaxpsn.run.interrupts import Interrupts
from jaxpsn.study.reasoning import arms as arm_specs
from jaxpsn.study.reasoning import plan, worker
from jaxpsn.study.reasoning.plan import Unit
from jaxpsn.study.reasoning.record import Study

MOST = 8
"""Workers at most by default: each holds a program and its data, about a gigabyte."""


class _Worker:
    """One worker process; its lines, and at the end its exit status, come through ``told``."""

    def __init__(self, study: Study, unit: Unit, cores: tuple[int, ...], told: queue.Queue):
        self.unit, self.cores, self._told, self._asked = unit, cores, told, False
        log = study.log(str(unit).replace("/", "-").strip("-"))
        files.make_folder(log.parent)
        self.log = log
        environment = os.environ | ({worker.CORES: ",".join(map(str, cores))} if cores else {})
        with files.open_own(log, append=True) as errors_to:
            self.process = subprocess.Popen(
                [sys.executable, "-m", worker.__name__, str(study.path), str(unit)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors_to,
                env=environment,
                text=True,
                start_new_session=True,  # Ctrl-C is for the study, which tells its workers
            )
        threading.Thread(target=self._listen, daemon=True, name=f"listen {unit}").start()

    def _listen(self) -> None:
        with self.process:  # closes the pipes; of stdin only at the end, as its end means that the study is gone
            for line in self.process.stdout:
                self._told.put((self, line.rstrip("\n")))
            code = self.process.wait()
        self._told.put((self, code))

    def ask_to_stop(self) -> None:
        """Let the worker save and end; asked once, as a second signal would cut it off."""
        if not self._asked:
            self._asked = True
            self.process.terminate()

    def last_words(self) -> str:
        """The last line of the log."""
        lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ") if lines else "no word"


class Runner:
    """Starts what is ready while there are free cores, and tells what comes of it."""

    def __init__(self, study: Study):
        self.study = study
        self.status = status.DONE
        self._told: queue.Queue = queue.Queue()
        self._running: list[_Worker] = []
        self._begun = time.monotonic()
        self._made = 0

    def execute(self, waiting: dict[Unit, Unit | None], workers: int, interrupts: Interrupts) -> None:
        """Make the units of ``waiting``, each after the one it waits for; what waits for one that failed is left.

        Raises UserError where a worker met one, after the others were stopped.
        """
        waiting = {unit: after for unit, after in waiting.items() if not plan.is_done(self.study, unit)}
        total, shares = len(waiting), _shares(workers)
        self._begun, self._made = time.monotonic(), 0
        try:
            while (waiting or self._running) and not (interrupts.signum is not None and not self._running):
                if interrupts.signum is None:
                    self._start(waiting, shares)
                    if not self._running:
                        return
                self._hear(total, interrupts)
        finally:
            self._stop()

    def kill(self) -> None:
        """End the workers at once."""
        for one in self._running:
            one.process.kill()

    def _start(self, waiting: dict[Unit, Unit | None], shares: list[tuple[int, ...]]) -> None:
        free = [cores for cores in shares if cores not in [one.cores for one in self._running]]
        for unit, after in list(waiting.items()):
            if free and (after is None or plan.is_done(self.study, after)):
                del waiting[unit]
                self._running.append(_Worker(self.study, unit, free.pop(0), self._told))

    def _hear(self, total: int, interrupts: Interrupts) -> None:
        """Take one message of a worker; pass a signal on."""
        try:
            one, told = self._told.get(timeout=0.5)
        except queue.Empty:
            if interrupts.signum is not None:
                for other in self._running:
                    other.ask_to_stop()
            return
        if isinstance(told, str):
            startup.speak(f"{one.unit.title}: {told}")
            return
        self._running.remove(one)
        self._made += 1
        if told == status.DONE:
            spent = time.monotonic() - self._begun
            left = spent / self._made * (total - self._made)
            startup.speak(f"{self._made} of {total} parts after {_minutes(spent)}, about {_minutes(left)} left")
        elif told == status.NOT_FINITE:
            self.status = status.NOT_FINITE
        elif interrupts.signum is None:
            said = f"{one.unit.title}: {one.last_words()}"
            if told == status.USER_ERROR and one.unit.kind == "base":  # nothing was begun: the study's folder goes away
                one.log.unlink()
                raise errors.UserError(said)
            raise errors.UserError(f"{said} (exit status {told}; see {one.log})")

    def _stop(self) -> None:
        """End the workers that are left: their runs are saved."""
        for one in self._running:
            one.ask_to_stop()
        for one in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.process.wait(timeout=60)
            one.process.kill()
        self._running.clear()


def _shares(workers: int) -> list[tuple[int, ...]]:
    """The cores of each worker, dealt out evenly; where cores cannot be told apart, numbers that only count."""
    if not hasattr(os, "sched_getaffinity"):
        return [()] * 1 if workers == 1 else [(index,) for index in range(workers)]
    cores = sorted(os.sched_getaffinity(0))
    if workers == 1:
        return [tuple(cores)]
    return [tuple(cores[index::workers]) or (cores[index % len(cores)],) for index in range(workers)]


def workers(study: Study) -> int:
    """How many processes work side by side: as asked for, or a core each where the bases were judged on a CPU."""
    if study.config.workers:
        return study.config.workers
    backends = {(study.finished(study.base(task.label)) or {}).get("backend") for task in study.tasks}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST) if backends == {"cpu"} else 1


def refuse_saturated(study: Study) -> None:
    """Raise UserError for a task whose base leaves no room: its pass@k with all answers is at the limit."""
    from jaxpsn.stats import evaluations, pass_at_k

    for task in study.tasks:
        found = evaluations.read(evaluations.path(study.base(task.label), evaluations.BASE))
        reached = float(pass_at_k.estimate(found.n, found.correct, found.n).mean())
        if reached >= study.config.saturation:
            allowed = f"a task whose base stays below {study.config.saturation:g} (study.saturation)"
            allowed += f"; here pass@{found.n} = {reached:.3f} before any training. Harder numbers, or fewer answers"
            errors.refuse(arm_specs.TASK_FIELD, task.spec, allowed)
        if found.correct.sum() == 0:
            startup.speak(f"warning: {task.label}: the base solves nothing in {found.n} answers: no signal")


def again(path: Path) -> str:
    """The command that goes on with the study in ``path``."""
    return f"python experiments/rlvr_compare.py --resume {shlex.quote(str(path))}"


def execute(study: Study) -> int:
    """Make everything that is not there yet, and the report; returns the exit status.

    A run that was cut off goes on from its checkpoint; one that is finished is left as it is. A signal stops the
    workers, which save. Raises UserError for a saturated task, before any arm is made.
    """
    runner = Runner(study)
    with Interrupts(startup.speak, runner.kill, "step") as interrupts:
        interrupts.idle = False
        _say_kept(study)
        runner.execute(dict.fromkeys(plan.bases(study)), 1, interrupts)
        if interrupts.signum is None:
            refuse_saturated(study)
            for task in study.tasks:
                units = {unit: after for unit, after in plan.rest(study).items() if unit.task == task.label}
                runner.execute(units, workers(study), interrupts)
                if interrupts.signum is not None:
                    break
                startup.speak(f"report so far: {report(study)}")
        if interrupts.signum is not None:
            startup.speak(f"stopped; the study goes on with: {again(study.path)}")
            return 128 + interrupts.signum
    return runner.status


def _say_kept(study: Study) -> None:
    """What was made before, and by which other versions."""
    from jaxpsn.run import folder

    now = folder.versions()
    for unit in plan.rest(study):
        if unit.kind != "arm":
            continue
        done = [study.finished(study.run(unit.task, unit.arm, seed)) for seed in study.seeds]
        kept = [one for one in done if one is not None]
        if not kept:
            continue
        startup.speak(f"{unit.title}: {len(kept)} of {len(done)} seeds finished before; kept")
        other = {text for one in kept for text in folder.differences(one["versions"], now)}
        if other:
            startup.speak(f"warning: {unit.title}: kept runs were made with other versions: {', '.join(sorted(other))}")


def report(study: Study) -> Path:
    """Tables, plots and the report of what there is so far; returns the page."""
    from jaxpsn.report import build

    return build.build(study.path)


def _minutes(seconds: float) -> str:
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest:02} min" if hours else f"{rest} min"
