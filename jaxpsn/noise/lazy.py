"""A perturbed parameter that is not formed until something other than a contraction needs it."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.noise.spec import Leaf, Spec, joined
from jaxpsn.noise.views import View


@struct.dataclass
class Lazy:
    """``weight + sigma * E`` of one member; every array has the unsliced stacked axes of the leaf in front."""

    weight: Any
    noise: Any  # this member's state of the structure
    base: Any  # arrays of the structure that all members share
    sigma: Any  # f32[stack...], already times the RMS when relative
    view: View = struct.field(pytree_node=False)


def effective_sigma(leaf: Leaf, weight: Array, sigma: Float[Array, ""], relative: bool) -> Float[Array, "..."]:
    """``sigma`` of each stacked slice, times the slice's RMS if relative.

    The RMS is a statistic, not a path of learning: no gradient flows through it.
    """
    if not relative:
        return jnp.broadcast_to(sigma, leaf.sizes(leaf.stack))
    inner = tuple(axis for axis in range(len(leaf.shape)) if axis not in leaf.stack)
    power = jnp.mean(jnp.square(jax.lax.stop_gradient(weight).astype(jnp.float32)), axis=inner)
    order = sorted(leaf.stack)
    return sigma * jnp.sqrt(power.transpose([order.index(axis) for axis in leaf.stack]))


def make_lazy(params: Any, spec: Spec, parts: Any) -> Any:
    """``params`` with each planned leaf replaced by ``parts(leaf, weight) -> Lazy``."""

    def replace(path, weight):
        leaf = spec.by_path.get(joined(path))
        return weight if leaf is None else parts(leaf, weight)

    return jax.tree_util.tree_map_with_path(replace, params)


def matrix_view(leaf: Leaf, weight: Array, view: View) -> Array:
    """``weight``, seen through ``view``, as ``[remaining stack..., batch?, out, contract]``."""
    stack = tuple(axis for axis in leaf.stack if axis not in view.sliced)
    order = stack + leaf.batch + leaf.out + leaf.contract
    places = [view.axes.index(axis) for axis in order if axis in view.axes]
    inserted = [place for place in range(len(view.axes)) if place not in places]
    shape = leaf.sizes(stack) + ((-1,) if leaf.batch else ()) + (leaf.rows, leaf.columns)
    return weight.transpose(inserted + places).reshape(shape)


def spread(leaf: Leaf, entries: Array, view: View, shape: tuple[int, ...]) -> Array:
    """The inverse of :func:`matrix_view`: canonical entries in the axes of ``view``."""
    stack = tuple(axis for axis in leaf.stack if axis not in view.sliced)
    order = stack + leaf.batch + leaf.out + leaf.contract
    present = [axis for axis in order if axis in view.axes]
    full = entries.reshape(leaf.sizes(tuple(present)))
    wanted = [axis for axis in view.axes if axis is not None]
    return full.transpose([present.index(axis) for axis in wanted]).reshape(shape)


def settle(leaf: Leaf, lazy: Lazy, kind: Any) -> Array:
    """Form ``weight + sigma * E`` in the weight's dtype; the sum is taken in float32."""
    stack = tuple(axis for axis in leaf.stack if axis not in lazy.view.sliced)
    depth = len(stack) + bool(leaf.batch)

    def entries(noise, base, weight):
        return kind.entries(leaf, noise, base, weight)

    for _ in range(depth):
        entries = jax.vmap(entries)
    weight = matrix_view(leaf, lazy.weight, lazy.view) if kind.reads_weight else None
    noise = entries(lazy.noise, lazy.base, weight).astype(jnp.float32)
    flat = noise.reshape((*leaf.sizes(stack), -1)) * lazy.sigma[..., None]
    offset = spread(leaf, flat, lazy.view, lazy.weight.shape)
    return (lazy.weight.astype(jnp.float32) + offset).astype(lazy.weight.dtype)
