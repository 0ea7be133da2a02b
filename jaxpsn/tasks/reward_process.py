"""A reward of one's own in a process of its own, which is killed when it takes too long."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from jaxpsn.core import errors, plugins, processes
from jaxpsn.core.components import called, to_json
from jaxpsn.core.processes import Silence
from jaxpsn.tasks.problem import Problem


def is_portable(reward: Any) -> bool:
    """Whether another process can be told the reward: it has a name there, by the package or by a plugin."""
    if not hasattr(reward, "score") or type(reward) not in type(reward).family.known:
        return False
    module = sys.modules.get(type(reward).__module__)
    name, file = type(reward).__module__, str(getattr(module, "__file__", None))
    listed = [record.get("path", record.get("name", "")) for record in plugins.loaded()]
    return any(file == one or f"{name}.".startswith(f"{one}.") for one in ("jaxpsn", *listed))


class RewardProcess:
    """The process of one reward, :mod:`jaxpsn.tasks.reward_worker`; it starts when it is asked to, or asked first."""

    def __init__(self, reward: Any):
        self._reward, self._name = reward, getattr(reward, "source", called(type(reward)))
        self._worker: processes.Worker | None = None

    def score(self, problems: Sequence[Problem], texts: Sequence[str]) -> Any:
        """What the reward gives. Raises UserError if it fails, ends, or takes longer than its ``seconds``."""
        self.start()
        request = [[dataclasses.asdict(problem) for problem in problems], list(texts)]
        self._worker.ask(request, self._reward.seconds)
        return self._reply(f"{self._reward.seconds:g} s for {len(texts)} answers")

    def start(self) -> None:
        """Start the process, if it is not there. Raises UserError if the reward cannot be made in it."""
        if self._worker is None:
            setup = {"plugins": plugins.loaded(), "reward": to_json(self._reward)}
            self._worker = processes.Worker("jaxpsn.tasks.reward_worker", setup)
            self._reply(f"{processes.STARTING:g} s to start")

    def close(self) -> None:
        """End the process; a later :meth:`score` would start another."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _reply(self, allowed: str) -> Any:
        reply = self._worker.reply()
        if isinstance(reply, dict | Silence):
            self.close()
            late = f"killed, as it took longer than {allowed}"
            says = reply["error"] if isinstance(reply, dict) else late if reply is Silence.LATE else reply.value
            raise errors.UserError(f"reward {self._name}: {says}")
        return reply
