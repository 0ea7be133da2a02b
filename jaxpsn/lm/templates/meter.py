"""What a chat template may cost: a count of its work, the same on every machine, and the largest it may build."""

from collections.abc import Iterator
from types import GeneratorType
from typing import Any

from jinja2.runtime import Undefined

WORK = 20_000_000
"""Most units of a rendering: one a character or byte looked at or made, twenty an object, five hundred an operation."""
OPERATION = 500
_OBJECT = 20
_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
_HOLDERS = (list, tuple, dict, set, frozenset, range, *_VIEWS)
_DEEPEST, _BITS = 200, 4096


class Refused(Exception):
    """The template itself objects, or is stopped."""


class Meter:
    """Counts the work of one rendering; every method raises :class:`Refused` once it is more than ``WORK``."""

    def __init__(self) -> None:
        self.spent = 0

    def spend(self, units: int) -> None:
        """Count ``units``."""
        self.spent += units
        if self.spent > WORK:
            raise Refused("it does more work than a prompt needs")

    def size(self, value: Any, plain: bool = False) -> int:
        """Count the whole of ``value``, what it holds as often as it holds it; returns the units.

        ``plain``: refuse what is no data (functions, loops, ...): its text would name an address in memory.
        """
        # One plain loop: this is where rendering spends its time.
        before = spent = self.spent
        levels = [iter((value,))]
        while levels:
            for one in levels[-1]:
                spent += _OBJECT
                if isinstance(one, str | bytes):
                    spent += len(one)
                elif isinstance(one, int):
                    if one.bit_length() > _BITS:
                        raise Refused("a number that is too large")
                elif isinstance(one, _HOLDERS):
                    levels.append(_pairs(one) if isinstance(one, dict) else iter(one))
                    break
                elif plain and not (one is None or isinstance(one, float | Undefined)):
                    raise Refused(f"{type(one).__name__} where text or data is needed")
                if spent > WORK:
                    break
            else:
                levels.pop()
            if spent > WORK or len(levels) > _DEEPEST:
                break
        self.spent = spent
        self.spend(0)
        if levels:
            raise Refused(f"data nested more than {_DEEPEST} deep")
        return spent - before


def _pairs(table: dict[Any, Any]) -> Iterator[Any]:
    return (one for pair in table.items() for one in pair)


def listed(value: Any) -> Any:
    """``value``, a list where it is made as it is asked for: what it costs is paid at once."""
    return list(value) if isinstance(value, GeneratorType) else value
