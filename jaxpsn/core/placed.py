"""Arrays of the host on the devices of one or several processes, and the shards that a process answers for."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding


def is_key(leaf: Any) -> bool:
    """Whether a leaf (array or shape) holds typed keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def array(host: np.ndarray, sharding: Sharding | None) -> jax.Array:
    """``host``, which every process holds whole, as an array that may be donated."""
    if sharding is None:
        return jnp.array(host)
    if sharding.is_fully_addressable:
        made = jax.device_put(host, sharding)
    else:
        made = jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
    # Copies: device arrays on the CPU may borrow NumPy's memory, which must not be donated.
    return jnp.array(made, copy=True)


def put(leaf: Any, sharding: Sharding | None) -> jax.Array:
    """An array of this process, equal on all, on the devices of ``sharding``; one of several processes stays."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return leaf
    if isinstance(leaf, jax.Array) and is_key(leaf):
        data = array(np.asarray(jax.random.key_data(leaf)), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return array(np.asarray(leaf), sharding)


def local(leaf: Any) -> np.ndarray:
    """An array as this process can see it on its host: whole, or of one cut over processes its own rows."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
        return np.asarray(leaf)
    own = {shard.index[0].start or 0: np.asarray(shard.data) for shard in leaf.addressable_shards}
    return np.concatenate([own[start] for start in sorted(own)])


def owned(leaf: jax.Array) -> list[tuple[tuple[int, ...], jax.Array]]:
    """Start and data of each shard of an array that this process answers for: of all processes exactly one has it."""
    if leaf.is_fully_addressable and jax.process_index() > 0:
        return []  # an array of its own, which process 0 has too
    return [
        (tuple(part.start or 0 for part in shard.index), shard.data)
        for shard in leaf.addressable_shards
        if shard.replica_id == 0
    ]
