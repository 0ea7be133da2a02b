"""Keys and states: noise as a function of (seed key, parameter path, slice, member, counter)."""

import hashlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Key, PRNGKeyArray, UInt32

from jaxpsn.core.compat import anywhere
from jaxpsn.noise.inputs import is_array
from jaxpsn.noise.spec import Leaf, Spec

# Members are redrawn in blocks of about this many numbers, so that an episode end costs what it changes.
_BLOCK = 1 << 16


@struct.dataclass
class Draw:
    """The held perturbations of all members.

    ``counter`` u32[members] is how often each was redrawn (u32[members, components] where a perturbation is of several,
    :class:`jaxpsn.noise.Multiscale`); ``noise`` path -> arrays[members, stack..., ...];
    ``base`` path -> arrays that all members share (a random Flipout base), without a member axis; ``number``
    u32[members] is who each is: it travels with a member that is cut out, moved or sent to another device, so that
    its next noise is what it would have been, and no other's. ``replace(counter=...)`` with something that is no array
    (a PartitionSpec, an axis of ``vmap``) lays the numbers out like it.
    """

    counter: Any
    noise: Any
    base: Any
    number: Any
    spec: Spec = struct.field(pytree_node=False)
    kind: Any = struct.field(pytree_node=False)

    def __post_init__(self) -> None:
        if is_array(self.number) and not is_array(self.counter):
            object.__setattr__(self, "number", self.counter)

    @property
    def members(self) -> int:
        """How many there are."""
        return self.number.shape[-1]


def path_hash(path: str) -> tuple[int, int]:
    """Two words of a stable hash of a parameter's path."""
    digest = hashlib.blake2b(path.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def leaf_key(key: PRNGKeyArray, path: str) -> PRNGKeyArray:
    """The leaf's own stream: by its path, so that neither order nor shape matters."""
    low, high = path_hash(path)
    return jax.random.fold_in(jax.random.fold_in(key, jnp.uint32(low)), jnp.uint32(high))


def per_slice(leaf: Leaf, key: PRNGKeyArray, draw: Callable[[PRNGKeyArray], Any]) -> Any:
    """``draw(key)`` once, or once per stacked and batched slice with a key of its own, as ``[*leaf.lead, ...]``."""
    return _of_slices(leaf, _slice_keys(leaf, key), draw)


def _leaf_keys(key: PRNGKeyArray, paths: list[str]) -> Key[Array, " paths"]:
    """:func:`leaf_key` of every path."""
    low, high = np.asarray([path_hash(path) for path in paths], np.uint32).T
    return jax.vmap(jax.random.fold_in)(jax.vmap(jax.random.fold_in, (None, 0))(key, low), high)


def _slice_keys(leaf: Leaf, key: PRNGKeyArray) -> Key[Array, " slices"]:
    """A key for each slice of a leaf; of one slice the leaf's own."""
    if not leaf.lead:
        return key[None]
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(math.prod(leaf.lead), dtype=jnp.uint32))


def _of_slices(leaf: Leaf, keys: Key[Array, " slices"], draw: Callable[[PRNGKeyArray], Any]) -> Any:
    if not leaf.lead:
        return draw(keys[0])
    return jax.tree.map(lambda x: x.reshape(leaf.lead + x.shape[1:]), jax.vmap(draw)(keys))


def draw_member(kind: Any, spec: Spec, key: PRNGKeyArray, number: Array, counter: Array) -> dict[str, Any]:
    """The states of the member of this global number: path -> arrays."""
    identity, negate = number, None
    if kind.antithetic:
        # Members 2i and 2i+1 share a stream; the odd one takes it with the opposite sign.
        identity, negate = number // jnp.uint32(2), (number % jnp.uint32(2)) == 1

    leaves = [leaf for leaf in spec.leaves if kind.has_state(leaf)]
    streams = _leaf_keys(key, [leaf.path for leaf in leaves])
    streams = [_slice_keys(leaf, streams[place]) for place, leaf in enumerate(leaves)]
    # The keys of all leaves in one: on a GPU every fold is a kernel.
    folded = jax.vmap(lambda stream: jax.random.fold_in(jax.random.fold_in(stream, identity), counter))(
        jnp.concatenate(streams)
    )
    drawn, begin = {}, 0
    for leaf, keys in zip(leaves, streams, strict=True):
        own, begin = folded[begin : begin + len(keys)], begin + len(keys)
        drawn[leaf.path] = _of_slices(leaf, own, lambda one, leaf=leaf: kind.state(leaf, one, negate))
    return drawn


@partial(jax.jit, static_argnums=(0, 1))
def draw_all(
    kind: Any, spec: Spec, key: PRNGKeyArray, number: UInt32[Array, " members"], counter: UInt32[Array, " members"]
) -> dict[str, Any]:
    """The states of all members: path -> arrays[members, ...]."""
    return jax.vmap(lambda one, count: draw_member(kind, spec, key, one, count))(number, counter)


def where_members(where: Bool[Array, " members"], new: Any, old: Any) -> Any:
    """Per member ``new`` or ``old``."""
    return jax.tree.map(lambda a, b: jnp.where(where.reshape(where.shape + (1,) * (a.ndim - 1)), a, b), new, old)


@custom_vmap
def _largest(count: Array) -> Array:
    return jnp.max(count)


@_largest.def_vmap
def _largest_over_batch(axis_size, in_batched, count):
    return _largest(count), False


def _spread_explicitly(where: Array) -> bool:
    """Whether members lie on an axis of an explicit mesh, where gathers by member are not resolved."""
    return any(axis is not None for axis in jax.typeof(where).sharding.spec)


def redraw_changed(kind: Any, key: PRNGKeyArray, draw: Draw, counter: Array, where: Bool[Array, " members"]) -> Any:
    """New states where ``where``, drawn block by block: the cost is that of the members that change.

    A ``cheap`` kind draws all in a kernel or two where the device is not a CPU.
    """
    members, spec = draw.members, draw.spec
    numbers = sum(kind.state_numbers(leaf) for leaf in spec.leaves)
    # Of a few numbers each, no more members at once than may well end their episodes together.
    most = math.isqrt(members) if kind.cheap else members
    block = max(1, min(most, _BLOCK // max(1, numbers)))

    def everyone(noise, number, counter, where):
        return where_members(where, draw_all(kind, spec, key, number, counter), noise)

    def blocks(noise, number, counter, where):
        return _redraw_blocks(kind, spec, key, block, noise, number, counter, where)

    given = draw.noise, draw.number, counter, where
    if block == members or _spread_explicitly(where):
        return lax.cond(anywhere(where), everyone, lambda noise, *_: noise, *given)
    return lax.platform_dependent(*given, cpu=blocks, default=everyone) if kind.cheap else blocks(*given)


def _redraw_blocks(
    kind: Any,
    spec: Spec,
    key: PRNGKeyArray,
    block: int,
    noise: Any,
    number: Array,
    counter: Array,
    where: Bool[Array, " members"],
) -> Any:
    """Changed members first, ``block`` of them at a time; places past the last of them write nowhere."""
    members = where.shape[0]
    order = jnp.nonzero(where, size=members, fill_value=members)[0].astype(jnp.uint32)
    order = jnp.concatenate([order, jnp.full((block,), members, jnp.uint32)])
    blocks = (_largest(jnp.sum(where)) + block - 1) // block

    def body(step, noise):
        chosen = lax.dynamic_slice_in_dim(order, step * block, block)
        within = jnp.minimum(chosen, jnp.uint32(members - 1))
        fresh = draw_all(kind, spec, key, number[within], counter[within])
        return jax.tree.map(lambda old, new: old.at[chosen].set(new, mode="drop"), noise, fresh)

    return lax.fori_loop(0, blocks, body, noise)
