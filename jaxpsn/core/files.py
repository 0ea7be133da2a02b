"""Files of our own: whole or not there, never written through a link, and swept when a kill left half of one.

A file that is being written is called ``.NAME.PID@HOST``. :func:`sweep` removes what such a writer left: at once if it
was a process of this host that is gone, else once nobody has touched it for a day, as processes of other hosts cannot
be looked after from here.
"""

import errno
import json
import os
import re
import shutil
import socket
import stat
import time
from pathlib import Path
from typing import Any, BinaryIO

from jaxpsn.core import errors

_DAY = 86_400.0  # seconds after which nobody is still writing
_WRITER = r"\.(?P<pid>[0-9]+)(?:@(?P<host>[A-Za-z0-9-]+))?"
_LEFT = (
    re.compile(rf"\..+\.(?:json|jsonl|html|csv|svg|program){_WRITER}"),
    re.compile(rf"\..+{_WRITER}\.(?:new|old|gone)(?:\.partial)?"),
)  # what write_atomically leaves, and folders that are prepared beside their place
_HOST = re.sub("[^A-Za-z0-9]", "-", socket.gethostname()) or "host"
_DEEPEST = 60  # lists and objects within one another


def partial(path: Path, word: str = "") -> Path:
    """Where ``path`` is prepared before it is moved into place."""
    return path.with_name(f".{path.name}.{os.getpid()}@{_HOST}{word}")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` in one move, so that a reader or a crash never sees half of it. Text as UTF-8.

    A link of that name is replaced, not followed. Raises OSError; a folder that is gone is not made again.
    """
    beside = partial(path)
    beside.unlink(missing_ok=True)
    try:
        with beside.open("xb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def open_own(path: Path, *, append: bool = False) -> BinaryIO:
    """A regular file, to read, or to read and append to (made if need be), not through a link.

    Raises UserError for a link and whatever else is no file, OSError as ``open`` does.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND if append else os.O_RDONLY
    try:
        # A FIFO would keep open() waiting without O_NONBLOCK; to a file it makes no difference.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        errors.refuse("file", str(path), "a plain file; links are not followed for writing")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        errors.refuse("file", str(path), "a plain file")
    return os.fdopen(descriptor, "a+b" if append else "rb")


def make_folder(path: Path) -> Path:
    """The folder ``path`` within one that is there; made if need be. Raises UserError for a link, OSError as mkdir."""
    if path.is_symlink():
        errors.refuse("folder", str(path), "a folder of its own; links are not followed for writing")
    path.mkdir(exist_ok=True)
    return path


def refuse_links(root: Path, path: Path) -> None:
    """Raise UserError if ``path``, or a folder above it and below ``root``, is a link."""
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            errors.refuse("folder", str(part), "a folder of its own; links are not followed for writing")


def remove(path: Path) -> None:
    """Delete whatever is called so, a folder with all it holds; a link itself, not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The JSON value in a file. Raises UserError, naming the file, if it holds none; OSError if it cannot be read."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise errors.UserError(f"{errors.short(path, 150)}: not a file")
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_no_number)
        if not _shallow(value):
            raise RecursionError
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise errors.UserError(f"{errors.short(path, 150)}: not valid JSON ({why})") from None
    return value


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _shallow(value: Any) -> bool:
    """Whether no list or object in it lies deeper than what we write ever does."""
    layer, depth = [value], 0
    while layer and depth <= _DEEPEST:
        lists = [one.values() if isinstance(one, dict) else one for one in layer if isinstance(one, dict | list)]
        layer, depth = [entry for one in lists for entry in one], depth + 1
    return not layer


def sweep(folder: Path, *, held: bool) -> None:
    """Remove what killed processes left half written in ``folder``; see the module.

    ``held``: this process holds the folder's lock, so a leftover with its own number is another's too.
    """
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        found = _LEFT[0].fullmatch(entry.name) or _LEFT[1].fullmatch(entry.name)
        if found and (_gone(found["host"], int(found["pid"]), held) or _untouched(entry)):
            try:
                remove(entry)
            except OSError:  # somebody else's, or gone meanwhile
                continue


def _gone(host: str | None, process: int, held: bool) -> bool:
    """Whether the writer was a process of this host that has ended; without a host's name it is taken for one."""
    if host not in (None, _HOST):
        return False
    if process == os.getpid():
        return held
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def _untouched(path: Path) -> bool:
    """Whether nothing in it was written for a day."""
    try:
        parts = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
        return time.time() - max(part.lstat().st_mtime for part in parts) > _DAY
    except OSError:
        return False
