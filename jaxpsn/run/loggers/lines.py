"""Files of lines in a run folder that are appended to, and cut where a run goes on; imports no JAX.

Opening one only looks; what must go goes with the first write, so that a resume that is refused changes nothing.
"""

import contextlib
import datetime
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxpsn.core import errors, files

_BLOCK = 1 << 20  # bytes


def split(text: str) -> list[str]:
    """The lines of a text, whatever ends them: ``\\n`` or ``\\r\\n``; one without an end counts."""
    parts = [line.removesuffix("\r") for line in text.split("\n")]
    return parts if parts[-1] else parts[:-1]


def strict(value: Any) -> Any:
    """``value`` as strict JSON allows it: NaN is null, and infinities are text, in which they still reach readers."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: strict(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [strict(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


class Lines:
    """A file of lines of which the first ``end`` bytes stand; the rest goes with the first write.

    ``ended`` is false if what stands lacks its last line's end. ``whole`` is what the file is to hold instead, if it
    has to be written anew.
    """

    def __init__(self, path: Path, end: int = 0, ended: bool = True, whole: bytes | None = None):
        self._path, self._end, self._ended, self._whole = path, end, ended, whole
        self._file: BinaryIO | None = None

    @classmethod
    def of(cls, path: Path, kept: Sequence[str]) -> "Lines":
        """The file that is to begin with the lines ``kept``; if it does, it is only cut behind them."""
        wanted = "".join(f"{line}\n" for line in kept).encode()
        try:
            with files.open_own(path) as file:
                there = file.read(len(wanted)) == wanted
        except FileNotFoundError:
            there = not wanted
        return cls(path, len(wanted), whole=None if there else wanted)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            if self._whole is not None:
                files.write_atomically(self._path, self._whole)
            self._file = files.open_own(self._path, append=True)
            self._file.truncate(self._end)  # in place: that needs no disk
            if not self._ended:
                self._file.write(b"\n")
        return self._file

    def append(self, lines: Sequence[str]) -> None:
        """Add lines, given without their ends, and hand them to the system."""
        file = self._opened()
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()

    def sync(self) -> None:
        """Flush to the disk."""
        file = self._opened()
        file.flush()
        os.fsync(file.fileno())

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()


class RowLog:
    """Rows as JSON objects (JSONL), each with the whole number ``step``, in the order of their steps.

    Rows after ``kept`` (left by a run that was killed; -1 keeps none) and a torn last line go with the first write;
    nothing before them does, whatever it is. Absent values (None, NaN) are left out; nested lists and dicts, NumPy
    numbers and any text are welcome.
    """

    def __init__(self, path: Path, kept: int):
        self._lines = Lines(path, *_standing(path, kept))

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append the rows and flush. Raises OSError if the disk does not take them."""
        clean = [{name: v for name, v in strict(row).items() if v is not None} for row in rows]
        if not all(isinstance(row.get("step"), int) for row in clean):
            raise ValueError("a row without its step could not be cut off when a run is resumed")
        self._lines.append([json.dumps(row) for row in clean])

    def sync(self) -> None:
        """Flush to the disk."""
        self._lines.sync()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def step_of(line: bytes) -> int | None:
    """The step of a row; None of what is no row."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return None if isinstance(step, bool) or not isinstance(step, int) else step


def _standing(path: Path, kept: int) -> tuple[int, bool]:
    """How many bytes of a log of rows stand, and whether they end with the end of a line."""
    end, at, ended = 0, 0, True
    with _reading(path) as file:
        for line in file if kept >= 0 else ():
            at += len(line)
            step = step_of(line)
            if step is not None and step > kept:
                break
            if step is not None:  # lines before it that cannot be read stand too
                end, ended = at, line.endswith(b"\n")
    return end, ended


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        file = files.open_own(path)
    except FileNotFoundError:
        yield ()
        return
    with file:
        yield file


class EventLog:
    """events.jsonl: what happened, when, at which step; never cut, it is the history of the run.

    A last line that was cut off in the middle goes, one that only lacks its end stays. While ``held``, events are kept
    back until :meth:`release`: what happens before a resume is known to be possible must not change the folder.
    """

    def __init__(self, path: Path, held: bool = False):
        with _reading(path):  # a link is refused now
            self._path = path
        self._lines: Lines | None = None
        self._held: list[str] | None = [] if held else None

    def write(self, step: int, event: str, detail: str = "", seconds: float | None = None) -> None:
        """Append one event; ``seconds`` is what it took."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        row = {"time": now, "step": step, "event": event, "detail": detail}
        text = json.dumps(row if seconds is None else row | {"seconds": round(seconds, 3)})
        if self._held is None:
            self._append([text])
        else:
            self._held.append(text)

    def _append(self, texts: Sequence[str]) -> None:
        if self._lines is None:  # looked at only now, as others may have written to it before
            self._lines = Lines(self._path, *_history(self._path))
        self._lines.append(texts)

    def release(self) -> None:
        """Write what was held, and hold no more."""
        held, self._held = self._held, None
        if held:
            self._append(held)

    def close(self) -> None:
        """Close the file; what is still held is dropped."""
        if self._lines is not None:
            self._lines.close()


def _history(path: Path) -> tuple[int, bool]:
    """As ``_standing``, of a file in which only a last line that is half written does not stand."""
    end = 0
    with _reading(path) as file:
        for line in file:
            if not line.endswith(b"\n"):
                whole = _is_json(line)
                return end + len(line) * whole, not whole
            end += len(line)
    return end, True


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def happened(path: Path, event: str) -> bool:
    """Whether a file of events tells of one of that kind."""
    with _reading(path) as file:
        return any(f'"event": "{event}"'.encode() in line for line in file)


class Ledger:
    """What stands in the logs of a run folder: a checkpoint counts on it, so what is gone at a resume is noticed.

    Counted are lines and bytes, with their SHA-256, of every ``*.jsonl`` but those named in ``but``.
    """

    def __init__(self, folder: Path, but: Sequence[str]):
        self._folder, self._but = folder, frozenset(but)
        self._seen: dict[str, tuple[int, int, Any]] = {}

    def count(self) -> dict[str, list[Any]]:
        """Bytes, lines and hash by file name; reads only what was added since it was asked before."""
        for path in sorted(self._folder.glob("*.jsonl")):
            if path.name not in self._but and path.is_file():
                size, ends, sha = self._seen.get(path.name, (0, 0, hashlib.sha256()))
                for block in _blocks(path, size):
                    size, ends = size + len(block), ends + block.count(b"\n")
                    sha.update(block)
                self._seen[path.name] = size, ends, sha
        return {name: [size, ends, sha.hexdigest()] for name, (size, ends, sha) in self._seen.items()}

    def refuse_lost(self, counted: Any, kept: int) -> None:
        """Raise UserError if rows up to the step ``kept``, which a checkpoint counted, are no longer there."""
        for name, (size, lines, sha) in (counted or {}).items():
            path, found = self._folder / name, hashlib.sha256()
            for block in _blocks(path, 0, size):
                found.update(block)
            if found.hexdigest() != sha and (left := _rows(path, kept)) < lines:
                lost = f"{lines - left} of {lines} rows of {name} up to step {kept} are gone"
                errors.refuse("resume", str(self._folder), f"{lost}; put the file back, or begin a new run")


def _blocks(path: Path, start: int, end: int | None = None) -> Iterator[bytes]:
    """The bytes of a file from ``start`` on, up to ``end``; none if it is not there."""
    with _reading(path) as file:
        if file:
            file.seek(start)
        while file and (block := file.read(_BLOCK if end is None else min(_BLOCK, end - start))):
            start += len(block)
            yield block


def _rows(path: Path, kept: int) -> int:
    """Lines that stand: rows up to a step, and what lies between them."""
    found = between = 0
    with _reading(path) as file:
        for line in file:
            step = step_of(line)
            if step is None:
                between += 1
            elif step > kept:
                break
            else:
                found, between = found + between + 1, 0
    return found
