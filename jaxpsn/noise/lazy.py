"""A perturbed parameter that is not formed until something other than a contraction needs it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.core.errors import refuse
from jaxpsn.noise import inputs
from jaxpsn.noise.spec import Leaf, Parts, Spec, taken_apart
from jaxpsn.noise.views import View


@struct.dataclass
class Lazy:
    """``weight + sigma * E`` of one member; every array has the unsliced stacked axes of the leaf in front."""

    weight: Any
    noise: Any  # this member's state of the structure
    base: Any  # arrays of the structure that all members share
    sigma: Any  # f32[stack...], already times the RMS when relative; None where the noise is of that size itself
    view: View = struct.field(pytree_node=False)

    def sized(self, noise: Array) -> Array:
        """``sigma`` times ``noise``: of one slice, or ``[stack..., entries]``."""
        if self.sigma is None:
            return noise
        sigma = self.sigma.astype(noise.dtype)
        return (sigma[..., None] if sigma.ndim else sigma) * noise


def wider(dtype: Any) -> Any:
    """The type in which weights of ``dtype`` and their noise are added: float32, but float64 for float64."""
    return dtype if jnp.finfo(dtype).bits > 32 else jnp.float32


def effective_sigma(
    leaf: Leaf, weight: Array, sigma: Float[Array, ""], relative: bool, rms: Array | None = None
) -> Float[Array, "..."]:
    """``sigma`` of each stacked slice, times the slice's RMS if relative; ``rms``: where it is known already."""
    if not relative:
        return jnp.broadcast_to(sigma, leaf.sizes(leaf.stack))
    return sigma * (_rms(leaf, weight) if rms is None else rms)


def _rms(leaf: Leaf, weight: Array) -> Float[Array, "..."]:
    """Of each stacked slice. It is a statistic, not a path of learning: no gradient flows through it."""
    inner = tuple(axis for axis in range(len(leaf.shape)) if axis not in leaf.stack)
    power = jnp.mean(jnp.square(jax.lax.stop_gradient(weight).astype(jnp.float32)), axis=inner)
    order = sorted(leaf.stack)
    return jnp.sqrt(power.transpose([order.index(axis) for axis in leaf.stack]))


def units(params: Any, spec: Spec) -> dict[str, Array] | None:
    """Path -> what sigma is multiplied by, the leaf's RMS of each stacked slice; None where sigma is absolute.

    For whoever applies the same weights again and again: a compiler does not see that a loop over tokens would read
    all of them once more for it.
    """
    if not spec.relative:
        return None
    parts = taken_apart(params)
    rows = zip(planned(parts, spec), parts.arrays, strict=True)
    return {leaf.path: _rms(leaf, weight) for leaf, weight in rows if leaf is not None}


def planned(parts: Parts, spec: Spec) -> list[Leaf | None]:
    """Of each array of a parameter tree its row in the plan, if it has one; UserError if a planned leaf is missing."""
    missing = sorted(set(spec.by_path) - set(parts.paths))
    if missing:
        refuse("params", inputs.few(missing), "planned, but not in these parameters")
    return [spec.by_path.get(path) for path in parts.paths]


def make_lazy(parts: Parts, spec: Spec, lazily: Callable[[Leaf, Array], Any]) -> list[Any]:
    """The arrays of a parameter tree, each planned one replaced by ``lazily(leaf, weight)``."""
    pairs = zip(planned(parts, spec), parts.arrays, strict=True)
    return [weight if leaf is None else lazily(leaf, weight) for leaf, weight in pairs]


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
    """Form ``weight + sigma * E`` in the weight's dtype; E is float32, and the sum is taken in float32 or wider."""
    stack = tuple(axis for axis in leaf.stack if axis not in lazy.view.sliced)
    depth = len(stack) + bool(leaf.batch)

    def entries(noise, base, weight):
        return kind.entries(leaf, noise, base, weight)

    for _ in range(depth):
        entries = jax.vmap(entries)
    weight = matrix_view(leaf, lazy.weight, lazy.view) if kind.reads_weight else None
    noise = entries(lazy.noise, lazy.base, weight).astype(jnp.float32)
    flat = noise.reshape((*leaf.sizes(stack), -1))
    offset = spread(leaf, lazy.sized(flat), lazy.view, lazy.weight.shape)
    wide = wider(lazy.weight.dtype)
    return (lazy.weight.astype(wide) + offset.astype(wide)).astype(lazy.weight.dtype)
