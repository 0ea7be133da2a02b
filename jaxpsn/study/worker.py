"""The worker of a study: ``python -m jaxpsn.study.worker FOLDER UNIT`` makes one unit, or what is left of it.

It claims the unit, and leaves in the unit's folder what it has to say and how it ended (:mod:`jaxpsn.study.units`),
besides its exit status (:mod:`jaxpsn.run.status`). On SIGTERM it saves and stops, and likewise when its stdin ends, as
whoever started it is gone then.
"""

import contextlib
import io
import os
import signal
import sys
import threading
from pathlib import Path

from jaxpsn.core import errors
from jaxpsn.run import interrupts, startup, status
from jaxpsn.study import units
from jaxpsn.study.launchers.local import CORES, SHOWN
from jaxpsn.study.units import Result, Unit


def _follow() -> None:
    """Stop when whoever started this process is gone, unless a signal came before."""
    while os.read(sys.stdin.fileno(), 1):  # not through Python's buffer, whose lock would outlive the interpreter
        pass
    if not interrupts.came():
        os.kill(os.getpid(), signal.SIGTERM)


def _write_to(log: Path) -> None:
    """Let stderr, and what libraries print, go to the unit's log."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)


def run(path: Path, unit: Unit) -> int:
    """Make ``unit`` of the study in ``path``; returns the exit status."""
    folder = units.place(path, unit)
    folder.mkdir(parents=True, exist_ok=True)
    if SHOWN not in os.environ:
        _write_to(folder / units.LOG)
    os.dup2(2, 1)
    with units.claimed(folder), interrupts.stage(f"{unit}: ended; what was saved is kept"):
        result = _made(path, unit)
        units.end(folder, result)
    return result.status


def _made(path: Path, unit: Unit) -> Result:
    try:
        from jaxpsn.run import cache
        from jaxpsn.study import kinds

        cache.enable()
        result = kinds.load(path).make(unit)
        return Result(result.stop or result.status, result.reason)
    except Exception as error:
        return _told(error)


def _told(error: Exception) -> Result:
    """What ends the worker, in the words of every script; what the user caused is for the study to say."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = startup.last_words(error)
    if code != status.USER_ERROR or SHOWN not in os.environ:
        print(said.getvalue(), end="", file=sys.stderr, flush=True)
    return Result(code, said.getvalue().strip().splitlines()[-1].removeprefix("error: "))


def main() -> int:
    """Do what the command line asks for."""
    if len(sys.argv) != 3:
        errors.refuse("arguments", sys.argv[1:], "a study folder and a unit")
    cores = os.environ.get(CORES)
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    threading.Thread(target=_follow, daemon=True, name="follow").start()
    return run(Path(sys.argv[1]), Unit.of(sys.argv[2])) or status.DONE


if __name__ == "__main__":
    sys.exit(startup.script(main, greeting=None))
