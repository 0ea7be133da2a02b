"""Files that somebody else wrote, read within bounds: their kind, size, depth and numbers are checked first."""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from jaxpsn.core.errors import UserError

MOST = 64 << 20
"""Largest text file that is read, in bytes."""
DEPTH = 100
"""Deepest nesting of a JSON value."""
_SHOWN = 80
# A string, up to the end of the text if it has none of its own: nothing is looked at twice.
_MARKS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


def shown(value: Any) -> str:
    """``repr(value)`` for a message, cut to a bounded length."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """The bytes of a regular file of at most ``most`` bytes; nothing that could block or never end is opened.

    Raises ``UserError``, naming the file, where there is none, and for a folder, pipe, socket or device.
    """
    try:
        # Without O_NONBLOCK a pipe that nobody writes to is waited for.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise UserError(f"{path}: {_kind(path) or error.strerror or error}") from None
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise UserError(f"{path}: {_kind(path)}, where a file is needed")
    with os.fdopen(handle, "rb") as file:
        if found.st_size > most:
            raise UserError(f"{path}: {found.st_size:,} bytes; at most {most:,} are read")
        try:
            content = file.read(most + 1)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from None
    if len(content) > most:  # it grew, or has no size of its own
        raise UserError(f"{path}: more than {most:,} bytes; they are not read")
    return content


def _kind(path: Path) -> str | None:
    """What stands there instead of a file; None if nothing can be said."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return "a link to what is not there" if path.is_symlink() else None
    return next((name for of_kind, name in _KINDS if of_kind(mode)), None)


def read_text(path: Path, most: int = MOST) -> str:
    """The UTF-8 text of a file, bounded as :func:`read_bytes` does."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None


def parse(text: str, where: str) -> Any:
    """The JSON value in ``text``; ``where`` begins the message of the UserError for one that is none, or too deep."""
    _check_depth(text, where)
    try:
        return json.loads(text)
    except ValueError as error:  # also of a number of thousands of digits
        raise UserError(f"{where}: not JSON ({error})") from None


def read_json(path: Path, most: int = MOST) -> dict[str, Any]:
    """The object in a JSON file; ``UserError`` naming the file if there is none, or where it is out of bounds."""
    found = parse(read_text(path, most), str(path))
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object")
    return found


def exists(path: Path) -> bool:
    """Whether anything stands at ``path``, a link to nothing included: that is for the reading to refuse."""
    return os.path.lexists(path)


def _check_depth(text: str, where: str) -> None:
    # As many opening brackets as levels are needed: most files are told by counting.
    if text.count("[") + text.count("{") <= DEPTH:
        return
    depth = 0
    for mark in _MARKS.finditer(text):
        if mark.group() in "[{":
            depth += 1
            if depth > DEPTH:
                raise UserError(f"{where}: nested more than {DEPTH} deep")
        elif mark.group() in "]}":
            depth -= 1
