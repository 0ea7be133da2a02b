"""The names on a command line, looked at by the types of a job alone: what is misspelt is refused before JAX loads.

Making a component imports its module, and with it JAX; that it is there, and which flags lead to it, needs no more than
the type that holds it.
"""

import dataclasses
import difflib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxpsn.core import errors
from jaxpsn.core.families import Family
from jaxpsn.run import component_flags, near_flags

CLEAR = 0.85
"""Likeness from which on a flag is taken for another one, misspelt; below, flags of components are looked at too."""
_ALWAYS = ("preset", "resume", "help", "help-all")


class Names(NamedTuple):
    """The flags of a job, without their dashes."""

    plain: frozenset[str]
    """Those that are there whatever is chosen."""
    families: Mapping[str, Family[Any]]
    """Those that choose a component, below which its own lie."""


def of(kind: type) -> Names:
    """The flags of a job of this type; nothing is made."""
    found = dict(_walk(kind, ""))
    families = {name: family for name, family in found.items() if family is not None}
    return Names(frozenset({*found, *_ALWAYS}), families)


def check(
    kind: type, args: Sequence[str], short: Mapping[str, str], values: Mapping[str, Callable[[str], Any]]
) -> None:
    """Refuse a flag that is clearly another one, misspelt, and the name of a component that there is not.

    ``short``: other beginnings of flags; ``values``: flag -> what refuses its value. Raises UserError.
    """
    known = of(kind)
    unknown = []
    for place, word in enumerate(args):
        flag, equals, value = word.partition("=")
        name = flag[2:].replace("_", "-")
        if not flag.startswith("--") or not name or name[0].isdigit():
            continue
        if not equals:
            value = args[place + 1] if place + 1 < len(args) else ""
        if name in known.families and value and not value.startswith("--"):
            known.families[name].look(value, f"--{name}")
        elif name in values and value:
            values[name](value)
        elif name not in known.plain and not _below(name, [*known.families, *short]):
            unknown.append(flag)
    meant = {f"--{name}" for name in known.plain}
    if unknown and difflib.get_close_matches(unknown[0].replace("_", "-"), meant, 1, CLEAR):
        raise errors.UserError(near_flags.refusal(unknown, meant))


def _below(name: str, roots: Sequence[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def _walk(kind: type, prefix: str) -> Iterator[tuple[str, Family[Any] | None]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    for one in dataclasses.fields(kind):
        hint = hints[one.name]
        marked = getattr(hint, "__metadata__", ())
        inner = typing.get_args(hint)[0] if marked else hint
        marks = [mark for mark in marked if not isinstance(mark, Family)]
        own = [mark.name for mark in marks if getattr(mark, "name", None) is not None]
        name = (own[0] if own else one.name).replace("_", "-")
        family = component_flags.family_of(hint)
        if family is None and dataclasses.is_dataclass(inner):
            yield from _walk(inner, f"{prefix}{name}." if name else prefix)  # type: ignore[arg-type]
            continue
        others = [other[2:] for mark in marks for other in getattr(mark, "aliases", None) or ()]
        for called in (f"{prefix}{name}", *others):
            yield called, family
            if inner is bool:
                head, dot, last = called.rpartition(".")
                yield f"{head}{dot}no-{last}", None
