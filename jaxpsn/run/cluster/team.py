"""The processes of one run: what they tell each other, and how one notices that another is gone; imports no JAX."""

import contextlib
import ctypes
import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from jaxpsn.core import errors
from jaxpsn.run import folder, startup, status

PATIENCE = 10
"""Silences (``peer_timeout``) for which a process that lives may keep the others waiting."""
_ABSENT = "absent"


@dataclasses.dataclass
class Team:
    """This process among ``count``; alone, everything here is trivial.

    ``client`` is the key-value store of JAX's coordination service, which process 0 serves. Every process writes a line
    into it each second; silence of ``timeout`` seconds, or a collective that fails, ends this process with one line.
    """

    process: int = 0
    count: int = 1
    client: Any = None
    timeout: float = 60.0
    advice: Callable[[], str] = lambda: ""
    """What the last line says besides: how to go on."""
    _round: int = 0
    _phase: int = 0
    _over: threading.Event = dataclasses.field(default_factory=threading.Event)
    _last: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    _aborted: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes what a run leaves."""
        return self.process == 0

    def gather(self, text: str) -> list[str]:
        """What each process says, by its number; all must call it, in the same order."""
        if self.count == 1:
            return [text]
        self._round += 1
        self.begin()
        self.client.key_value_set(f"jaxpsn/said/{self._round}/{self.process}", f"={text}")
        said = [self._heard(process) for process in range(self.count)]
        # Whoever speaks in this round has heard all of the round before.
        with contextlib.suppress(Exception):
            self.client.key_value_delete(f"jaxpsn/said/{self._round - 1}/{self.process}")
        return said

    def _heard(self, process: int) -> str:
        try:
            wait = int(1000 * PATIENCE * self.timeout)
            return self.client.blocking_key_value_get(f"jaxpsn/said/{self._round}/{process}", wait)[1:]
        except Exception as error:  # the service ended, or the process did not come in time
            self.abandon(f"process {process} of {self.count} did not answer: {_line(error)}")

    def tell(self, text: str) -> str:
        """What process 0 says, to all."""
        return self.gather(text if self.first else "")[0]

    def agree(self, signum: int | None) -> int | None:
        """A signal that came to any of them, so that all stop after the same chunk."""
        return max(map(int, self.gather(str(signum or 0)))) or None

    def begin(self) -> None:
        """A phase begins in which no process gets on without the others."""
        self._phase += 1

    def alike(self, record: Mapping[str, Any]) -> None:
        """Refuse processes whose ``record`` (config, versions) is another than that of process 0, in one line."""
        said = [json.loads(text) for text in self.gather(json.dumps(record, sort_keys=True, default=str))]
        for process, other in enumerate(said):
            if found := folder.differences(said[0], other):
                more = f" and {len(found) - 3} more" if len(found) > 3 else ""
                told = ", ".join(text.replace("(was ", "(process 0: ") for text in found[:3])
                raise errors.UserError(f"process {process} of {self.count} differs from process 0: {told}{more}")

    def watch(self) -> None:
        """Look after the others from now on, in a thread of its own."""
        # Where process 0 is gone the runtime may notice first. It then aborts in a thread of its own, which Python's
        # handlers do not hear in time; one in C has the last word.
        self._aborted = ctypes.CFUNCTYPE(None, ctypes.c_int)(
            lambda _: self.abandon("the runtime has ended this process, as it does where another one is gone")
        )
        ctypes.CDLL(None).signal(signal.SIGABRT, self._aborted)
        threading.Thread(target=self._watch, daemon=True, name="peers").start()

    def _watch(self) -> None:
        pause, beat = min(1.0, self.timeout / 4), 0
        seen = {process: (_ABSENT, time.monotonic()) for process in range(self.count) if process != self.process}
        behind = dict.fromkeys(seen, time.monotonic())
        while not self._over.wait(pause):
            beat += 1
            try:
                self.client.key_value_set(f"jaxpsn/alive/{self.process}", f"{self._phase} {beat}", True)
                said = {process: self._alive(process) for process in seen}
            except Exception as error:  # whatever the client makes of a service that is gone
                if not self._over.is_set():
                    self.abandon(f"process 0 of {self.count} does not answer: {_line(error)}")
                return
            for process, text in said.items():
                if text != seen[process][0]:
                    seen[process] = text, time.monotonic()
                self._judge(process, text, time.monotonic() - seen[process][1], behind)

    def _alive(self, process: int) -> str:
        try:
            return self.client.key_value_try_get(f"jaxpsn/alive/{process}")
        except Exception as error:
            if "NOT_FOUND" not in str(error):
                raise
            return _ABSENT

    def _judge(self, process: int, text: str, silent: float, behind: dict[int, float]) -> None:
        who = f"process {process} of {self.count}"
        if text.startswith("ended"):
            self.abandon(f"{who} {text}")
        if silent > self.timeout:
            self.abandon(f"{who} has said nothing for {silent:.0f} s")
        if text == _ABSENT or int(text.split()[0]) >= self._phase:
            behind[process] = time.monotonic()
        elif time.monotonic() - behind[process] > PATIENCE * self.timeout:
            self.abandon(f"{who} is stuck: the others have waited for {PATIENCE * self.timeout:.0f} s")

    def abandon(self, why: str) -> NoReturn:
        """End at once with one line, as no collective will: another process is gone."""
        self._claim_last_word()
        with contextlib.suppress(Exception):
            advice = self.advice()  # how to go on is worth more than what a library has to say
            why = errors.short(why, max(60, errors.LONGEST - len(advice) - 10))
            why = "; ".join(part for part in (why, advice) if part)
        startup.complain(why)
        os._exit(status.PEER_LOST)

    def leave(self, error: BaseException) -> NoReturn:
        """End at once because of ``error``, after telling the others; or because of them, if it came from them."""
        text = _line(error)
        if not isinstance(error, errors.UserError | OSError | KeyboardInterrupt) and lost(error):
            self.abandon(f"another process of the {self.count} is gone: {text}")
        self._claim_last_word()
        self._over.set()
        code = startup.last_words(error)
        with contextlib.suppress(Exception):
            self.client.key_value_set(f"jaxpsn/alive/{self.process}", f"ended: {text}", True)
            if self.first:
                time.sleep(3 * min(1.0, self.timeout / 4))  # it serves the store, in which the others must find this
        os._exit(code)

    def close(self) -> None:
        """The run is over in good order: nobody is looked after any more."""
        self._over.set()
        if self._aborted is not None:
            signal.signal(signal.SIGABRT, signal.SIG_DFL)

    def _claim_last_word(self) -> None:
        if not self._last.acquire(blocking=False):
            threading.Event().wait()  # the other thread is about to end this process


ALONE = Team()
"""The team of a run in one process."""


def lost(error: BaseException) -> bool:
    """Whether ``error`` is what the runtime makes of a process that is gone."""
    signs = ("gloo", "nccl", "coordination", "connection reset", "connection closed", "unavailable", "heartbeat")
    return any(sign in str(error).lower() for sign in signs)


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
