"""Mistakes a user can make: one line, the field, its value, and what is allowed."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

LONGEST = 300
"""Characters of a message: what a user wrote, or a foreign file holds, may be of any length."""
_LISTED = 12  # names, where none is near


def short(text: object, most: int = LONGEST) -> str:
    """``text`` on one line of at most ``most`` characters: what is too long loses its middle."""
    line = " ".join(str(text)[: 100 * most].split()) if len(str(text)) > 100 * most else " ".join(str(text).split())
    if len(line) <= most:
        return line
    tail = (most - 5) // 3
    return f"{line[: most - 5 - tail]} ... {line[len(line) - tail :]}"


class UserError(Exception):
    """A mistake in what the user asked for; scripts print it on one line and exit with status 2."""

    def __init__(self, text: object = ""):
        super().__init__(short(text))


@contextlib.contextmanager
def within(where: object) -> Iterator[None]:
    """Let a UserError of the block begin with ``where``, such as the file that was read."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{short(where, LONGEST // 2)}: {error}") from None


def refuse(field: str, value: Any, allowed: str) -> NoReturn:
    """Raise :class:`UserError` reading ``field = value: allowed``; of a long value only its ends are shown."""
    field, allowed = short(field, 100), short(allowed, LONGEST - 40)
    shown = short(_repr(value), max(32, LONGEST - len(field) - len(allowed) - 5))
    raise UserError(f"{field} = {shown}: {allowed}")


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # an int of too many digits, or nested too deeply
        return type(value).__name__


def nearest(name: str, names: Iterable[str], count: int = 3) -> str:
    """The known names closest to ``name``, as the end of an error message; of a path its last part counts too."""
    import difflib  # here, as a script's first lines import this module, and most need no advice

    known = sorted(names)
    found: dict[str, float] = {}
    for each in known:
        for part in {each, each.rpartition(".")[2]}:
            if difflib.get_close_matches(name[:LONGEST], [part], n=1, cutoff=0.4):
                alike = difflib.SequenceMatcher(None, part, name[:LONGEST]).ratio()
                found[each] = max(alike, found.get(each, 0.0))
    close = sorted(found, key=lambda each: (found[each], each), reverse=True)[:count]
    if close:
        return f"unknown; nearest: {', '.join(close)}"
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"unknown; allowed: {', '.join(known[:_LISTED])}{more}"
