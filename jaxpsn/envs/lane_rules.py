"""What each primitive of a small computation does to lanes: mostly arithmetic of whole parts, often nothing at all."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpsn.envs import lane_values as values
from jaxpsn.envs.lane_values import Lanes

ELEMENTWISE = frozenset(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type cos cosh div eq "
    "erf exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg not or pow rem "
    "round rsqrt select_n sign sin sinh sqrt square sub tan tanh xor".split()
)
STRUCTURAL = frozenset(
    "broadcast_in_dim concatenate copy copy_p device_put expand_dims gather pad reshape rev slice split squeeze stack "
    "tile transpose unstack".split()
)
FOLDS: dict[str, Callable[[Any, Any], Any]] = {
    "reduce_sum": lax.add,
    "reduce_prod": lax.mul,
    "reduce_max": lax.max,
    "reduce_min": lax.min,
    "reduce_and": lax.bitwise_and,
    "reduce_or": lax.bitwise_or,
}
_ON_HOST: dict[str, Callable[..., Any]] = {
    "abs": np.abs, "add": np.add, "and": np.bitwise_and, "eq": np.equal, "ge": np.greater_equal, "gt": np.greater,
    "is_finite": np.isfinite, "le": np.less_equal, "lt": np.less, "max": np.maximum, "min": np.minimum,
    "mul": np.multiply, "ne": np.not_equal, "neg": np.negative, "not": np.invert, "or": np.bitwise_or,
    "sub": np.subtract,
}  # fmt: skip
WEIGHT = 200
"""Operations that one kernel may do anew because several others need the same: beyond, a result is kept."""


def lifted(value: Any, copies: int) -> Lanes:
    """``value`` as lanes, whether it varies or not."""
    return value if isinstance(value, Lanes) else values.constant(value, copies)


class Weights:
    """How much work the fusion of an array would repeat; where it becomes too much, a barrier ends the fusion.

    XLA's CPU backend computes what several kernels need within each of them.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, Any]] = {}  # with the array itself, whose id must not be used again

    def bounded(self, made: jax.Array, operands: Sequence[jax.Array]) -> jax.Array:
        """``made`` from ``operands``, maybe behind a barrier."""
        weight = 1 + sum(self._known.get(id(operand), (0, None))[0] for operand in operands)
        if weight > WEIGHT:
            made, weight = lax.optimization_barrier(made), 0
        self._known[id(made)] = (weight, made)
        return made


def elementwise(
    primitive: Any, params: Any, args: Sequence[Any], shape: tuple[int, ...], weights: Weights, copies: int
) -> np.ndarray:
    """Parts of an elementwise result of ``shape``; operands are of it, scalar, or of size 1 along some axes."""
    lead = (*shape[:1], copies)
    if "sharding" in params:
        params = dict(params, sharding=None)

    def spread(part):
        return part if part.shape == lead else lax.broadcast_in_dim(part, lead, tuple(range(len(lead)))[-part.ndim :])

    def operand(arg, place):
        at = tuple(0 if size == 1 else number for number, size in zip(place, arg.shape[1:], strict=False))
        if isinstance(arg, Lanes):
            return spread(arg.parts[at])
        column = arg[(slice(None), *at)] if arg.ndim else arg
        if column.size == 1 or (column == column.flat[0]).all():
            return lax.full(lead, column.flat[0], arg.dtype)
        return lax.broadcast_in_dim(jnp.asarray(column), lead, (0,))

    def part(place):
        operands = [operand(arg, place) for arg in args]
        return weights.bounded(primitive.bind(*operands, **params), operands)

    return values.each(shape[1:], part)


def structural(primitive: Any, params: Any, args: Sequence[Any], copies: int) -> list[Lanes] | None:
    """Elements moved about: the primitive itself, applied to their numbers, says where each of them goes.

    None where an element comes from nowhere (a gather that fills).
    """
    data = args[:1] if primitive.name == "gather" else args
    ends = np.cumsum([0, *(math.prod(arg.shape) for arg in data)])
    numbers = [
        np.arange(a, b, dtype=np.int32).reshape(arg.shape) for a, b, arg in zip(ends, ends[1:], data, strict=False)
    ]
    if primitive.name == "gather":
        params = dict(params, fill_value=-1)
    found = numbers[0] if primitive.name == "device_put" else on_host(primitive, params, *numbers, *args[len(data) :])
    found = found if isinstance(found, list | tuple) else [found]
    if any((np.asarray(index) < 0).any() for index in found):
        return None
    sources = [lifted(arg, copies) for arg in data]
    return [values.take(sources, np.asarray(index)) for index in found]


def contracted(params: Any, a: Any, b: Any, out: Any, weights: Weights, copies: int) -> Lanes:
    """A matrix product, as products and sums in the order of the contracted index."""
    a, b = lifted(a, copies), lifted(b, copies)
    (sum_a, sum_b), (batch_a, batch_b) = params["dimension_numbers"]
    rows = bool(batch_a) and batch_a[0] == 0 == batch_b[0]  # then whole parts are multiplied, else element by element
    entries = (a.parts, b.parts) if rows else (a.elements(), b.elements())
    free_a = [axis for axis in range(len(a.shape)) if axis not in (*sum_a, *batch_a)]
    free_b = [axis for axis in range(len(b.shape)) if axis not in (*sum_b, *batch_b)]

    def entry(side, axes, place):
        at = [0] * len(axes)
        for axis, number in zip(axes, place, strict=True):
            at[axis] = number
        found = entries[side][tuple(at[rows:])]
        return lax.convert_element_type(found, out.dtype)

    def times(batch, left, right, index):
        pair = [
            entry(0, (*batch_a, *free_a, *sum_a), (*batch, *left, *index)),
            entry(1, (*batch_b, *free_b, *sum_b), (*batch, *right, *index)),
        ]
        return weights.bounded(lax.mul(*pair), pair)

    def element(place):
        batch, left, right = _split(place, len(batch_a), len(free_a))
        products = [times(batch, left, right, index) for index in np.ndindex(*(a.shape[axis] for axis in sum_a))]
        return functools.reduce(lambda x, y: weights.bounded(lax.add(x, y), (x, y)), products)

    if rows:
        return Lanes(out.shape, values.each(out.shape[1:], lambda place: element((0, *place))), out.dtype)
    return values.stacked(values.each(out.shape, element), out.dtype)


def _split(place: tuple[int, ...], first: int, second: int) -> tuple[tuple[int, ...], ...]:
    return place[:first], place[first : first + second], place[first + second :]


def folded(name: str, axes: Sequence[int], value: Lanes, out: Any) -> Lanes:
    """A reduction over ``axes``, entry after entry."""
    fold = functools.partial(functools.reduce, FOLDS[name])
    if 0 in axes:
        entries = np.moveaxis(value.elements(), axes, range(len(axes))).reshape(-1, *out.shape)
        return values.stacked(values.each(out.shape, lambda at: fold(list(entries[(slice(None), *at)]))), out.dtype)
    entries = np.moveaxis(value.parts, [axis - 1 for axis in axes], range(len(axes))).reshape(-1, *out.shape[1:])
    return Lanes(out.shape, values.each(out.shape[1:], lambda at: fold(list(entries[(slice(None), *at)]))), out.dtype)


def scattered(primitive: Any, params: Any, args: Sequence[Any], out: Any, copies: int) -> Lanes:
    """A scatter-add at places that all copies share: each element is the sum of what comes to it, in order."""
    operand, places, updates = args
    count = math.prod(updates.shape)

    def alone(update):
        return primitive.bind(jnp.zeros(out.shape, jnp.float32), jnp.asarray(places), update, **params)

    with jax.ensure_compile_time_eval():
        lit = jnp.eye(count, dtype=jnp.float32).reshape(count, *updates.shape)
        comes = np.asarray(jax.vmap(alone)(lit)) > 0
    before, added = lifted(operand, copies).elements(), lifted(updates, copies).elements().reshape(-1)

    def element(place):
        return functools.reduce(lax.add, [before[place], *added[comes[(slice(None), *place)]]])

    return values.stacked(values.each(out.shape, element), out.dtype)


def general(primitive: Any, params: Any, args: Sequence[Any], copies: int) -> list[Lanes]:
    """Any other primitive: as ``jax.vmap`` does it, on whole arrays."""
    axes = [0 if isinstance(arg, Lanes) else None for arg in args]
    found = jax.vmap(lambda *given: primitive.bind(*given, **params), in_axes=axes)(
        *(values.whole(arg, copies) if isinstance(arg, Lanes) else arg for arg in args)
    )
    return [values.cut(each) for each in (found if primitive.multiple_results else [found])]


def on_host(primitive: Any, params: Any, *args: Any) -> Any:
    """A primitive of constants, now: by NumPy where it does the same, as each new shape would be compiled."""
    args, name = tuple(map(np.asarray, args)), primitive.name
    if name in _ON_HOST:
        with np.errstate(all="ignore"):  # infinities and NaN are the computation's own
            return _ON_HOST[name](*args)
    for rule in (_exact, _moved, _folded, _gathered):
        if (found := rule(name, params, args)) is not None:
            return found
    with jax.ensure_compile_time_eval():
        found = primitive.bind(*map(jnp.asarray, args), **params)
    return list(map(np.asarray, found)) if primitive.multiple_results else np.asarray(found)


def _exact(name: str, params: Any, args: Sequence[np.ndarray]) -> Any:
    """What only chooses, counts or is exact in every implementation."""
    if name == "select_n" and args[0].dtype == bool:
        return np.where(args[0], args[2], args[1])
    if name == "convert_element_type":
        return args[0].astype(params["new_dtype"])
    if name == "device_put":
        return list(args)
    if name == "iota":
        shape, axis = params["shape"], params["dimension"]
        counted = np.arange(shape[axis]).astype(params["dtype"])
        return np.broadcast_to(counted.reshape([-1 if each == axis else 1 for each in range(len(shape))]), shape)
    if name == "rem" and np.issubdtype(args[0].dtype, np.integer) and np.all(args[1] != 0):
        return np.fmod(*args)
    return None


def _folded(name: str, params: Any, args: Sequence[np.ndarray]) -> np.ndarray | None:
    if name not in ("reduce_or", "reduce_and") or args[0].dtype != bool:
        return None
    return np.asarray((np.any if name == "reduce_or" else np.all)(args[0], axis=tuple(params["axes"])))


def _gathered(name: str, params: Any, args: Sequence[np.ndarray]) -> np.ndarray | None:
    """``lax.gather`` piece by piece; None where a piece lies outside and is not moved inside."""
    if name != "gather":
        return None
    operand, indices, places, sizes = *args, params["dimension_numbers"], params["slice_sizes"]
    most = np.subtract(operand.shape, sizes)
    gone = (*places.collapsed_slice_dims, *places.operand_batching_dims)
    kept = tuple(size for axis, size in enumerate(sizes) if axis not in gone)
    made = np.empty((*indices.shape[:-1], *kept), operand.dtype)
    for at in np.ndindex(indices.shape[:-1]):
        begin = np.zeros(operand.ndim, np.int64)
        begin[list(places.start_index_map)] = indices[at]
        begin[list(places.operand_batching_dims)] = [at[axis] for axis in places.start_indices_batching_dims]
        inside = np.clip(begin, 0, most)
        if params["mode"] != lax.GatherScatterMode.CLIP and np.any(inside != begin):
            return None
        piece = operand[tuple(slice(first, first + size) for first, size in zip(inside, sizes, strict=True))]
        made[at] = piece.reshape(kept)
    batch = iter(range(indices.ndim - 1))
    window = iter(range(indices.ndim - 1, made.ndim))
    order = [next(window if axis in places.offset_dims else batch) for axis in range(made.ndim)]
    return made.transpose(order)


def _moved(name: str, params: Any, args: Sequence[np.ndarray]) -> np.ndarray | None:
    if name not in STRUCTURAL:
        return None
    first = args[0]
    if name == "slice":
        steps = params["strides"] or (1,) * first.ndim
        return first[tuple(map(slice, params["start_indices"], params["limit_indices"], steps))]
    if name == "squeeze":
        return np.squeeze(first, params["dimensions"])
    if name == "reshape":
        return first.reshape(params["new_sizes"])
    if name == "transpose":
        return first.transpose(params["permutation"])
    if name == "concatenate":
        return np.concatenate(args, params["dimension"])
    if name == "broadcast_in_dim":
        own = dict(zip(params["broadcast_dimensions"], first.shape, strict=True))
        return np.broadcast_to(
            first.reshape([own.get(axis, 1) for axis in range(len(params["shape"]))]), params["shape"]
        )
    if name == "tile":
        return np.tile(first, params["reps"])
    return first if name in ("copy", "copy_p") else None
