"""A worker process of a reasoning study: ``python -m jaxpsn.study.reasoning.worker FOLDER UNIT``.

It tells how far it is by lines on stdout, and ends with an exit status of ``jaxpsn.run.status``. The end of its
stdin means that the study itself is gone: it then saves and stops, as it does on SIGTERM.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from jaxpsn.core import errors
from jaxpsn.run import interrupts, startup, status

CORES = "JAXPSN_STUDY_CORES"
"""Environment variable with the cores of a worker, such as 0,1; XLA makes a thread for each."""


def _follow() -> None:
    """Stop when whoever started this process is gone."""
    while os.read(sys.stdin.fileno(), 1):  # not through Python's buffer, whose lock would outlive the interpreter
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def run(path: Path, unit: str) -> int:
    """Make ``unit`` of the study in ``path``; returns the exit status."""
    from jaxpsn.rlvr import names
    from jaxpsn.run import cache, memory
    from jaxpsn.study.reasoning import record
    from jaxpsn.study.reasoning.plan import Unit

    cache.enable()
    study, asked = record.load(path), Unit.of(unit)
    sizes = f"{names.LOWERS_ROLLOUT}, {names.LOWERS_EVALUATION}, decoder.hidden_size, decoder.num_layers"
    kept = f"{unit}: ended; what was saved is kept, the rest is made when the study goes on"
    with interrupts.stage(kept), memory.told(sizes):
        return _make(study, asked)


def _make(study: Any, asked: Any) -> int:
    from jaxpsn.study.reasoning import units

    try:
        if asked.kind == "base":
            units.base(study, asked.task, startup.result)
        elif asked.kind == "tune":
            units.tune(study, asked.task, study.arm(asked.arm), startup.result)
        elif units.arm(study, asked.task, study.arm(asked.arm), startup.result):
            return status.NOT_FINITE
    except units.Stopped as stopped:
        return stopped.code
    return status.DONE


def main() -> int:
    """Do what the command line asks for."""
    if len(sys.argv) != 3:
        errors.refuse("arguments", sys.argv[1:], "a study folder and a unit")
    cores = os.environ.get(CORES)
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    threading.Thread(target=_follow, daemon=True, name="follow").start()
    return run(Path(sys.argv[1]), sys.argv[2])


if __name__ == "__main__":
    sys.exit(startup.script(main, greeting=None))
