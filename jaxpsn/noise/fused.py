"""All members' forward passes in one: shared matrix products, and the noise applied to activations."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxpsn.core import compat
from jaxpsn.core.compat import anywhere
from jaxpsn.core.errors import refuse
from jaxpsn.noise import inputs, products
from jaxpsn.noise.convolutions import as_outside
from jaxpsn.noise.draws import Draw
from jaxpsn.noise.interpret import Rules, bind, evaluate, is_lazy
from jaxpsn.noise.lazy import Lazy, make_lazy, matrix_view, settle, wider
from jaxpsn.noise.spec import Leaf, Parts, Spec, taken_apart
from jaxpsn.noise.structures import Structure, lazy_leaf, leaf_sigmas
from jaxpsn.noise.views import Contraction, View, contraction, taken_axis


@dataclass
class _Forward:
    """The interpreter's rules for one structure, and the leaves that were consumed."""

    spec: Spec
    kind: Structure
    consumed: set[str]

    def rules(self) -> Rules:
        return Rules(self._contract, self._take, self._form, self._sliceable)

    def _leaf(self, lazy: Lazy) -> Leaf:
        self.consumed.add(lazy.view.path)
        return self.spec.by_path[lazy.view.path]

    def _form(self, lazy: Lazy) -> Array:
        return settle(self._leaf(lazy), lazy, self.kind)

    def _sliceable(self, lazy: Lazy) -> bool:
        stack, done = self.spec.by_path[lazy.view.path].stack, len(lazy.view.sliced)
        return len(stack) > done and lazy.view.axes[:1] == (stack[done],)

    def _contract(self, eqn: Any, lazy: Lazy, side: int, other: Array) -> Array:
        leaf, found = self._leaf(lazy), contraction(eqn, lazy.view, side)
        flip = found.contract == leaf.out and found.out == leaf.contract
        straight = found.contract == leaf.contract and found.out == leaf.out
        known = lazy.view.sliced == leaf.stack and found.batch == leaf.batch and not leaf.is_vector
        if not (known and (straight or flip) and found.contract):
            formed = self._form(lazy)
            return bind(eqn, *((formed, other) if side == 0 else (other, formed)))
        flip = flip and not straight
        dtype = eqn.outvars[0].aval.dtype
        operands = (lazy.weight, other) if side == 0 else (other, lazy.weight)
        shape = eqn.outvars[0].aval.shape
        if jnp.finfo(dtype).bits < 32:
            # The sum is rounded once, so that noise below the clean value's last bit still counts.
            clean = bind(eqn, *operands, preferred_element_type=jnp.dtype(jnp.float32))
        elif leaf.batch or (leaf.rows if flip else leaf.columns) > products.THIN:
            clean = bind(eqn, *operands)
        else:
            thin = partial(self._thin, leaf, lazy.view, found, side, flip, shape)
            clean = lax.platform_dependent(*operands, cpu=partial(bind, eqn), default=thin)
        noise = self._noise(leaf, lazy, found, other, flip, shape)
        return (clean + lazy.sized(noise.astype(clean.dtype))).astype(dtype)

    def _thin(
        self,
        leaf: Leaf,
        view: View,
        found: Contraction,
        side: int,
        flip: bool,
        shape: tuple[int, ...],
        *operands: Array,
    ) -> Array:
        """W x of few numbers, in the axes of the equation's result."""
        matrix = matrix_view(leaf, operands[side], view)

        def apply(x):
            return products.thin_product(x, matrix if flip else matrix.T)

        return _arranged(leaf, found, operands[1 - side], flip, shape, apply)

    def _noise(self, leaf: Leaf, lazy: Lazy, found: Contraction, x: Array, flip: bool, shape: tuple[int, ...]) -> Array:
        """E x in the axes of the equation's result."""
        weight = matrix_view(leaf, lazy.weight, lazy.view) if self.kind.reads_weight else None

        def apply(noise, base, weight, x):
            return self.kind.contract(leaf, noise, base, weight, x, flip)

        whole = jax.vmap(apply) if found.x_batch else apply
        return _arranged(leaf, found, x, flip, shape, partial(whole, lazy.noise, lazy.base, weight))

    def _take(self, eqn: Any, lazy: Lazy, indices: Array) -> Array | None:
        leaf, axis = self._leaf(lazy), taken_axis(eqn, lazy.view)
        rest = tuple(sorted(label for label in lazy.view.axes if label != axis))
        sides = {(leaf.out, leaf.contract): True, (leaf.contract, leaf.out): False}
        of_out = sides.get(((axis,), rest))
        if axis is None or leaf.is_vector or leaf.batch or of_out is None or lazy.view.sliced != leaf.stack:
            return None
        ids = jnp.clip(indices[..., 0], 0, leaf.shape[axis] - 1)
        weight = matrix_view(leaf, lazy.weight, lazy.view) if self.kind.reads_weight else None
        noise = self.kind.rows(leaf, lazy.noise, lazy.base, weight, ids.reshape(-1), of_out)
        noise = noise.astype(jnp.float32).reshape(ids.shape + leaf.sizes(rest))
        order = [label for label in lazy.view.axes if label != axis]
        noise = noise.transpose([*range(ids.ndim), *(ids.ndim + rest.index(label) for label in order)])
        offsets = eqn.params["dimension_numbers"].offset_dims
        noise = jnp.moveaxis(noise, tuple(range(ids.ndim, noise.ndim)), offsets)
        clean = bind(eqn, lazy.weight, indices)
        wide = wider(clean.dtype)
        return (clean.astype(wide) + lazy.sized(noise).astype(wide)).astype(clean.dtype)


def _arranged(
    leaf: Leaf, found: Contraction, x: Array, flip: bool, shape: tuple[int, ...], apply: Callable[[Array], Array]
) -> Array:
    """``apply`` of the rows ``[batch?, F, contract]`` that ``x`` holds, in the axes of the equation's result."""
    batch, free = (tuple(x.shape[axis] for axis in axes) for axes in (found.x_batch, found.x_free))
    x = x.transpose(found.x_batch + found.x_free + found.x_contract)
    width = leaf.rows if flip else leaf.columns
    out = apply(x.reshape(((-1,) if batch else ()) + (_count(free), width)))
    return out.reshape(batch + free + leaf.sizes(found.out)).transpose(found.result).reshape(shape)


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _one_member(apply: Callable[..., Any], spec: Spec, kind: Structure, parts: Parts, base: Any, rms, noise, sigmas, x):
    lazy = make_lazy(parts, spec, lambda leaf, weight: lazy_leaf(kind, spec, leaf, weight, noise, base, sigmas, rms))
    closed, out_shape = jax.make_jaxpr(apply, return_shape=True)(parts.arrays, x)
    forward = _Forward(spec, kind, set())
    rules = forward.rules()
    outs = [rules.form(out) if is_lazy(out) else out for out in evaluate(closed, [*lazy, *jax.tree.leaves(x)], rules)]
    missing = sorted(set(spec.by_path) - forward.consumed)
    if missing:
        refuse("spec", inputs.few(missing), "planned, but not consumed by this call of apply")
    return jax.tree.unflatten(jax.tree.structure(out_shape), outs)


def _like_clean(clean: Any, noisy: Any) -> Any:
    """The value of ``clean`` with the derivative of ``noisy``."""
    if not jnp.issubdtype(clean.dtype, jnp.inexact):
        return clean
    return lax.stop_gradient(clean) + (noisy - lax.stop_gradient(noisy))


def fused(apply: Any, spec: Any, kind: Any, exact_zero: Any = True) -> Callable[..., Any]:
    """``act(params, draw, sigma, x)``: every member's ``apply(W + sigma E_i, x_i)`` at nearly the price of one batch.

    ``x``: one array or tree, every leaf ``[members, ...]``; the rest is what ``apply`` takes, so
    ``[members, E, ...]`` serves E rows per member. ``sigma``: scalar, ``[members]``, path -> either, or None where the
    draw's numbers have their size already (:meth:`Structure.placed`).
    Equal to ``vmap(apply . materialise)``, forward and gradient; the products with the clean weights
    stay shared by all members, and no perturbed matrix is formed unless ``plan`` reported it.

    Sigma zero everywhere gives the clean computation bit for bit, as it runs with weights and inputs as arguments.
    Adding zero noise would not: the compiler fuses the noisy program otherwise and sums a layer norm in another order.
    So a traced sigma is looked at at run time and a branch taken; ``exact_zero=False`` leaves the branch out (shorter
    compilation). ``act(..., rms=units(params, spec))`` of :mod:`jaxpsn.noise.lazy` spares a relative sigma its look at
    all weights. Raises ``UserError`` for a draw of another plan or structure, wrong shapes, or unconsumed leaves.
    """
    inputs.function("apply", apply, "a function apply(params, x)")
    inputs.of_type("spec", spec, Spec, "as noise.plan makes it")
    inputs.of_type("kind", kind, Structure, "a structure, as noise.Flipout()")
    inputs.flag("exact_zero", exact_zero)

    def act(params: Any, draw: Any, sigma: Any, x: Any, rms: Any = None) -> Any:
        inputs.of_type("draw", draw, Draw, "as the structure's init makes it")
        if draw.kind != kind or draw.spec != spec:
            refuse("draw", draw.kind, f"made by {kind} for the same plan")
        inputs.leading(x, draw.members)
        return _act(apply, kind, exact_zero, params, draw, sigma, x, rms)

    return act


def _act(
    apply: Callable[..., Any], kind: Structure, exact_zero: bool, params: Any, draw: Draw, sigma: Any, x: Any, rms
):
    spec, parts = draw.spec, taken_apart(params)
    sigmas = leaf_sigmas(draw, sigma)
    loud = not exact_zero or sigma is None or (isinstance(sigma, float | int) and bool(sigma))
    if not loud:
        loud = anywhere(jnp.stack([jnp.any(value != 0) for value in sigmas.values()]))
    # Inside shard_map all operands differ between devices once one does, so that equations can be bound as traced.
    given = parts.arrays, draw.noise, draw.base, sigmas, x, rms
    arrays, noise, base, sigmas, x, rms = compat.vary(given, compat.varying(given))
    axes = {path: 0 if value.ndim else None for path, value in sigmas.items()}

    def of_arrays(arrays, x):
        return apply(parts.whole(arrays), x)

    def member(noise, sigmas, x):
        return _one_member(of_arrays, spec, kind, parts._replace(arrays=arrays), base, rms, noise, sigmas, x)

    noisy = partial(jax.vmap(member, in_axes=(0, axes, 0)), noise)
    if loud is True:
        return noisy(sigmas, x)

    def silent(sigmas, x):
        # The compiler computes with constants in another arithmetic than the device: these are to be none to it.
        clean = as_outside(jax.vmap(of_arrays, (None, 0)))(*lax.optimization_barrier((arrays, x)))
        return jax.tree.map(_like_clean, clean, noisy(sigmas, x))

    return lax.cond(loud, noisy, silent, sigmas, x)
