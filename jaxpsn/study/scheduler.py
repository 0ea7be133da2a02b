"""Orders the units of a study and hands those that are ready to a launcher; there is no more to it.

What becomes of a unit:

- it is done: what waits for it may begin, and it is never made again;
- something in it is not finite: it is left as it is, as is what waits for it; the others go on, the status is 3;
- its worker is lost (killed, out of memory, its host gone): it is started again, from its checkpoint, twice at most;
- its worker was told to end from outside (SIGTERM, ``scancel``), or was lost too often: it is left for ``--resume``,
  the others go on, and the status is 2;
- its worker ended with an error: the others save and end, and the status is 2.

A signal to the study (Ctrl-C, SIGTERM, SIGHUP) lets the workers save and end; the second one ends them at once.
``--resume`` goes on in every case, after ``kill -9`` of the study too.
"""

import contextlib
import time
from collections.abc import Sequence

from jaxpsn.core import errors
from jaxpsn.run import folder, startup, status
from jaxpsn.run.interrupts import Interrupts
from jaxpsn.study import units
from jaxpsn.study.launchers import LAUNCHERS, Pool
from jaxpsn.study.record import Study
from jaxpsn.study.units import Lines, Result, Unit

AGAIN = 2
"""Times that a unit is started again after its worker was lost."""


def execute(study: Study) -> int:
    """Make everything that is not there yet; returns the exit status. Raises UserError as the module says."""
    launcher = LAUNCHERS.make(study.config.launcher, "launcher")
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(launcher.open(study))
        interrupts = stack.enter_context(Interrupts(startup.speak, pool.kill, study.SAVES))
        interrupts.idle = launcher.here  # a run in this process answers signals itself
        return _Session(study, pool, interrupts).run()


class _Session:
    """One session of a study, from what there is to what can be made."""

    def __init__(self, study: Study, pool: Pool, interrupts: Interrupts):
        self._study, self._pool, self._interrupts = study, pool, interrupts
        self._left = study.units()
        self._total = len(self._left)
        self._done: set[Unit] = set()
        self._outside: list[str] = []
        self._lost: dict[Unit, int] = {}
        self._lines = Lines()
        self._stop: int | None = None
        self._status, self._made, self._begun = status.DONE, 0, time.monotonic()

    def run(self) -> int:
        """Make what is left; returns the exit status."""
        for unit in list(self._left):
            self._look(unit)
        self._total = len(self._left)
        for unit in self._pool.adopt(tuple(self._left)):
            self._follow(unit)
        while True:
            if self._stopped() is None:
                self._start()
            else:
                self._pool.stop()
            if not self._pool.running:
                break
            for unit in self._pool.running:
                self._relay(unit)
            for unit, result in self._pool.poll().items():
                self._relay(unit)
                self._end(unit, result)
        return self._close()

    def _named(self, unit: Unit) -> str:
        """How a line about a unit begins."""
        title = self._study.title(unit)
        return f"{title}: " if title else ""

    def _stopped(self) -> int | None:
        """The status with which the study is to stop, None to go on."""
        return self._stop if self._interrupts.signum is None else 128 + self._interrupts.signum

    def _look(self, unit: Unit) -> None:
        """What became of a unit in an earlier session."""
        kept = [one for one in self._study.kept(unit) if one is not None]
        if kept:
            self._say_kept(unit, kept, len(self._study.kept(unit)))
        if self._study.is_done(unit):
            self._finish(unit)
        elif (why := self._study.failed(unit)) is not None:
            self._fail(unit, why)

    def _say_kept(self, unit: Unit, kept: Sequence[dict], count: int) -> None:
        named, now = self._named(unit), folder.versions()
        some = "" if len(kept) == count else f"{len(kept)} of {count} seeds "
        startup.speak(f"{named}{some}finished before; kept")
        other = {text for one in kept for text in folder.differences(one.get("versions", {}), now)}
        if other:
            startup.speak(f"warning: {named}made with other versions, and kept: {', '.join(sorted(other))}")

    def _start(self) -> None:
        room = self._pool.room()
        ready = [unit for unit, after in self._left.items() if self._done.issuperset(after)]
        ready = [unit for unit in ready if unit not in self._pool.running][:room]
        for unit in ready:
            self._follow(unit)
        if ready:
            self._study.read(self._study.path)  # a study that was moved or deleted meanwhile is not made again
            self._pool.start(ready)

    def _follow(self, unit: Unit) -> None:
        self._lines.follow(units.place(self._study.path, unit))

    def _relay(self, unit: Unit) -> None:
        for line in self._lines.new(units.place(self._study.path, unit)):
            startup.speak(f"{self._named(unit)}{line}")

    def _end(self, unit: Unit, result: Result | None) -> None:
        self._stop = self._stop or (result and result.stop)
        if (result is not None and result.status == status.DONE) or self._study.is_done(unit):
            self._finish(unit)
            self._progress(unit)
        elif (why := self._study.failed(unit)) is not None:
            self._fail(unit, why)
        elif self._stopped() is not None:
            return
        elif result is None and self._lost.get(unit, 0) < AGAIN:
            self._lost[unit] = self._lost.get(unit, 0) + 1
            startup.speak(f"{self._named(unit)}its worker is lost; started again, from what it saved")
        elif result is None or result.status >= 128:
            self._left.pop(unit)
            self._outside.append(self._study.title(unit) or unit.kind)
            told = f"its worker was lost {AGAIN + 1} times" if result is None else "its worker was told to end"
            startup.speak(f"{self._named(unit)}{told}; left for later")
        else:
            log = units.place(self._study.path, unit) / units.LOG
            fault = result.status != status.USER_ERROR and log.is_file()
            raise errors.UserError(f"{self._named(unit)}{result.reason}" + (f" (see {log})" if fault else ""))

    def _finish(self, unit: Unit) -> None:
        self._left.pop(unit, None)
        self._done.add(unit)
        self._study.take(unit)

    def _fail(self, unit: Unit, why: str) -> None:
        self._left.pop(unit)
        self._status = status.NOT_FINITE
        startup.speak(f"{self._named(unit)}failed, {why}")

    def _progress(self, unit: Unit) -> None:
        """How far the study is, and the report so far, once an arm is there."""
        self._made += 1
        spent = time.monotonic() - self._begun
        left = spent / self._made * (self._total - self._made)
        startup.speak(f"{self._made} of {self._total} parts after {_minutes(spent)}, about {_minutes(left)} left")
        if self._left and self._study.is_worth_a_report(unit, tuple(self._left)):
            try:
                self._study.report()
            except Exception as error:  # of whatever kind: what is left matters more, and the last report tells
                startup.speak(f"{self._named(unit)}no report yet ({type(error).__name__}: {error})")

    def _close(self) -> int:
        stopped = self._stopped()
        waiting = [unit for unit in self._left if self._could(unit)]
        if stopped is not None and waiting:
            startup.speak(f"stopped; the study goes on with: {self._study.again}")
            return stopped
        if self._outside:
            self._study.report()
            raise errors.UserError(f"left for later: {', '.join(self._outside)}; go on with: {self._study.again}")
        return self._status

    def _could(self, unit: Unit) -> bool:
        """Whether a unit that is left waits for nothing that failed."""
        return all(one in self._done or (one in self._left and self._could(one)) for one in self._study.units()[unit])


def _minutes(seconds: float) -> str:
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest:02} min" if hours else f"{rest} min"
