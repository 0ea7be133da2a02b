"""A reward of one's own in a process of its own, which is killed when it takes too long.

The process is ``python -m jaxpsn.tasks.reward_worker``: it loads the same plugins, is told the reward once, and then
answers lines of ``[problems, texts]``.
"""

import dataclasses
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxpsn.core import errors, plugins
from jaxpsn.core.components import called, to_json
from jaxpsn.tasks.problem import Problem

_HOME = str(Path(__file__).resolve().parents[2])
_STARTING = 120.0  # seconds it may take to start


def is_portable(reward: Any) -> bool:
    """Whether another process can be told the reward: it has a name there, by the package or by a plugin."""
    if not hasattr(reward, "score") or type(reward) not in type(reward).family.known:
        return False
    module = sys.modules.get(type(reward).__module__)
    name, file = type(reward).__module__, str(getattr(module, "__file__", None))
    listed = [record.get("path", record.get("name", "")) for record in plugins.loaded()]
    return any(file == one or f"{name}.".startswith(f"{one}.") for one in ("jaxpsn", *listed))


class RewardProcess:
    """The process of one reward; it starts when it is asked to, or asked first."""

    def __init__(self, reward: Any):
        self._reward, self._name = reward, getattr(reward, "source", called(type(reward)))
        self._process: subprocess.Popen[bytes] | None = None

    def score(self, problems: Sequence[Problem], texts: Sequence[str]) -> Any:
        """What the reward gives. Raises UserError if it fails, ends, or takes longer than its ``seconds``."""
        self.start()
        request = [[dataclasses.asdict(problem) for problem in problems], list(texts)]
        self._send(request)
        reply = self._reply(self._reward.seconds, f"{self._reward.seconds:g} s for {len(texts)} answers")
        if isinstance(reply, dict):
            self._fail(str(reply.get("error")))
        return reply

    def close(self) -> None:
        """End the process; a later :meth:`score` would start another."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                try:
                    pipe.close()
                except OSError:  # what was left to write has no reader
                    pass
            self._process = None

    def start(self) -> None:
        """Start the process, if it is not there. Raises UserError if the reward cannot be made in it."""
        if self._process is not None:
            return
        path = os.pathsep.join(entry or os.getcwd() for entry in (*sys.path, _HOME))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jaxpsn.tasks.reward_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        self._send({"plugins": plugins.loaded(), "reward": to_json(self._reward)})
        reply = self._reply(_STARTING, f"{_STARTING:g} s to start")
        if reply != "ready":
            self._fail(str(reply.get("error") if isinstance(reply, dict) else reply))

    def _send(self, message: Any) -> None:
        try:
            self._process.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            self._process.stdin.flush()
        except OSError:  # it died; its end of file says so to the reader
            pass

    def _reply(self, seconds: float, allowed: str) -> Any:
        """The next line; what comes in pieces is waited for until the time is over."""
        until, line, pipe = time.monotonic() + seconds, b"", self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, until - time.monotonic())):
                    self._fail(f"killed, as it took longer than {allowed}")
                piece = os.read(pipe.fileno(), 1 << 16)
                if not piece:
                    self._fail("its process ended")
                line += piece
        return json.loads(line)

    def _fail(self, says: str) -> None:
        self.close()
        raise errors.UserError(f"reward {self._name}: {says}")
