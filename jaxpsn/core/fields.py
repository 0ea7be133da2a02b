"""What the fields of components can hold: kinds of values with their ranges, as marks of ``typing.Annotated``.

A kind takes a value from Python, from JSON or from a text (a tree of :mod:`jaxpsn.core.grammar`), and refuses what is
out of range by a UserError that names the field. To a type checker ``Positive`` is a plain float.
"""

import math
import numbers
import re
import sys
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn, TypeVar

from jaxpsn.core import errors, grammar

_INTEGER = re.compile(r"-?[0-9][0-9_]*")
_NODES = (grammar.Word, grammar.Call, grammar.Group, grammar.Plus)


def is_node(value: Any) -> bool:
    """Whether a value is a tree that was read from a text."""
    return isinstance(value, _NODES)


def is_array(value: Any) -> bool:
    """Whether a value is an array, perhaps traced; of any library, as none is imported here. Numbers are none."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, numbers.Number)


class Kind:
    """What one field can hold. A kind of one's own says the things below."""

    type: Any = "object"
    """Its type in a description."""
    allowed: Any = ""
    """The values in words: the end of an error message, and the range in a description."""

    def coerce(self, where: str, value: Any) -> Any:
        """``value`` as the field holds it; raises UserError naming ``where``."""
        raise NotImplementedError

    def write(self, value: Any) -> str:
        """The text of a value that :meth:`coerce` gave."""
        raise NotImplementedError

    def plain(self, value: Any) -> Any:
        """A value that :meth:`coerce` gave, as JSON has it."""
        return value

    def read(self, where: str, text: str) -> Any:
        """The value of a flag's text."""
        return self.coerce(where, grammar.parse(where, text))

    def refuse(self, where: str, value: Any) -> NoReturn:
        """Raise UserError: the value is none of this kind."""
        errors.refuse(where, grammar.write(value) if is_node(value) else value, self.allowed)


@dataclass(frozen=True)
class Real(Kind):
    """Finite numbers in ``[low, high]``, or ``(low, high]`` with ``open_low``; whole ones become floats."""

    type = "float"

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False

    @property
    def allowed(self) -> str:
        ends = [f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"] * (self.low > -math.inf)
        ends += [f"at most {self.high:g}"] * (self.high < math.inf)
        return f"a number {' and '.join(ends)}".strip()

    def coerce(self, where: str, value: Any) -> float:
        number = _number(value)
        if number is None:
            self.refuse(where, value)
        inside = abs(number) <= sys.float_info.max and self.low <= number <= self.high
        if not inside or (self.open_low and number == self.low):
            self.refuse(where, number)
        return float(number)

    def write(self, value: Any) -> str:
        return repr(self.plain(value)).removesuffix(".0")

    def plain(self, value: Any) -> float:
        try:
            return float(value)
        except Exception:
            errors.refuse("value", type(value).__name__, "a number, to be written down")


@dataclass(frozen=True)
class Whole(Kind):
    """Whole numbers in ``[low, high]``."""

    type = "int"

    low: int | None = None
    high: int | None = None

    @property
    def allowed(self) -> str:
        if self.low is not None and self.high is not None:
            return f"a whole number from {self.low} to {self.high}"
        least, most = self.low is not None, self.high is not None
        return "a whole number" + f" of at least {self.low}" * least + f" of at most {self.high}" * most

    def coerce(self, where: str, value: Any) -> int:
        number = _number(value)
        if is_node(value) and isinstance(number, float) and number.is_integer() and abs(number) < 1 << 53:
            number = int(number)  # 1e6
        if not isinstance(number, int):
            self.refuse(where, value)
        if not (self.low is None or number >= self.low) or not (self.high is None or number <= self.high):
            self.refuse(where, number)
        return number

    def write(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True)
class Flag(Kind):
    """True or false."""

    type = "bool"
    allowed = "true or false"

    def coerce(self, where: str, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = value.text.lower() if isinstance(value, grammar.Word) and not value.quoted else ""
        return word == "true" if word in ("true", "false") else self.refuse(where, value)

    def write(self, value: Any) -> str:
        return str(value).lower()


@dataclass(frozen=True)
class Text(Kind):
    """Any text, such as a path."""

    type = "str"
    allowed = "a text (in quotes, if it has brackets, commas, signs or spaces)"

    def coerce(self, where: str, value: Any) -> str:
        if isinstance(value, grammar.Word):
            return value.text
        return str(value) if isinstance(value, str) else self.refuse(where, value)

    def write(self, value: Any) -> str:
        return grammar.quote(value)

    def read(self, where: str, text: str) -> str:
        return text


@dataclass(frozen=True)
class Choice(Kind):
    """One of several names."""

    type = "str"

    names: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return f"one of {', '.join(self.names)}"

    def coerce(self, where: str, value: Any) -> str:
        text = value.text if isinstance(value, grammar.Word) else value
        if not isinstance(text, str):
            self.refuse(where, value)
        if text not in self.names:
            errors.refuse(where, text, errors.nearest(text, self.names))
        return text

    def write(self, value: Any) -> str:
        return grammar.quote(value)


@dataclass(frozen=True)
class Maybe(Kind):
    """None, or a value of another kind."""

    of: Kind

    @property
    def type(self) -> str:
        return f"{self.of.type} | None"

    @property
    def allowed(self) -> str:
        return f"{self.of.allowed}, or none"

    def coerce(self, where: str, value: Any) -> Any:
        if value is None or (isinstance(value, grammar.Word) and not value.quoted and value.text.lower() == "none"):
            return None
        return self.of.coerce(where, value)

    def write(self, value: Any) -> str:
        return "none" if value is None else self.of.write(value)

    def plain(self, value: Any) -> Any:
        return None if value is None else self.of.plain(value)

    def read(self, where: str, text: str) -> Any:
        return None if text.strip().lower() == "none" else self.of.read(where, text)


@dataclass(frozen=True)
class Items(Kind):
    """Tuples: ``least`` to ``most`` values of one kind, or one of each of several kinds."""

    type = "tuple"

    of: Kind | tuple[Kind, ...]
    least: int = 0
    most: int = 1024

    @property
    def allowed(self) -> str:
        if isinstance(self.of, tuple):
            return f"({'; '.join(kind.allowed for kind in self.of)})"
        return f"{self.least} to {self.most} values, each {self.of.allowed}"

    def coerce(self, where: str, value: Any) -> tuple[Any, ...]:
        if isinstance(value, grammar.Group):
            items: Any = value.items
        elif isinstance(value, grammar.Word) and not value.quoted and self._numeric():
            items = tuple(grammar.Word(part) for part in value.text.split("x"))
        elif is_node(value):
            items = (value,)
        else:
            items = value if isinstance(value, list | tuple) else self.refuse(where, value)
        least, most = (len(self.of),) * 2 if isinstance(self.of, tuple) else (self.least, self.most)
        if not least <= len(items) <= most:
            self.refuse(where, grammar.Group(items) if is_node(value) else value)
        return tuple(kind.coerce(where, item) for kind, item in zip(self._kinds(items), items, strict=True))

    def write(self, value: Any) -> str:
        texts = [kind.write(item) for kind, item in zip(self._kinds(value), value, strict=True)]
        if texts and self._numeric() and all(text.isdigit() for text in texts):
            return "x".join(texts)
        return f"({', '.join(texts)})"

    def plain(self, value: Any) -> Any:
        return [kind.plain(item) for kind, item in zip(self._kinds(value), value, strict=True)]

    def _kinds(self, items: Any) -> tuple[Kind, ...]:
        return self.of if isinstance(self.of, tuple) else (self.of,) * len(items)

    def _numeric(self) -> bool:
        return all(isinstance(kind, Real | Whole) for kind in self._kinds((None,)))


def _number(value: Any) -> int | float | None:
    """The number that a value or an unquoted word is, None if it is none."""
    if isinstance(value, grammar.Word) and not value.quoted:
        try:
            return int(value.text) if _INTEGER.fullmatch(value.text) else float(value.text)
        except ValueError:
            return None
    if isinstance(value, numbers.Integral):
        return None if isinstance(value, bool) else int(value)
    try:
        return float(value) if isinstance(value, numbers.Real) else None
    except OverflowError:  # a ratio of long integers
        return None


@dataclass(frozen=True)
class Sweepable:
    """The mark of a field that ``vmap`` may sweep over and the tuning may choose."""


_T = TypeVar("_T")
Traced = Annotated[_T, Sweepable()]
"""``Traced[Positive]``: a field that may also hold an array, which is not looked at."""
Positive = Annotated[float, Real(0.0, open_low=True)]
NonNegative = Annotated[float, Real(0.0)]
Fraction = Annotated[float, Real(0.0, 1.0)]
Count = Annotated[int, Whole(1, (1 << 31) - 1)]
Widths = Annotated[tuple[int, ...], Items(Whole(1, 1 << 16), least=1, most=64)]
