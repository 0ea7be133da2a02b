"""Units: what one worker makes, and the folder in which it says so; imports no JAX.

``units/KIND/TASK/ARM/`` of a study holds ``claim.json`` (who makes the unit now), ``log.txt`` (stderr of its workers),
``said.txt`` (lines for the display) and ``ended.json`` (how the last worker ended).

A claim is made by an exclusive create, which network file systems keep too, and is touched every few seconds. A holder
on this host is looked up by its process; one on another host is alive if its claim is touched while it is watched. A
worker whose claim was taken from it, as it had stood still for long, ends at once and saves nothing.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxpsn.core import errors, files, shapes
from jaxpsn.run import startup, status

CLAIM, LOG, SAID, ENDED = "claim.json", "log.txt", "said.txt", "ended.json"
BEAT, SILENCE = 10.0, 60.0
"""Seconds between touches of a claim, and without one after which its holder counts as gone."""
_CLAIM = {"host": str, "pid": int, "token": str, "job?": str}
_ENDED = {"status": int, "reason": str}


class Unit(NamedTuple):
    """What one worker makes: a part of ``kind`` (such as tune or arm) of an arm on a task, all its seeds."""

    kind: str
    task: str
    arm: str = ""

    @classmethod
    def of(cls, text: str) -> "Unit":
        """The unit of its text. Raises UserError for another one."""
        parts = text.split("/")
        if len(parts) != 3:
            errors.refuse("unit", text, "KIND/TASK/ARM")
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(self)


class Result(NamedTuple):
    """How a worker ended: its exit status, and why; ``stop``: the status with which the whole study is to stop."""

    status: int
    reason: str = ""
    stop: int | None = None


def place(study: Path, unit: Unit) -> Path:
    """The folder of a unit."""
    return study.joinpath("units", *(part for part in unit if part))


def end(folder: Path, result: Result) -> None:
    """Write down how a worker ended."""
    told = {"status": result.status, "reason": errors.short(result.reason)}
    files.write_atomically(folder / ENDED, json.dumps(told) + "\n")


def ended(folder: Path) -> Result | None:
    """How the last worker ended; None while there is none, or none that said so."""
    told = shapes.optional(folder / ENDED, _ENDED)
    return None if told is None else Result(told["status"], told["reason"])


def last_words(folder: Path) -> str:
    """The last line of a unit's log."""
    with contextlib.suppress(OSError):
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.removeprefix("error: ") for line in reversed(lines) if line.strip()), "no word")
    return "no word"


class Lines:
    """The lines that the workers of units write for the display, from now on."""

    def __init__(self) -> None:
        self._read: dict[Path, int] = {}

    def follow(self, folder: Path) -> None:
        """Begin with what is written from now on."""
        file = folder / SAID
        self._read[file] = file.stat().st_size if file.is_file() else 0

    def new(self, folder: Path) -> list[str]:
        """Whole lines written since the last call."""
        file, begun = folder / SAID, self._read.get(folder / SAID, 0)
        try:
            with file.open("rb") as stream:
                stream.seek(begun)
                text = stream.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._read[file] = begun + len(whole)
        return whole.decode("utf-8", "replace").splitlines()


def say(folder: Path, text: str) -> None:
    """A line for the display."""
    with files.open_own(folder / SAID, append=True) as file:
        file.write(f"{errors.short(text)}\n".encode())


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the unit of a folder, for this process. Raises UserError while another one is alive that has it."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}
    own |= {"job": job} if (job := os.environ.get("SLURM_JOB_ID")) else {}
    _take(folder / CLAIM, own)
    (folder / ENDED).unlink(missing_ok=True)
    done = threading.Event()
    threading.Thread(target=_beat, args=(folder / CLAIM, own, done), daemon=True, name="claim").start()
    try:
        yield
    finally:
        done.set()
        if _holder(folder / CLAIM) == own:
            (folder / CLAIM).unlink(missing_ok=True)


def _holder(file: Path) -> dict[str, Any]:
    """Who made a claim; empty while it is being written."""
    with contextlib.suppress(errors.UserError):
        return shapes.optional(file, _CLAIM) or {}
    return {}


def _take(file: Path, own: dict[str, Any]) -> None:
    """Make the claim; a holder at work is waited for a while: it may be saving, as its study was killed."""
    begun = time.monotonic()
    while True:
        try:
            with file.open("xb") as stream:
                stream.write(json.dumps(own).encode())
            return
        except FileExistsError:
            held = _holder(file)
        if not _alive(file, held, own):
            _put_aside(file, held)
        elif time.monotonic() - begun < SILENCE:
            time.sleep(min(1.0, SILENCE / 10))
        else:
            who = f"pid {held.get('pid', 'unknown')} on {held.get('host', 'unknown')}"
            errors.refuse("unit", str(file.parent), f"in use by another worker ({who})")


def _alive(file: Path, held: dict[str, Any], own: dict[str, Any]) -> bool:
    """Whether the holder of a claim is at work; one on another host is watched for as long as it may be silent."""
    if held.get("job") is not None and held.get("job") == own.get("job"):
        return False  # this is the same job, begun again
    if held.get("host") == own["host"]:
        return held["pid"] != own["pid"] and runs(held["pid"])
    try:
        seen, begun = file.stat().st_mtime_ns, time.monotonic()
        while time.monotonic() - begun < SILENCE:
            time.sleep(min(1.0, SILENCE / 10))
            if file.stat().st_mtime_ns != seen:
                return True
    except FileNotFoundError:
        pass
    return False


def runs(pid: int) -> bool:
    """Whether a process of this host is alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _put_aside(file: Path, judged: dict[str, Any]) -> None:
    """Remove the claim that was ``judged``; another one that took its place meanwhile is put back."""
    aside = files.partial(file, ".gone")
    with contextlib.suppress(FileNotFoundError):
        file.rename(aside)
        if _holder(aside) != judged:
            with contextlib.suppress(OSError):
                os.link(aside, file)
        aside.unlink()


def _beat(file: Path, own: dict[str, Any], done: threading.Event, gone: Callable[[int], Any] = os._exit) -> None:
    while not done.wait(BEAT):
        with contextlib.suppress(OSError):
            if _holder(file) == own:
                os.utime(file)
                continue
            if not done.is_set():
                startup.speak(f"{file.parent}: its claim was taken by another worker; ended at once")
                gone(status.PEER_LOST)
                return
