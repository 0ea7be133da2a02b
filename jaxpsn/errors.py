"""Mistakes a user can make: one line, the field, its value, and what is allowed."""

from collections.abc import Iterable
from typing import Any, NoReturn


class UserError(Exception):
    """A mistake in what the user asked for; scripts print it on one line and exit with status 2."""


def refuse(field: str, value: Any, allowed: str) -> NoReturn:
    """Raise :class:`UserError` reading ``field = value: allowed``."""
    raise UserError(f"{field} = {value!r}: {allowed}")


def nearest(name: str, names: Iterable[str], count: int = 3) -> str:
    """The known names closest to ``name``, as the end of an error message."""
    import difflib  # here, as a script's first lines import this module, and most need no advice

    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=count, cutoff=0.4)
    if close:
        return f"unknown; nearest: {', '.join(close)}"
    return f"unknown; allowed: {', '.join(known)}"
