"""One abstract pass over a model: which leaves it uses, and how."""

from dataclasses import dataclass, replace
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from jaxpsn.core.errors import refuse
from jaxpsn.noise import inputs
from jaxpsn.noise.interpret import Rules, bind, evaluate, is_lazy
from jaxpsn.noise.lazy import Lazy
from jaxpsn.noise.selection import Selection, all_but_norms, as_selection
from jaxpsn.noise.spec import Leaf, Parts, Spec, taken_apart
from jaxpsn.noise.uses import module_of, uses
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
        self.read: dict[Any, tuple[Any, list[str]]] = {}
        """By activations, which are kept so that none takes the place of another: the matrices that read them."""

    def rules(self) -> Rules:
        return Rules(self._contract, self._take, self._form, lambda lazy: scanned(lazy.view) is not None)

    def _note(self, lazy: Lazy, *use: Any) -> None:
        self.seen.setdefault(lazy.view.path, []).append(_Seen(use[0], lazy.view.sliced, *use[1:]))

    def _contract(self, eqn, lazy, side, other):
        found = contraction(eqn, lazy.view, side)
        self._note(lazy, *(("matmul", *found.roles) if found.contract else ("formed",)))
        self.read.setdefault((id(other), found.x_contract), (other, []))[1].append(lazy.view.path)
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


def _trace(closed: Any, parts: Parts, example: Any, chosen: set[str]) -> _Recorder:
    recorder = _Recorder()

    def lazily(path, weight):
        if path not in chosen:
            return weight
        return Lazy(weight, (), (), (), View(path, tuple(range(weight.ndim))))

    def run(arrays, example):
        args = [*map(lazily, parts.paths, arrays), *jax.tree.leaves(example)]
        rules = recorder.rules()
        return [rules.form(out) if is_lazy(out) else out for out in evaluate(closed, args, rules)]

    jax.eval_shape(run, parts.arrays, example)
    return recorder


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


def _beside(leaf: Leaf, leaves: dict[str, Leaf], read: list[list[str]]) -> Leaf:
    """A matrix, given those that read what it reads; one that is read in several ways has none."""
    own = [paths for paths in read if leaf.path in paths]
    if len(own) != 1 or leaf.batch or leaf.materialised:
        return leaf
    alike = [leaves[path] for path in own[0]]
    kept = [one for one in alike if one.sizes(one.stack) == leaf.sizes(leaf.stack) and one.columns == leaf.columns
            and not one.batch and not one.materialised]  # fmt: skip
    return replace(leaf, beside=tuple(one.path for one in kept))


def _floating(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _chosen(closed: Any, parts: Parts, rule: Selection) -> dict[str, tuple[int, ...]]:
    """Shapes of the selected floating-point leaves by path."""
    found = dict(zip(parts.paths, parts.arrays, strict=True))
    others = [None] * (len(closed.jaxpr.invars) - len(found))
    used = uses(closed, [*parts.paths, *others]) if rule.by_use else {}
    modules: dict[str, dict[str, frozenset[str]]] = {}
    for path in (*parts.paths, *parts.others):
        modules.setdefault(module_of(path), {})[path.rpartition("/")[2]] = used.get(path, frozenset())

    def selected(path: str) -> bool:
        module = modules[module_of(path)]
        return rule(path, found[path], frozenset(module), module)

    chosen = {path: tuple(leaf.shape) for path, leaf in found.items() if _floating(leaf) and selected(path)}
    if not chosen:
        _nothing(parts, rule)
    return chosen


def _nothing(parts: Parts, rule: Selection) -> NoReturn:
    found = inputs.few([*parts.paths, *parts.others])
    refuse("select", rule.name, f"matches no floating-point array of the parameters {found}")


def plan(
    apply: Any,
    params: Any,
    example: Any,
    select: Any = all_but_norms,
    relative: Any = False,
) -> Spec:
    """Trace ``apply(params, example)`` once and find how every selected leaf is used.

    ``example`` is ONE member's input (arrays or ``jax.ShapeDtypeStruct``); ``select`` a predicate
    ``(path, leaf) -> bool``. ``relative`` multiplies sigma by each leaf's RMS (per scanned slice, no gradient).
    A leaf reported as MATERIALISED is formed for every member. Leaves of ``params`` that are no arrays (Python numbers,
    the functions of an Equinox module) are passed on as they are. Raises ``UserError`` if nothing is selected, or if
    a selected leaf does not take part in the computation.
    """
    inputs.function("apply", apply, "a function apply(params, x)")
    inputs.flag("relative", relative)
    inputs.example(example)
    rule, parts = as_selection(select), taken_apart(params)
    if not any(map(_floating, parts.arrays)):
        _nothing(parts, rule)
    closed = jax.make_jaxpr(lambda arrays, example: apply(parts.whole(arrays), example))(parts.arrays, example)
    chosen = _chosen(closed, parts, rule)
    recorder = _trace(closed, parts, example, set(chosen))
    seen, read = recorder.seen, [paths for _, paths in recorder.read.values()]
    missing = sorted(set(chosen) - set(seen))
    if missing:
        refuse("select", inputs.few(missing), "selected, but not consumed by apply(params, example)")
    leaves = {path: _leaf(path, shape, seen[path]) for path, shape in chosen.items()}
    paired = tuple(_beside(_paired(leaf, leaves), leaves, read) for leaf in leaves.values())
    left_alone = tuple(path for path in (*parts.paths, *parts.others) if path not in chosen)
    return Spec(paired, relative, left_alone)
