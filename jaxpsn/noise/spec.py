"""What is perturbed and how it is used: static, hashable, printable."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import jax

from jaxpsn.core.errors import refuse
from jaxpsn.noise.inputs import is_array

Use = Literal["matmul", "vector", "gather", "general"]


class Parts(NamedTuple):
    """A parameter tree taken apart: its arrays, each with a path of its own, and how to put it together."""

    paths: tuple[str, ...]
    arrays: list[Any]
    whole: Callable[[list[Any]], Any] = list
    """``whole(arrays)`` is the tree; leaves that are no arrays (numbers, functions of a module) are as they were."""
    others: tuple[str, ...] = ()
    """Paths of the leaves that are no arrays."""


def taken_apart(params: Any) -> Parts:
    """The arrays of ``params`` by their joined paths (``"params/hidden_0/kernel"``).

    Names may hold slashes themselves (Haiku's do). Where two leaves would get the same path by it, theirs are written
    with a backslash before such slashes. Raises UserError if even so two paths are equal.
    """
    found, tree = jax.tree_util.tree_flatten_with_path(params)
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in found]
    count = Counter(paths)
    for place, (path, _) in enumerate(found):
        if count[paths[place]] > 1:
            parts = [jax.tree_util.keystr((part,), simple=True) for part in path]
            paths[place] = "/".join(part.replace("/", "\\/") for part in parts)
    for path, times in Counter(paths).items():
        if times > 1:
            refuse("params", path, f"the path of {times} leaves; name them differently")
    leaves = [leaf for _, leaf in found]
    arrays = [place for place, leaf in enumerate(leaves) if is_array(leaf)]

    def whole(values: list[Any]) -> Any:
        filled = dict(zip(arrays, values, strict=True))
        return jax.tree.unflatten(tree, [filled.get(place, leaf) for place, leaf in enumerate(leaves)])

    others = tuple(path for path, leaf in zip(paths, leaves, strict=True) if not is_array(leaf))
    return Parts(tuple(paths[place] for place in arrays), [leaves[place] for place in arrays], whole, others)


@dataclass(frozen=True)
class Leaf:
    """One perturbed parameter.

    ``stack`` are the axes a scan slices away (each slice has its own noise), ``batch`` those batched
    in its contraction (an ensemble, likewise), ``contract`` and ``out`` the rest: seen through them the
    leaf is a matrix ``[out, contract]``. ``partner`` is the matrix whose output this vector is added to. ``beside``:
    paths of all matrices that read the same activations as this one, itself among them. ``drawn_as``: the path that its
    noise is a function of, where that is not its own.
    """

    path: str
    shape: tuple[int, ...]
    use: Use
    stack: tuple[int, ...] = ()
    batch: tuple[int, ...] = ()
    contract: tuple[int, ...] = ()
    out: tuple[int, ...] = ()
    partner: str | None = None
    materialised: bool = False
    beside: tuple[str, ...] = field(default=(), compare=False)
    drawn_as: str | None = None

    @property
    def source(self) -> str:
        """The path that its noise is a function of."""
        return self.drawn_as or self.path

    def sizes(self, axes: tuple[int, ...]) -> tuple[int, ...]:
        """Lengths of these axes."""
        return tuple(self.shape[axis] for axis in axes)

    @property
    def rows(self) -> int:
        """Outputs of the matrix; length of the vector."""
        return math.prod(self.sizes(self.out))

    @property
    def columns(self) -> int:
        """Inputs of the matrix; one for a vector."""
        return math.prod(self.sizes(self.contract))

    @property
    def is_vector(self) -> bool:
        return self.use == "vector"

    @property
    def lead(self) -> tuple[int, ...]:
        """Leading axes of this leaf's noise state: each stacked axis, then all batched ones as one."""
        return self.sizes(self.stack) + ((math.prod(self.sizes(self.batch)),) if self.batch else ())


@dataclass(frozen=True)
class Spec:
    """The perturbed leaves of one parameter tree, as :func:`jaxpsn.noise.plan` found them."""

    leaves: tuple[Leaf, ...]
    relative: bool = False
    left_alone: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def by_path(self) -> dict[str, Leaf]:
        """The leaves by their joined path."""
        return {leaf.path: leaf for leaf in self.leaves}

    @cached_property
    def _hash(self) -> int:
        return hash((self.leaves, self.relative))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return spec_summary(self)


def formed(spec: Spec, members: int) -> str:
    """What is formed for each of so many members, for want of a product that they share, and its bytes (float32).

    Empty if nothing is.
    """
    found = [leaf for leaf in spec.leaves if leaf.materialised]
    size = 4 * members * sum(math.prod(leaf.shape) for leaf in found)
    paths = ", ".join(leaf.path for leaf in found)
    return f"formed for each of {members:,} perturbations, {size:,} bytes in all: {paths}" if found else ""


def _how(leaf: Leaf) -> str:
    if leaf.use == "vector":
        return "vector, with " + leaf.partner if leaf.partner else "vector"
    parts = [leaf.use]
    if leaf.use == "matmul":
        parts.append(f"over {leaf.contract if len(leaf.contract) > 1 else leaf.contract[0]}")
    parts += [f"{name} {axes}" for name, axes in (("scanned", leaf.stack), ("batched", leaf.batch)) if axes]
    return ", ".join(parts) + (", MATERIALISED" if leaf.materialised else "")


def spec_summary(spec: Spec, kind: Any = None) -> str:
    """``spec`` as a table; with a structure, also the bytes of state per member of each leaf."""
    header = ["path", "shape", "use", "entries"] + (["state (bytes/member)"] if kind is not None else [])
    rows = []
    for leaf in spec.leaves:
        row = [leaf.path, "x".join(map(str, leaf.shape)) or "scalar", _how(leaf), f"{math.prod(leaf.shape):,}"]
        rows.append(row + ([f"{kind.state_bytes(leaf):,}"] if kind is not None else []))
    total = sum(math.prod(leaf.shape) for leaf in spec.leaves)
    foot = ["total", "", "relative sigma" if spec.relative else "", f"{total:,}"]
    rows.append(foot + ([f"{sum(map(kind.state_bytes, spec.leaves)):,}"] if kind is not None else []))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, ["-" * width for width in widths], *rows]
    ]
    if spec.left_alone:
        lines.append("left alone: " + ", ".join(spec.left_alone))
    return "\n".join(lines)
