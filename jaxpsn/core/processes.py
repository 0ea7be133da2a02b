"""Worker processes: programs that answer lines of JSON, are given a time for it, and are killed with their children.

They are plain programs, not children of `multiprocessing`: the user's script is not imported again, nothing is forked
from a process that runs JAX, and their work has the main thread. :class:`Worker` is the side of the parent,
:func:`serve` that of the program. The first message sets a worker up, which it answers with ``READY``.
"""

import contextlib
import enum
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxpsn.core import errors

READY = "ready"
STARTING = 120.0
"""Seconds that a worker may take to be ready."""
_HOME = str(Path(__file__).resolve().parents[2])


class Silence(enum.Enum):
    """What is had of a worker that does not answer."""

    LATE = "its time is over"
    ENDED = "its process ended"


class Worker:
    """A process of ``python -m MODULE``, which imports what this one does; ``setup`` is the first thing it is told."""

    def __init__(self, module: str, setup: Any):
        path = os.pathsep.join(entry or os.getcwd() for entry in (*sys.path, _HOME))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is the parent's to handle, and its children are to be found
        )
        self._said = b""
        self.ask(setup, STARTING)

    def ask(self, message: Any, seconds: float) -> None:
        """Send a message, the answer to which is due in ``seconds``."""
        self.until = time.monotonic() + seconds
        with contextlib.suppress(OSError):  # it died; its end of file says so to the reader
            self.process.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            self.process.stdin.flush()

    def reply(self) -> Any:
        """Its answer, as of :func:`replies`, once there is one."""
        while not (found := replies([self])):
            pass
        return found[self]

    def read(self) -> bool:
        """Take what has come; whether that was the end of a line. Raises EOFError if the process ended."""
        piece = os.read(self.process.stdout.fileno(), 1 << 16)
        if not piece:
            raise EOFError
        self._said += piece
        return self._said.endswith(b"\n")

    def answer(self) -> Any:
        """The line that was read."""
        said, self._said = self._said, b""
        return json.loads(said)

    def end(self) -> None:
        """Kill the process and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what was left to write has no reader
                pipe.close()


def replies(workers: Sequence[Worker]) -> dict[Worker, Any]:
    """What those workers say that have something to say, waiting for the first of them; ``Silence`` of the others.

    All of them must have been asked. Answers that come in pieces are waited for until their time is over.
    """
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
        patience = min(worker.until for worker in workers) - time.monotonic()
        heard = [key.data for key, _ in selector.select(max(0.0, patience))]
    found: dict[Worker, Any] = {}
    for worker in workers:
        try:
            if worker in heard and worker.read():
                found[worker] = worker.answer()
            elif time.monotonic() >= worker.until:
                found[worker] = Silence.LATE
        except EOFError:
            found[worker] = Silence.ENDED
    return found


def serve(setup: Callable[[Any], Callable[[Any], Any]]) -> None:
    """Be a worker: ``setup`` makes of the first message what answers the others, until there are no more.

    The pipes to the parent are kept from everybody else, and nothing comes out on standard output or error. What goes
    wrong is answered by ``{"error": "..."}``.
    """
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silent, descriptor)
    answer: Callable[[Any], Any] | None = None
    for line in requests:
        try:
            if answer is None:
                answer, reply = setup(json.loads(line)), READY
            else:
                reply = answer(json.loads(line))
            sent = json.dumps(reply, default=float)
        except Exception as error:
            sent = json.dumps({"error": _says(error)})
        replies.write(sent.encode("ascii") + b"\n")


def _says(error: Exception) -> str:
    if isinstance(error, errors.UserError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in line {frame.lineno} of {os.path.basename(frame.filename)}: {error}"
