"""How a parameter's axes travel through the equations that only rearrange it, and what a contraction does with them."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp


@dataclass(frozen=True)
class View:
    """A rearranged parameter: the original axis behind each present one (None: inserted), and those scanned away."""

    path: str
    axes: tuple[int | None, ...]
    sliced: tuple[int, ...] = ()


def _regrouped(view: View, old: tuple[int, ...], new: tuple[int, ...]) -> View | None:
    """The view after a reshape that only inserts and removes axes of length one."""
    kept = [axis for axis, size in zip(view.axes, old, strict=True) if size != 1]
    if [size for size in old if size != 1] != [size for size in new if size != 1]:
        return None
    kept_iter = iter(kept)
    return View(view.path, tuple(None if size == 1 else next(kept_iter) for size in new), view.sliced)


def follow(eqn: Any, view: View) -> View | None:
    """The view of ``eqn``'s result if the equation only rearranges its one operand, else None."""
    name, shape = eqn.primitive.name, eqn.invars[0].aval.shape
    if len(eqn.outvars) != 1:
        return None
    if name in ("copy", "copy_p", "stop_gradient", "sharding_constraint", "pvary"):
        return view
    if name == "convert_element_type":
        return view if jnp.issubdtype(eqn.params["new_dtype"], jnp.floating) else None
    if name == "transpose":
        return View(view.path, tuple(view.axes[axis] for axis in eqn.params["permutation"]), view.sliced)
    if name in ("squeeze", "reshape", "broadcast_in_dim") and len(eqn.invars) == 1:
        return _regrouped(view, shape, eqn.outvars[0].aval.shape)
    return None


def scanned(view: View) -> View | None:
    """The view of one slice along the leading axis, or None where that axis was inserted."""
    if not view.axes or view.axes[0] is None:
        return None
    return View(view.path, view.axes[1:], (*view.sliced, view.axes[0]))


@dataclass(frozen=True)
class Contraction:
    """One use of a parameter in ``dot_general``: original axes of the parameter, and where the other operand's lie."""

    contract: tuple[int, ...]  # sorted original axes
    batch: tuple[int, ...]
    out: tuple[int, ...]
    x_contract: tuple[int, ...]  # axes of the other operand, in the order of `contract`
    x_batch: tuple[int, ...]
    x_free: tuple[int, ...]
    result: tuple[int, ...]  # permutation of (batch, free, out) that dot_general's result has

    @property
    def roles(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """What the parameter's axes do: contracted, batched, free."""
        return self.contract, self.batch, self.out


def contraction(eqn: Any, view: View, side: int) -> Contraction:
    """How ``eqn`` (a dot_general) contracts the viewed parameter, its operand number ``side``."""
    contracting, batching = eqn.params["dimension_numbers"]
    x_ndim = len(eqn.invars[1 - side].aval.shape)

    def pairs(dims):
        found = [(view.axes[w], x) for w, x in zip(dims[side], dims[1 - side], strict=True)]
        return [pair for pair in found if pair[0] is not None]

    contract, batch = sorted(pairs(contracting)), pairs(batching)
    used = {*contracting[side], *batching[side]}
    out = [axis for place, axis in enumerate(view.axes) if place not in used and axis is not None]
    x_used = {*contracting[1 - side], *batching[1 - side]}
    x_free = tuple(axis for axis in range(x_ndim) if axis not in x_used)
    by_axis = sorted(batch)
    batch_places = [by_axis.index(pair) for pair in batch]
    free_places = [len(batch) + place for place in range(len(x_free))]
    out_places = [len(batch) + len(x_free) + sorted(out).index(axis) for axis in out]
    tail = out_places + free_places if side == 0 else free_places + out_places
    return Contraction(
        contract=tuple(axis for axis, _ in contract),
        batch=tuple(axis for axis, _ in by_axis),
        out=tuple(sorted(out)),
        x_contract=tuple(place for _, place in contract),
        x_batch=tuple(place for _, place in by_axis),
        x_free=x_free,
        result=tuple(batch_places + tail),
    )


def taken_axis(eqn: Any, view: View) -> int | None:
    """The original axis along which ``eqn`` (a gather) looks up whole slices of the parameter, else None."""
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    shape = eqn.invars[0].aval.shape
    if len(numbers.start_index_map) != 1 or numbers.operand_batching_dims or None in view.axes:
        return None
    place = numbers.start_index_map[0]
    whole = tuple(sizes) == (*shape[:place], 1, *shape[place + 1 :])
    return view.axes[place] if whole and numbers.collapsed_slice_dims == (place,) else None
