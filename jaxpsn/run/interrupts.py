"""Signals from a script's first line to its last; imports nothing but a little of the standard library.

Ctrl-C (SIGINT), SIGTERM and SIGHUP end what cannot be saved at once, with one line that says what is lost and how to
go on; a training loop finishes its chunk or step, saves, and ends then. The second one ends at once. Python would raise
KeyboardInterrupt wherever it happens to be, which imports and compilers turn into tracebacks or swallow.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

HANDLED = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP
TWICE = 2.0
"""Seconds in which a second SIGHUP is the first once more: a terminal that closes and its shell both send one."""
BEFORE, AFTER = "ended before anything was begun", "at its end already"


def _interactive() -> bool:
    """Whether an interpreter would go on after this run: then no signal may end the process.

    IPython being imported says nothing, any tool for notebooks does that; its shell being alive does.
    """
    ipython = sys.modules.get("IPython")
    return hasattr(sys, "ps1") or (ipython is not None and ipython.get_ipython() is not None)


def _name(signum: int) -> str:
    return signal.Signals(signum).name


class Stage:
    """What a signal means now; the stages of a process lie within each other, and the innermost answers.

    ``told`` (text, or a function that makes it) says what is lost and how to go on, None leaves that to the stage
    around; ``leave`` is called before the end, those of the inner stages first.
    """

    def __init__(self, told: str | Callable[[], str] | None = None, leave: Callable[[], Any] | None = None):
        self._told, self._leave = told, leave

    @property
    def told(self) -> str | None:
        """What the last line says."""
        return self._told() if callable(self._told) else self._told

    def leave(self) -> None:
        """Put away what must not be left behind."""
        if self._leave is not None:
            self._leave()

    def receive(self, signum: int, aloud: bool) -> bool:
        """Take a signal; returns whether the process goes on, to end by itself."""
        return False


class _Listener:
    """The handlers, the wake-up pipe, and the thread that reads it.

    While an import or a compiler is under way, Python's own handlers wait; the thread does not.
    """

    def __init__(self, hard: bool):
        self.hard = hard
        self._undo = contextlib.ExitStack()
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self._undo.callback(os.close, writer)  # the watcher reads the end of the pipe and leaves
        previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._undo.callback(signal.set_wakeup_fd, previous)
        threading.Thread(target=self._watch, args=(reader,), daemon=True, name="signals").start()
        for signum in HANDLED:
            # A process that is to outlive its terminal was started with SIGHUP ignored (nohup).
            if _name(signum) != "SIGHUP" or signal.getsignal(signum) != signal.SIG_IGN:
                self._undo.callback(signal.signal, signum, signal.signal(signum, self._in_python))

    def close(self) -> None:
        self._undo.close()

    def _in_python(self, signum: int, _: Any) -> None:
        if not self.hard and not _stages[-1].receive(signum, False):
            raise KeyboardInterrupt

    def _watch(self, reader: int) -> None:
        while data := os.read(reader, 64):
            for signum in data:
                if self.hard and signum in HANDLED and not _stages[-1].receive(signum, True):
                    _end(signum)
        os.close(reader)


_stages: list[Stage] = [Stage(BEFORE)]
_listener: _Listener | None = None


def _end(signum: int) -> NoReturn:
    """End the process with one line and 128 + the signal's number."""
    inner = _stages[::-1]
    said = "ended"
    with contextlib.suppress(Exception):  # whatever a stage trips over: the process ends, and says by what
        said = next(text for text in (one.told for one in inner) if text is not None)
    for one in inner:
        with contextlib.suppress(Exception):
            one.leave()
    with contextlib.suppress(OSError):  # not by Python's stream, whose lock the main thread may hold
        os.write(2, f"jaxpsn: {_name(signum)}: {said}\n".encode())
    os._exit(128 + signum)


def listen(hard: bool | None = None) -> bool:
    """Answer signals from now on, once for the whole process; returns whether that is new.

    ``hard``: what no stage takes ends the process; else it raises KeyboardInterrupt, as it does by default where an
    interpreter would go on. Only the main thread can: elsewhere, and where signals are answered already, nothing
    happens.
    """
    global _listener
    if _listener is not None or threading.current_thread() is not threading.main_thread():
        return False
    _listener = _Listener(not _interactive() if hard is None else hard)
    return True


def came() -> bool:
    """Whether a signal was taken that the process now ends for."""
    return any(isinstance(one, Interrupts) and one.signum is not None for one in _stages)


@contextlib.contextmanager
def gentle() -> Iterator[None]:
    """While the block runs no signal ends the process: what no stage takes raises KeyboardInterrupt.

    For a call out of somebody else's program, which has things of its own to put away.
    """
    new = listen(hard=False)
    try:
        yield
    finally:
        if new:
            _unlisten()


def ends(signum: int) -> bool:
    """Whether a signal asks for the end of the process, as all do but Ctrl-C."""
    return _name(signum) != "SIGINT"


def settle() -> None:
    """Say from now on that the process was about to end anyway."""
    _stages[0] = Stage(AFTER)


def _unlisten() -> None:
    global _listener
    if _listener is not None:
        _listener.close()
    _listener = None


@contextlib.contextmanager
def stage(told: str | Callable[[], str] | None = None, leave: Callable[[], Any] | None = None) -> Iterator[None]:
    """While the block runs a signal ends the process as :class:`Stage` says; nothing where none :func:`listen` s."""
    with _within(Stage(told, leave)):
        yield


@contextlib.contextmanager
def _within(one: Stage) -> Iterator[None]:
    _stages.append(one)
    try:
        yield
    finally:
        _stages.remove(one)


class Interrupts(Stage):
    """Context in which the first signal only sets ``signum``, and the second ends the process with 128 + its number.

    While ``idle`` is true (nothing to save yet) the first signal ends at once. ``say`` is told what the first one
    waits for, a ``unit``; ``leave`` is called and ``told`` said before the end. In notebooks the process lives on: what
    would end it raises KeyboardInterrupt instead. Outside the main thread nothing is handled, unless :func:`listen`
    was called before.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        leave: Callable[[], None],
        unit: str = "chunk",
        told: str | Callable[[], str] | None = None,
    ):
        super().__init__(told, leave)
        self.signum: int | None = None
        self.idle = True
        self._say, self._unit, self._since = say, unit, 0.0
        self._undo = contextlib.ExitStack()

    @property
    def name(self) -> str | None:
        """Name of the signal that came, None so far."""
        return None if self.signum is None else _name(self.signum)

    def __enter__(self) -> "Interrupts":
        if listen():
            self._undo.callback(_unlisten)
        self._undo.enter_context(_within(self))
        return self

    def __exit__(self, *_: Any) -> None:
        self._undo.close()

    def receive(self, signum: int, aloud: bool) -> bool:
        """Take the first signal, if there is something to save."""
        if self.idle:
            return False
        if self.signum is not None:
            again = _name(signum) == _name(self.signum) == "SIGHUP" and time.monotonic() - self._since < TWICE
            return again
        self.signum, self._since = signum, time.monotonic()
        if aloud:
            self._say(f"{self.name}: finishing this {self._unit}, then saving (again to stop at once)")
        return True
