"""Replay as an aligned ring ``[time, env, ...]``: one row of all environments per vector step.

The write position is a function of the clock, which vmapped seeds share, so that an insert is one in-place row write
whatever the capacity, under ``vmap`` too.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float, Int, PRNGKeyArray


@struct.dataclass
class Replay:
    """The ring; donate it to the step that inserts."""

    data: Any  # pytree, leaves [rows, N, ...]

    @property
    def rows(self) -> int:
        """Vector steps that fit."""
        return jax.tree.leaves(self.data)[0].shape[0]


def init(rows: int, example: Any) -> Replay:
    """An empty ring of ``rows`` vector steps. ``example``: one vector step, leaves ``[N, ...]``."""
    return Replay(jax.tree.map(lambda x: jnp.zeros((rows, *x.shape), x.dtype), example))


def _writer(axis: int):
    @custom_vmap
    def write(ring, row, position):
        return lax.dynamic_update_slice_in_dim(ring, jnp.expand_dims(row, axis), position, axis)

    # The stock batching rule makes a scatter even of a shared position; this one stays a row write.
    @write.def_vmap
    def write_batch(size, batched, ring, row, position):
        ring_batched, row_batched, position_batched = batched
        if position_batched:
            raise ValueError("replay: the clock must be shared by all that is vmapped (in_axes None)")
        ring = ring if ring_batched else jnp.broadcast_to(ring, (size, *ring.shape))
        row = row if row_batched else jnp.broadcast_to(row, (size, *row.shape))
        return _writer(axis + 1)(ring, row, position), True

    return write


def insert(replay: Replay, clock: Int[Array, ""], transition: Any) -> Replay:
    """Write one vector step (leaves ``[N, ...]``) over the oldest row. ``clock``: vector steps inserted before."""
    write = _writer(0)
    position = clock % replay.rows
    return Replay(jax.tree.map(lambda ring, row: write(ring, row, position), replay.data, transition))


class Places(NamedTuple):
    """Transitions drawn uniformly with replacement."""

    number: Int[Array, "*shape"]
    """Below ``held``: rows of the ring, or their ages, which are as good while all are drawn alike."""
    env: Int[Array, "*shape"]
    held: Int[Array, ""]
    """Rows that hold something."""


def places(key: PRNGKeyArray, replay: Replay, clock: Int[Array, ""], shape: tuple[int, ...]) -> Places:
    """Places of what is stored, drawn by ``key``; ``clock``: vector steps inserted so far, at least 1."""
    envs = jax.tree.leaves(replay.data)[0].shape[1]
    row_key, env_key = jax.random.split(key)
    held = jnp.minimum(clock, replay.rows)
    number = jax.random.randint(row_key, shape, 0, held)
    return Places(number, jax.random.randint(env_key, shape, 0, envs), held)


def sample(key: PRNGKeyArray, replay: Replay, clock: Int[Array, ""], shape: tuple[int, ...]) -> Any:
    """Transitions drawn uniformly with replacement, leaves ``[*shape, ...]``, one gather per leaf.

    ``clock``: vector steps inserted so far, at least 1. Draw all batches of a round at once and scan over them.
    """
    return take(replay, places(key, replay, clock, shape))


def take(replay: Replay, drawn: Places) -> Any:
    """The transitions at places that were drawn, leaves ``[*shape, ...]``."""
    row, env, _ = drawn
    return jax.tree.map(lambda ring: ring.at[row, env].get(mode="promise_in_bounds"), replay.data)


def successors(
    replay: Replay,
    clock: Int[Array, ""],
    row: Int[Array, "*shape"],
    env: Int[Array, "*shape"],
    now: Float[Array, "n o"],
) -> Float[Array, "*shape o"]:
    """What the environments ``env`` saw after the rows ``row``: the next observation, of a new episode after an end.

    It is what the next row begins with; ``now`` are the observations after the newest row.
    """
    newest = row == (clock - 1) % replay.rows
    after = replay.data.obs.at[(row + 1) % replay.rows, env].get(mode="promise_in_bounds")
    return jnp.where(newest[..., None], now.at[env].get(mode="promise_in_bounds"), after)
