"""Ways to damage a JSON file: whole, and at each of its entries; the same ones every time."""

import copy
import json
from collections.abc import Iterator
from typing import Any

WRONG = (None, True, -1, 0.5, 10**400, 1e308, "x", "", [], [[None]], {}, {"x": {}})
FILES = (
    b"", b"{", b"[]", b"null", b"3", b'"text"', b"\xff\xfe\0", b"{}", b"[" * 100_000, b'{"a":' * 50_000,
    b"NaN", b'{"format": 1, "format": NaN}', b"9" * 6000,
)  # fmt: skip
"""What a whole file may hold."""
LIST = 2  # entries of a list that are altered, from its start


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every entry."""
    entries = value.items() if isinstance(value, dict) else enumerate(value[:LIST]) if isinstance(value, list) else ()
    for name, entry in entries:
        yield (*path, name)
        yield from places(entry, (*path, name))


def altered(value: Any, path: tuple, new: Any, delete: bool = False) -> Any:
    """A copy in which the entry at ``path`` is ``new``, or is gone."""
    made = copy.deepcopy(value)
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    if delete:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return made


def damages(text: str, every: int = 1) -> Iterator[tuple[str, bytes]]:
    """What was done, and the bytes that a file which held ``text`` then holds; of the entries' every so many."""
    value = json.loads(text)
    yield from ((f"whole {content[:20]!r}", content) for content in FILES)
    yield from ((f"cut at {part} of 7", text.encode()[: len(text) * part // 7]) for part in range(1, 7))
    number = 0
    for path in places(value):
        yield f"{path} gone", json.dumps(altered(value, path, None, delete=True)).encode()
        for new in (*WRONG, float("nan"), json.loads("[" * 200 + "]" * 200)):
            number += 1
            if number % every == 0:
                yield f"{path} = {str(new)[:20]}", json.dumps(altered(value, path, new)).encode()
