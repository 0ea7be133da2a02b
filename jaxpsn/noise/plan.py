"""One abstract pass over a model: which leaves it uses, and how."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxpsn.errors import refuse
from jaxpsn.noise.interpret import Rules, bind, evaluate, is_lazy
from jaxpsn.noise.lazy import Lazy
from jaxpsn.noise.selection import all_but_norms, as_selection
from jaxpsn.noise.spec import Leaf, Spec, joined
from jaxpsn.noise.views import View, contraction, scanned, taken_axis


@dataclass(frozen=True)
class _Seen:
    """One use of a leaf: as a matmul, a gather, or formed."""

    use: str
    stack: tuple[int, ...]
    contract: tuple[int, ...] = ()
    batch: tuple[int, ...] = ()
    out: tuple[int, ...] = ()


class _Recorder:
    """Rules that compute with the clean weights and note every use."""

    def __init__(self) -> None:
        self.seen: dict[str, list[_Seen]] = {}

    def rules(self) -> Rules:
        return Rules(self._contract, self._take, self._form, lambda lazy: scanned(lazy.view) is not None)

    def _note(self, lazy: Lazy, *use: Any) -> None:
        self.seen.setdefault(lazy.view.path, []).append(_Seen(use[0], lazy.view.sliced, *use[1:]))

    def _contract(self, eqn, lazy, side, other):
        found = contraction(eqn, lazy.view, side)
        self._note(lazy, *(("matmul", *found.roles) if found.contract else ("formed",)))
        return bind(eqn, *((lazy.weight, other) if side == 0 else (other, lazy.weight)))

    def _take(self, eqn, lazy, indices):
        axis = taken_axis(eqn, lazy.view)
        if axis is None:
            return None
        rest = tuple(sorted(label for label in lazy.view.axes if label != axis))
        self._note(lazy, "gather", (axis,), (), rest)
        return bind(eqn, lazy.weight, indices)

    def _form(self, lazy):
        self._note(lazy, "formed")
        return lazy.weight


def _trace(apply: Callable[..., Any], params: Any, example: Any, chosen: set[str]) -> dict[str, list[_Seen]]:
    recorder = _Recorder()

    def lazily(path, weight):
        name = joined(path)
        if name not in chosen:
            return weight
        return Lazy(weight, (), (), (), View(name, tuple(range(weight.ndim))))

    def run(params, example):
        closed = jax.make_jaxpr(apply)(params, example)
        lazy = jax.tree_util.tree_map_with_path(lazily, params)
        args = [*jax.tree.leaves(lazy, is_leaf=is_lazy), *jax.tree.leaves(example)]
        rules = recorder.rules()
        return [rules.form(out) if is_lazy(out) else out for out in evaluate(closed, args, rules)]

    jax.eval_shape(run, params, example)
    return recorder.seen


def _leaf(path: str, shape: tuple[int, ...], seen: list[_Seen]) -> Leaf:
    """The roles of the leaf's axes, from its first contraction (else look-up, else as formed)."""
    ranked = [use for kind in ("matmul", "gather", "formed") for use in seen if use.use == kind]
    first = ranked[0]
    inner = tuple(axis for axis in range(len(shape)) if axis not in first.stack)
    if first.use == "formed":
        if len(inner) <= 1:
            return Leaf(path, shape, "vector", first.stack, out=inner)
        return Leaf(path, shape, "general", first.stack, contract=inner[:-1], out=inner[-1:], materialised=True)
    roles = (first.contract, first.batch, first.out)
    either_way = {roles, (first.out, first.batch, first.contract)}
    odd = any(
        use.use == "formed" or use.stack != first.stack or (use.contract, use.batch, use.out) not in either_way
        for use in seen
    )
    return Leaf(path, shape, first.use, first.stack, first.batch, first.contract, first.out, materialised=odd)


def _paired(leaf: Leaf, leaves: dict[str, Leaf]) -> Leaf:
    """A bias, given the one matrix of its module whose outputs it matches."""
    if leaf.is_vector or (leaf.use == "general" and leaf.path.endswith("bias")):
        module = leaf.path.rpartition("/")[0]
        kin = [other for other in leaves.values() if other.use == "matmul" and other.path.rpartition("/")[0] == module]
        inner = tuple(axis for axis in range(len(leaf.shape)) if axis not in leaf.stack)
        for other in kin if len(kin) == 1 else ():
            kept = sorted(other.batch + other.out)
            same_stack = leaf.sizes(leaf.stack) == other.sizes(other.stack)
            if same_stack and leaf.sizes(inner) == other.sizes(tuple(kept)):
                batch = tuple(axis for axis, twin in zip(inner, kept, strict=True) if twin in other.batch)
                out = tuple(axis for axis in inner if axis not in batch)
                return Leaf(leaf.path, leaf.shape, "vector", leaf.stack, batch, (), out, other.path)
    return leaf


def _chosen(params: Any, select: Callable[..., bool]) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """Shapes of the selected floating-point leaves by path, and the paths left alone."""
    found = [(joined(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
    names: dict[str, set[str]] = {}
    for path, _ in found:
        module, _, name = path.rpartition("/")
        names.setdefault(module, set()).add(name)
    rule = as_selection(select)
    chosen = {
        path: tuple(leaf.shape)
        for path, leaf in found
        if jnp.issubdtype(leaf.dtype, jnp.floating) and rule(path, leaf, frozenset(names[path.rpartition("/")[0]]))
    }
    if not chosen:
        refuse("select", rule.name, f"matches no floating-point leaf of {[path for path, _ in found]}")
    return chosen, tuple(path for path, _ in found if path not in chosen)


def plan(
    apply: Callable[..., Any],
    params: Any,
    example: Any,
    select: Callable[..., bool] = all_but_norms,
    relative: bool = False,
) -> Spec:
    """Trace ``apply(params, example)`` once and find how every selected leaf is used.

    ``example`` is ONE member's input (arrays or ``jax.ShapeDtypeStruct``); ``select`` a predicate
    ``(path, leaf) -> bool``. ``relative`` multiplies sigma by each leaf's RMS (per scanned slice, no gradient).
    A leaf reported as MATERIALISED is formed for every member. Raises ``UserError`` if nothing is
    selected, or if a selected leaf does not take part in the computation.
    """
    chosen, left_alone = _chosen(params, select)
    seen = _trace(apply, params, example, set(chosen))
    missing = sorted(set(chosen) - set(seen))
    if missing:
        refuse("select", missing, "selected, but not consumed by apply(params, example)")
    leaves = {path: _leaf(path, shape, seen[path]) for path, shape in chosen.items()}
    paired = tuple(_paired(leaf, leaves) for leaf in leaves.values())
    return Spec(paired, relative, left_alone)
