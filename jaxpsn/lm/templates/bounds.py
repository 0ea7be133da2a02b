"""The filters, tests, methods and operators of chat templates, and a bound on the work of each before it is done."""

import re
from collections.abc import Callable
from string import Formatter
from typing import Any, NamedTuple

from jaxpsn.lm.templates.meter import Refused

_WIDTH = 10_000
"""Widest column or deepest indentation."""
_INDENT = 16
_DIGITS = 100
_NUMBER = 1e18
"""Largest product of numbers."""
_WIDE = re.compile(r"\d{5}|\*")


class Bound(NamedTuple):
    """What an operation may cost."""

    cost: Callable[[int, tuple[Any, ...], dict[str, Any]], int]
    """``cost(size, args, options)``: units beside those of what is given (``size``) and of what comes out."""
    plain: bool = False
    """Whether it writes what it is given as text, so that it must be data."""


def _free(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    return 0


def _sorted(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    return 20 * size


def _given(args: tuple[Any, ...], options: dict[str, Any], place: int, name: str, default: Any = None) -> Any:
    return args[place] if len(args) > place else options.get(name, default)


def _whole(value: Any, most: int, what: str) -> int:
    if not isinstance(value, int) or abs(value) > most:
        raise Refused(f"{what} of {str(value)[:20]}")
    return abs(int(value))


def _padded(place: int, name: str, times: bool = False, plain: bool = False) -> Bound:
    """Something as wide as it is told: once, or for every character."""

    def cost(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
        width = _whole(_given(args, options, place, name, 80), _WIDTH, "a width")
        return width * (size if times else 1)

    return Bound(cost, plain)


def _indented(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    width = _given(args, options, 1, "width", 4)
    step = len(width) if isinstance(width, str) else _whole(width, _WIDTH, "a width")
    return step * (str(args[0]).count("\n") + 1)


def _replaced(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    text = args[0]
    old, new = _given(args, options, 1, "old", ""), _given(args, options, 2, "new", "")
    return text.count(old) * len(new) if all(isinstance(one, str) for one in (text, old, new)) else 0


def _joined(text: Any, values: Any, size: int) -> int:
    return len(text) * len(values) if isinstance(text, str) and hasattr(values, "__len__") else size


def _searched(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    """Looked for at every place of a text: characters to strip, or a text from behind."""
    sought = next((len(one) for one in (*args[1:], *options.values()) if isinstance(one, str)), 1)
    return sought * size


def _identity(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    if not all(one is None or isinstance(one, bool) for one in args[1:]):
        raise Refused("sameas beside true, false and none, which alone are one object everywhere")
    return 0


def _join_filter(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    if _given(args, options, 2, "attribute") is not None:
        raise Refused("join of an attribute; map(attribute=...) before it")
    return _joined(_given(args, options, 1, "d", ""), args[0], size)


def _join_method(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    return _joined(args[0], args[1] if len(args) > 1 else (), size)


def _json(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    indent, separators = _given(args, options, 2, "indent"), _given(args, options, 3, "separators")
    width = len(indent) if isinstance(indent, str) else _whole(indent or 0, _INDENT, "an indent")
    longest = max((len(str(one)) for one in separators or ()), default=0)
    if max(width, longest) > _INDENT:
        raise Refused(f"an indent or separator of more than {_INDENT} characters")
    return 12 * size + size * width * 20


def _percent(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    text = args[0]
    if isinstance(text, str) and _WIDE.search(text):
        raise Refused("a format that is too wide")
    return size * (text.count("%") + 1) if isinstance(text, str) else 0


def _braces(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    parts = list(Formatter().parse(args[0]))
    if any("." in (name or "") or "[" in (name or "") for _, name, _, _ in parts):
        raise Refused("a format that looks into what it is given")
    if any("{" in (spec or "") or _WIDE.search(spec or "") for _, _, spec, _ in parts):
        raise Refused("a format that is too wide")
    return size * len(parts)


def _rounded(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    return _whole(_given(args, options, 1, "precision", 0), _DIGITS, "a precision")


def _summed(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    if not isinstance(_given(args, options, 2, "start", 0), int | float):
        raise Refused("a sum of what are no numbers")
    return 0


def _counted(place: int, name: str) -> Bound:
    def cost(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
        return 10 * _whole(_given(args, options, place, name, 1), _WIDTH, "a number")

    return Bound(cost)


def _multiplied(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    left, right = args
    if all(isinstance(one, int | float) for one in args):
        if abs(left) > _NUMBER or abs(right) > _NUMBER or abs(left * right) > _NUMBER:
            raise Refused("a product that is too large")
        return 0
    times, repeated = (left, right) if isinstance(left, int) else (right, left)
    if not isinstance(times, int):
        return 0
    return max(times, 0) * (len(repeated) if isinstance(repeated, str) else size)


def _power(size: int, args: tuple[Any, ...], options: dict[str, Any]) -> int:
    raise Refused("the operator **")


DATA = CALL = Bound(_free)
FORMAT = Bound(_braces, plain=True)
_TEXT = Bound(_free, plain=True)
_SORT = Bound(_sorted)
FILTERS: dict[str, Bound] = {
    **dict.fromkeys(
        ("abs", "count", "d", "default", "first", "items", "last", "length", "list", "map", "reject", "rejectattr",
         "reverse", "select", "selectattr", "float", "int"), DATA,
    ),
    **dict.fromkeys(
        ("capitalize", "e", "escape", "lower", "safe", "string", "title", "upper", "wordcount"), _TEXT
    ),
    **dict.fromkeys(("dictsort", "groupby", "max", "min", "sort", "unique"), _SORT),
    "batch": _counted(1, "linecount"), "slice": _counted(1, "slices"), "trim": Bound(_searched, True),
    "center": _padded(1, "width", plain=True), "truncate": _padded(1, "length", plain=True),
    "indent": Bound(_indented, plain=True), "join": Bound(_join_filter, plain=True),
    "replace": Bound(_replaced, plain=True), "round": Bound(_rounded), "sum": Bound(_summed),
    "format": Bound(_percent, plain=True), "tojson": Bound(_json, plain=True),
}  # fmt: skip
"""Filters that a template may use."""
TESTS: dict[str, Bound] = {
    **dict.fromkeys(
        ("boolean", "callable", "defined", "divisibleby", "eq", "equalto", "==", "even", "false", "float", "ge", ">=",
         "gt", ">", "greaterthan", "in", "integer", "iterable", "le", "<=", "lessthan", "lower", "lt", "<", "mapping",
         "ne", "!=", "none", "number", "odd", "sequence", "string", "true", "undefined", "upper"), DATA,
    ),
    "sameas": Bound(_identity),
}  # fmt: skip
"""Tests that a template may use."""
METHODS: dict[str, Bound] = {
    **dict.fromkeys(
        ("capitalize", "casefold", "count", "endswith", "find", "get", "index", "isalnum", "isalpha", "isascii",
         "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle",
         "isupper", "items", "keys", "lower", "partition", "removeprefix", "removesuffix",
         "split", "splitlines", "startswith", "swapcase", "title", "upper", "values", "copy"), DATA,
    ),
    **dict.fromkeys(("lstrip", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "strip"), Bound(_searched)),
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded(1, "width")),
    "expandtabs": _padded(1, "tabsize", times=True), "replace": Bound(_replaced),
    "join": Bound(_join_method, plain=True),
}  # fmt: skip
"""Methods of texts, lists and objects that a template may call."""
OPERATORS: dict[str, Bound] = {
    **dict.fromkeys(("+", "-", "/", "//"), DATA), "*": Bound(_multiplied), "%": Bound(_percent, plain=True),
    "**": Bound(_power),
}  # fmt: skip
"""Binary operators."""
