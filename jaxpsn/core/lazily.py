"""What is made, or imported, when it is first asked for: a script that refuses its command line loads no JAX."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

V = TypeVar("V")


class Lazy(Mapping[str, V]):
    """Values by name; the names are known at once, each value is made once, when it is asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], V]]):
        """``makers``: name -> what makes the value."""
        self._makers, self._made = dict(makers), dict[str, V]()

    def __getitem__(self, name: str) -> V:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:  # that of Mapping would make the value
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose names (name -> module below it) are imported when they are used."""

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return find
