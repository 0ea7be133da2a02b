"""Docstrings as Markdown: what reStructuredText writes its own way, and brackets of shapes that look like links."""

import functools
import re

from _make import api

_ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):`~?([\w.]+)`")
_CODE = re.compile(r"(``.*?``|`[^`]*`)", re.DOTALL)


def markdown(text: str, near: tuple[str, ...] = ()) -> str:
    """``text`` with roles as links, ``::`` as a colon, and square brackets outside of code escaped.

    ``near``: the paths below which a name is looked for.
    """
    parts = _CODE.split(_ROLE.sub("\0\\1\0", text.replace("::\n", ":\n")))
    plain = [part if place % 2 else part.replace("[", r"\[").replace("]", r"\]") for place, part in enumerate(parts)]
    return re.sub("\0([\\w.]+)\0", lambda match: _link(match[1], near), "".join(plain))


def cell(text: str, near: tuple[str, ...] = ()) -> str:
    """As :func:`markdown`, for a cell of a table."""
    parts = _CODE.split(markdown(text, near))
    return "".join(part if place % 2 else part.replace("|", r"\|") for place, part in enumerate(parts))


def _link(name: str, near: tuple[str, ...]) -> str:
    """A link to a name that is on a page, else its code."""
    target = next((found[path] for path in _paths(name, near) if path in (found := _public())), None)
    return f"[`{name}`][{target}]" if target else f"`{name}`"


def _paths(name: str, near: tuple[str, ...]) -> list[str]:
    return [name, *(f"{path}.{name}" for path in near)]


@functools.cache
def _public() -> dict[str, str]:
    """Path -> where it is described: modules, what they define, and what packages hand on."""
    found = {}
    for one in api.modules():
        found[one.name] = one.name
        found |= {f"{one.name}.{name}": f"{one.name}.{name}" for name in one.own}
        found |= {f"{one.name}.{name}": target for name, target in one.given.items()}
    return found
