"""What a runner is told and what it tells: lines over pipes. Imported by Pythons that have no ``jaxpsn``."""

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

GO = "go"
_COMPILED = "/jax/core/compile/backend_compile_duration"


class Done(Exception):
    """Nobody asks for more."""


class Turns:
    """One runner's talk with the benchmark: its task on the command line (JSON), then a report and a word in turn.

    Reports go to a pipe of their own, whose number is the second argument: libraries print to stdout as they like.
    """

    def __init__(self) -> None:
        self._out = os.fdopen(int(sys.argv[2]), "w", encoding="utf-8")
        self.task: dict[str, Any] = json.loads(sys.argv[1])

    def tell(self, steps: int, updates: int, seconds: float, score: float, compile_seconds: float) -> None:
        """Say what was done since the last report; see ``peers_worker.Report``."""
        told = {
            "steps": steps,
            "updates": updates,
            "seconds": seconds,
            "return": score,
            "compile_seconds": compile_seconds,
            "peak_bytes": _peak_bytes(),
        }
        print(json.dumps(told), file=self._out, flush=True)

    def wait(self) -> None:
        """Wait to be asked for more. Raises Done where there is none to come."""
        if sys.stdin.readline().strip() != GO:
            raise Done


class Session(Turns):
    """The talk of a runner of control.

    ``task``: ``control`` (a ControlConfig as a dict), ``seed``, and ``calls``, the vector steps of a chunk.
    """

    def __init__(self) -> None:
        super().__init__()
        self.control: dict[str, Any] = self.task["control"]
        self.agent: dict[str, Any] = self.control["agent"]["fields"]
        self.explore: dict[str, Any] = self.control["explore"]["fields"]
        self.environment: dict[str, Any] = self.control["env"]
        self.steps_per_chunk: int = self.task["calls"] * self.environment["num_envs"]
        self._compiling = 0.0
        monitoring = importlib.import_module("jax.monitoring")
        monitoring.register_event_duration_secs_listener(self._heard)

    def report(self, steps: int, updates: int, seconds: float, score: float) -> None:
        """Say what a chunk did: environment steps, critic updates, its seconds, and the mean return after it."""
        self.tell(steps, updates, seconds, score, self._compiling)

    def _heard(self, event: str, seconds: float, **_: Any) -> None:
        self._compiling += seconds * (event == _COMPILED)


class Answers(Turns):
    """The talk of a trainer of language models, which makes one GRPO step at a time.

    ``task``: ``folder`` (of the model), ``out``, ``prompts``, ``problems`` and ``samples`` of a step, and ``tokens``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun = 0.0

    def begin(self) -> None:
        """Wait until a step is asked for; where there is none to come, end this process with its threads."""
        try:
            self.wait()
        except Done:
            os._exit(0)
        self._begun = time.process_time()

    def end(self) -> None:
        """Say how many processor seconds the step took."""
        self.tell(1, 1, time.process_time() - self._begun, 0.0, 0.0)


def even(completions: list[str], **_: Any) -> list[float]:
    """1 for texts whose digits add up to an even number."""
    return [float(sum(map(int, filter(str.isdigit, text))) % 2 == 0) for text in completions]


def end_quietly(main: Callable[[], None]) -> None:
    """Run ``main`` until nobody asks for more."""
    with contextlib.suppress(Done):
        main()


def _peak_bytes() -> int:
    """What the device held at most, or the process where the device does not tell."""
    device = (sys.modules["jax"].devices()[0].memory_stats() or {}) if "jax" in sys.modules else {}
    unit = 1 if sys.platform == "darwin" else 1024
    return device.get("peak_bytes_in_use") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
