"""SIGTERM and Ctrl-C: finish the chunk or step, save, say so; the second one ends at once."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

HANDLED = (signal.SIGTERM, signal.SIGINT)


def _interactive() -> bool:
    """Whether an interpreter would go on after this run: then no signal may end the process.

    IPython being imported says nothing, any tool for notebooks does that; its shell being alive does.
    """
    ipython = sys.modules.get("IPython")
    return hasattr(sys, "ps1") or (ipython is not None and ipython.get_ipython() is not None)


class Interrupts:
    """Context in which the first signal only sets ``signum``, and the second ends the process with 128 + its number.

    While XLA compiles or a chunk runs, Python's own handlers wait; a thread that reads the interpreter's wake-up pipe
    does not, so the answer is immediate. While ``idle`` is true (nothing to save yet) the first signal ends at once.
    ``say`` is told what happens, ``leave`` is called before the end; ``unit`` is what the first signal waits for. In
    notebooks the process lives on: what would end it raises KeyboardInterrupt instead. Outside the main thread nothing
    is handled.
    """

    def __init__(self, say: Callable[[str], None], leave: Callable[[], None], unit: str = "chunk"):
        self.signum: int | None = None
        self.idle = True
        self._say, self._leave, self._unit = say, leave, unit
        self._undo = contextlib.ExitStack()
        self._hard = not _interactive()

    @property
    def name(self) -> str | None:
        """Name of the signal that came, None so far."""
        return None if self.signum is None else signal.Signals(self.signum).name

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is not threading.main_thread():
            return self
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self._undo.callback(os.close, writer)  # the watcher reads the end of the pipe and leaves
        previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._undo.callback(signal.set_wakeup_fd, previous)
        for signum in HANDLED:
            self._undo.callback(signal.signal, signum, signal.signal(signum, self._in_python))
        threading.Thread(target=self._watch, args=(reader,), daemon=True, name="signals").start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._undo.close()

    def _in_python(self, signum: int, _: Any) -> None:
        if not self._hard and (self.idle or self.signum is not None):
            raise KeyboardInterrupt
        if not self._hard:
            self.signum = signum

    def _watch(self, reader: int) -> None:
        while data := os.read(reader, 64):
            for signum in data:
                if self._hard and signum in HANDLED:
                    self._received(signum)
        os.close(reader)

    def _received(self, signum: int) -> None:
        if self.signum is None and not self.idle:
            self.signum = signum
            self._say(f"{self.name}: finishing this {self._unit}, then saving (again to stop at once)")
            return
        why = "nothing to save yet" if self.signum is None else "stopped at once; the last checkpoint stands"
        self._say(f"{signal.Signals(signum).name}: {why}")
        self._leave()
        os._exit(128 + signum)
