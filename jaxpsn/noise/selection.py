"""Which parameters are perturbed: predicates on a leaf's path, combined with ``&``, ``|`` and ``~``."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# "norm" but not "normal" (a Gaussian head); "normaliser" and "normalizer" hold observation statistics.
_NORM = re.compile(r"norm(?!al(?!i[sz]))|^ln(_|\d|$)|_ln$", re.IGNORECASE)
_STATISTICS = re.compile(r"^(batch_stats|running_.*|mean|var|variance|std|count|summed_variance)$")
_TABLE = re.compile(r"embed|^w[tp]e$", re.IGNORECASE)


@dataclass(frozen=True)
class Selection:
    """A predicate ``rule(path, leaf, siblings)``; ``siblings`` are the leaf names of the same module."""

    rule: Callable[[str, Any, frozenset[str]], bool]
    name: str = "selection"

    def __call__(self, path: str, leaf: Any, siblings: frozenset[str] = frozenset()) -> bool:
        """Whether ``leaf`` at the joined ``path`` (``"params/hidden_0/kernel"``) is perturbed."""
        return bool(self.rule(path, leaf, siblings))

    def __and__(self, other: "Selection") -> "Selection":
        return Selection(lambda *leaf: self(*leaf) and other(*leaf), f"({self.name} & {other.name})")

    def __or__(self, other: "Selection") -> "Selection":
        return Selection(lambda *leaf: self(*leaf) or other(*leaf), f"({self.name} | {other.name})")

    def __invert__(self) -> "Selection":
        return Selection(lambda *leaf: not self(*leaf), f"~{self.name}")


def _is_norm(path: str, leaf: Any, siblings: frozenset[str]) -> bool:
    *modules, name = path.split("/")
    scaled = name in ("scale", "bias") and "scale" in siblings and siblings <= {"scale", "bias", "mean", "var"}
    return scaled or any(_NORM.search(part) for part in modules)


def _is_statistic(path: str, leaf: Any, siblings: frozenset[str]) -> bool:
    return any(_STATISTICS.match(part) for part in path.split("/"))


def _is_table(path: str, leaf: Any, siblings: frozenset[str]) -> bool:
    *modules, name = path.split("/")
    # A projection that happens to be called "embed" still has a kernel, a table has not.
    return bool(_TABLE.search(name)) or (name not in ("kernel", "bias") and any(map(_TABLE.search, modules)))


everything = Selection(lambda path, leaf, siblings: True, "everything")
norms = Selection(_is_norm, "norms")
embeddings = Selection(_is_table, "embeddings")
statistics = Selection(_is_statistic, "statistics")
all_but_norms = Selection(
    lambda *leaf: not (norms(*leaf) or embeddings(*leaf) or statistics(*leaf)),
    "all_but_norms",
)


def matching(pattern: str) -> Selection:
    """Leaves whose joined path contains the regular expression ``pattern``."""
    compiled = re.compile(pattern)
    return Selection(lambda path, leaf, siblings: compiled.search(path) is not None, f"matching({pattern!r})")


def as_selection(select: Callable[..., bool]) -> Selection:
    """``select`` itself, or a user's plain predicate ``f(path, leaf)`` as a :class:`Selection`."""
    if isinstance(select, Selection):
        return select
    return Selection(lambda path, leaf, siblings: select(path, leaf), getattr(select, "__name__", "selection"))
