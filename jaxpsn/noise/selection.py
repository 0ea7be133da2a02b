"""Which parameters are perturbed: predicates on a leaf, combined with ``&``, ``|`` and ``~``.

A leaf is told by its own name, by the name of its own module, and by its use in the traced program; the names of
modules further up say nothing about it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxpsn.core.errors import refuse
from jaxpsn.noise import inputs
from jaxpsn.noise.uses import MATRIX, NORM, SHIFT, TABLE, VARIANCE

# "norm" but not "normal" (a Gaussian head); "normaliser" and "normalizer" hold observation statistics.
_NORM = re.compile(r"norm(?!al(?!i[sz]))|^ln(_|\d|$)|_ln$", re.IGNORECASE)
_STATISTICS = re.compile(r"^(batch_stats|running_.*|mean|var|variance|std|count|summed_variance)$")
_TABLE = re.compile(r"embed|^w[tp]e$", re.IGNORECASE)


Uses = Mapping[str, frozenset[str]]
"""What the program does with the leaves of a module, by their names: words of :mod:`jaxpsn.noise.uses`."""


@dataclass(frozen=True)
class Selection:
    """A predicate ``rule(path, leaf, siblings)``; ``siblings`` are the leaf names of the same module.

    With ``by_use`` the rule takes a fourth argument, what the traced program does with the leaves of the module
    (:data:`Uses`), or None where nothing was traced.
    """

    rule: Callable[..., bool]
    name: str = "selection"
    by_use: bool = False

    def __call__(self, path: str, leaf: Any, siblings: frozenset[str] = frozenset(), uses: Uses | None = None) -> bool:
        """Whether ``leaf`` at the joined ``path`` (``"params/hidden_0/kernel"``) is perturbed."""
        return bool(self.rule(path, leaf, siblings, *([uses] if self.by_use else [])))

    def __and__(self, other: "Selection") -> "Selection":
        return Selection(
            lambda *leaf: self(*leaf) and other(*leaf), f"({self.name} & {other.name})", self.by_use or other.by_use
        )

    def __or__(self, other: "Selection") -> "Selection":
        return Selection(
            lambda *leaf: self(*leaf) or other(*leaf), f"({self.name} | {other.name})", self.by_use or other.by_use
        )

    def __invert__(self) -> "Selection":
        return Selection(lambda *leaf: not self(*leaf), f"~{self.name}", self.by_use)


class _Seat(NamedTuple):
    """Where a leaf stands: its name, the nearest name above it that is no index, and how the module is used."""

    name: str
    module: str
    own: frozenset[str]  # its own uses
    matrix: bool  # whether it, or another leaf of its module, is used as a matrix


def _seat(path: str, uses: Uses | None) -> _Seat:
    *modules, name = path.split("/")
    module = next((part for part in reversed(modules) if not part.isdigit()), "")
    uses = uses or {}
    return _Seat(name, module, uses.get(name, frozenset()), any(MATRIX in words for words in uses.values()))


def _is_norm(path: str, leaf: Any, siblings: frozenset[str], uses: Uses | None = None) -> bool:
    seat = _seat(path, uses)
    scaled = seat.name in ("scale", "bias") and "scale" in siblings and siblings <= {"scale", "bias", "mean", "var"}
    # A layer with a matrix is none, whatever it is called; what norm it may hold shows in its use.
    named = not seat.matrix and (scaled or bool(_NORM.search(seat.module)))
    return MATRIX not in seat.own and (NORM in seat.own or named)


def _is_statistic(path: str, leaf: Any, siblings: frozenset[str], uses: Uses | None = None) -> bool:
    seat = _seat(path, uses)
    running = SHIFT in seat.own and any(VARIANCE in words for words in (uses or {}).values())
    named = not seat.matrix and any(map(_STATISTICS.match, (seat.name, seat.module)))
    collected = "batch_stats" in path.split("/")
    return MATRIX not in seat.own and (collected or VARIANCE in seat.own or running or named)


def _is_table(path: str, leaf: Any, siblings: frozenset[str], uses: Uses | None = None) -> bool:
    seat = _seat(path, uses)
    # A projection that happens to be called "embed" still has a kernel, or is used as one; a table has not.
    named = not seat.matrix and seat.name not in ("kernel", "bias") and bool(_TABLE.search(seat.module))
    return TABLE in seat.own or named or bool(_TABLE.search(seat.name))


everything = Selection(lambda path, leaf, siblings: True, "everything")
norms = Selection(_is_norm, "norms", by_use=True)
embeddings = Selection(_is_table, "embeddings", by_use=True)
statistics = Selection(_is_statistic, "statistics", by_use=True)
all_but_norms = Selection(
    lambda *leaf: not (norms(*leaf) or embeddings(*leaf) or statistics(*leaf)),
    "all_but_norms",
    by_use=True,
)


def matching(pattern: Any) -> Selection:
    """Leaves whose joined path contains the regular expression ``pattern``."""
    inputs.of_type("pattern", pattern, str, "a regular expression")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        refuse("pattern", pattern, f"a regular expression ({error})")
    return Selection(lambda path, leaf, siblings: compiled.search(path) is not None, f"matching({pattern!r})")


def as_selection(select: Any) -> Selection:
    """``select`` itself, or a user's plain predicate ``f(path, leaf)`` as a :class:`Selection`."""
    if isinstance(select, Selection):
        return select
    inputs.function("select", select, "a Selection or a predicate f(path, leaf), as noise.matching makes one")
    return Selection(lambda path, leaf, siblings: select(path, leaf), getattr(select, "__name__", "selection"))
