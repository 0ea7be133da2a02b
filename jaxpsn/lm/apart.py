"""A decoder's layers side by side instead of stacked: how a CPU reads them token after token without copying them.

XLA's CPU backend multiplies whole buffers only. A slice of a stack is copied first, in every pass, and a kernel that is
the right-hand side of a thin product is turned around besides. Here each layer is an array of its own, its kernels are
``[out, in]``, and its keys lie as scores read them. All of it is made once, before the loop over tokens.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxpsn.lm.model import KERNEL, LAYERS, TURNED, Cache
from jaxpsn.noise import Draw, Leaf


def count(params: Any) -> int:
    """Number of stacked layers."""
    return jax.tree.leaves(params[LAYERS])[0].shape[0]


def weights(params: Any) -> Any:
    """``params`` with a tuple of layers for the stack, and ``turned [out, in]`` for every ``kernel [in, out]``."""
    layers = tuple(_turned(jax.tree.map(lambda leaf, at=at: leaf[at], params[LAYERS])) for at in range(count(params)))
    # Without the barrier the compiler would put the slices back into the loop that reads them.
    return lax.optimization_barrier(_turned(params | {LAYERS: layers}))


def _turned(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    found = {name: _turned(value) for name, value in tree.items()}
    return {TURNED if name == KERNEL else name: value.T if name == KERNEL else value for name, value in found.items()}


def _path(path: str, layer: int | None) -> str:
    """The path of a leaf in the tree of :func:`weights`."""
    parts = path.split("/")
    parts = [TURNED if part == KERNEL else part for part in parts]
    return "/".join(parts if layer is None else [parts[0], str(layer), *parts[1:]])


def _leaf(leaf: Leaf, layer: int | None) -> Leaf:
    """A leaf of the tree of :func:`weights`: that of one layer, or of none; its noise is what it was."""
    shape, stack = leaf.shape, leaf.stack
    axes = {axis: axis for axis in range(len(shape))}
    if layer is not None:
        shape, stack = shape[1:], stack[1:]
        axes = {axis: axis - 1 for axis in axes}
    if leaf.path.rpartition("/")[2] == KERNEL:
        shape = shape[::-1]
        axes = {axis: len(shape) - 1 - place for axis, place in axes.items()}

    def moved(old: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(axes[axis] for axis in old))

    return replace(
        leaf,
        path=_path(leaf.path, layer),
        drawn_as=leaf.drawn_as or leaf.path,
        shape=shape,
        stack=stack,
        batch=moved(leaf.batch),
        contract=moved(leaf.contract),
        out=moved(leaf.out),
        partner=leaf.partner and _path(leaf.partner, layer if leaf.partner.startswith(LAYERS) else None),
        beside=tuple(_path(path, layer if path.startswith(LAYERS) else None) for path in leaf.beside),
    )


def _is_stacked(path: str) -> bool:
    return path.startswith(LAYERS + "/")


def _layers_of(path: str, layers: int) -> Iterable[int | None]:
    return range(layers) if _is_stacked(path) else (None,)


def fits(draw: Draw) -> bool:
    """Whether every layer of a stacked leaf has noise of its own, which can be taken apart."""
    return all(leaf.stack == ((0,) if _is_stacked(leaf.path) else ()) for leaf in draw.spec.leaves)


def by_leaf(values: dict[str, Any], layers: int, axis: int | None = None) -> dict[str, Any]:
    """What is kept by path, by the paths of :func:`weights`; stacked leaves have their layers along ``axis``, or share.

    A value is an array or a tree of arrays.
    """

    def of_layer(value: Any, layer: int | None) -> Any:
        if layer is None or axis is None:
            return value
        return jax.tree.map(lambda x: lax.index_in_dim(x, layer, axis, keepdims=False), value)

    return {
        _path(path, layer): of_layer(value, layer)
        for path, value in values.items()
        for layer in _layers_of(path, layers)
    }


def drawn(draw: Draw, layers: int) -> Draw:
    """The same noise for the tree of :func:`weights`."""
    leaves = tuple(_leaf(leaf, layer) for leaf in draw.spec.leaves for layer in _layers_of(leaf.path, layers))
    # Whole first: the compiler would else draw the noise of a stack anew for every layer that is cut out of it.
    noise, base = lax.optimization_barrier((draw.noise, draw.base))
    noise, base = by_leaf(noise, layers, 1), by_leaf(base, layers, 0)
    return draw.replace(noise=noise, base=base, spec=replace(draw.spec, leaves=leaves))


def cache(stacked: Cache) -> Cache:
    """A cache of all members, ``[members, layers, batch, slots, kv_heads, head_dim]``, with its layers side by side."""
    layers = range(stacked.k.shape[1])
    k = tuple(jnp.moveaxis(stacked.k[:, layer], 2, 4) for layer in layers)
    v = tuple(jnp.moveaxis(stacked.v[:, layer], 2, 3) for layer in layers)
    return lax.optimization_barrier(Cache(k, v))


def stacked(cache: Cache) -> Cache:
    """The inverse of :func:`cache`."""
    k = jnp.stack([jnp.moveaxis(side, 4, 2) for side in cache.k], axis=1)
    return Cache(k, jnp.stack([jnp.moveaxis(side, 3, 2) for side in cache.v], axis=1))
