"""One run per folder: a lock that names its holder and dies with it."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from jaxpsn.core import errors, files

LOCK = "run.lock"
_held: set[Path] = set()


def _holder(text: str) -> dict:
    with contextlib.suppress(ValueError, RecursionError):
        holder = json.loads(text)
        if isinstance(holder, dict):
            return holder
    return {}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[str | None]:
    """Hold the lock of a run folder; yields a note about a stale one that was taken over, else None.

    The lock is the kernel's (POSIX record lock): it ends with its process however that dies, and workers forked
    from it do not inherit it. The file only tells who holds it. Raises UserError naming the holder's process.
    """
    file_path = (path / LOCK).resolve()
    if file_path in _held:
        errors.refuse("run folder", str(path), f"in use by this process (pid {os.getpid()})")
    try:
        file = files.open_own(path / LOCK, append=True)
    except OSError as error:
        errors.refuse("run folder", str(path), f"a folder that can be written: {error.strerror}")
    with file:
        file.seek(0)
        text = file.read().decode(errors="replace")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(text)
            who = f"pid {holder.get('pid', 'unknown')} on {holder.get('host', 'unknown')}"
            errors.refuse("run folder", str(path), f"in use by another run ({who}, since {holder.get('started', '?')})")
        holder = _holder(text)
        stale = f"stale lock of pid {holder.get('pid', 'unknown')} taken over" if text else None
        _held.add(file_path)
        try:
            file.truncate(0)
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            told = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
            file.write(json.dumps(told).encode())
            file.flush()
            yield stale
        finally:
            with contextlib.suppress(OSError):
                file.truncate(0)
            _held.discard(file_path)
