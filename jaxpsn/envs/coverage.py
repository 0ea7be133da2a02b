"""Cells of the observation space, in which the states that a run has visited are counted."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BITS = 14
"""Bits of the hash for tasks without a grid: 16384 cells."""


class Cells(NamedTuple):
    """A division of the observation space."""

    count: int
    """Number of cells, the most that can be visited."""
    index: Callable[[Float[Array, "*batch o"]], Int[Array, "*batch"]]
    """``index(obs[..., O]) -> cell[...]``, int32 within [0, count)."""


class _Axis(NamedTuple):
    read: Callable[[Any], Any]  # obs [..., O] -> coordinate [...]
    low: float
    high: float
    bins: int


def _entry(number: int) -> Callable[[Any], Any]:
    return lambda obs: obs[..., number]


def _wrapped(number: int) -> Callable[[Any], Any]:
    return lambda obs: jnp.mod(obs[..., number] + jnp.pi, 2 * jnp.pi) - jnp.pi


def _angle(sin: int, cos: int) -> Callable[[Any], Any]:
    return lambda obs: jnp.arctan2(obs[..., sin], obs[..., cos])


_PI = 3.1416
# What a task's difficulty lies in; a coordinate beyond an end counts for the last bin.
_GRIDS: dict[str, tuple[_Axis, ...]] = {
    "sparse_mountain_car": (_Axis(_entry(0), -2.0, 0.6, 32), _Axis(_entry(1), -4.0, 4.0, 32)),
    "sparse_cartpole_swingup": (
        _Axis(_entry(0), -3.0, 3.0, 6),
        _Axis(_entry(1), -6.0, 6.0, 6),
        _Axis(_wrapped(2), -_PI, _PI, 12),
        _Axis(_entry(3), -10.0, 10.0, 10),
    ),
    "sparse_double_pendulum": (
        _Axis(_angle(0, 1), -_PI, _PI, 12),
        _Axis(_entry(2), -10.0, 10.0, 8),
        _Axis(_angle(3, 4), -_PI, _PI, 12),
        _Axis(_entry(5), -10.0, 10.0, 8),
    ),
    "sparse_halfcheetah": (_Axis(_entry(17), -10.0, 10.0, 40), _Axis(_entry(8), -5.0, 5.0, 10)),
    "probe/held_exploration": (_Axis(_entry(0), -1.0, 1.0, 50),),
    "swimmer_gather": (_Axis(_entry(0), -7.0, 7.0, 28), _Axis(_entry(1), -7.0, 7.0, 28)),
}


_GRIDS["cartpole_swingup"] = _GRIDS["sparse_cartpole_swingup"]
_LIGHT = ("sparse_mountain_car", "sparse_cartpole_swingup", "sparse_double_pendulum")
_GRIDS.update({f"{name}_light": _GRIDS[name] for name in _LIGHT})


def cells(env: Any, observation_size: int) -> Cells:
    """The cells of an environment: its own, a grid over what matters in our sparse tasks, else a hash.

    Its own are ``env.coverage_cells()``. The hash takes the signs of :data:`BITS` fixed random projections (SimHash,
    Tang et al. 2017, arXiv 1611.04717, section 2.2): counts compare runs of one task, they measure no volume.
    """
    if hasattr(env, "coverage_cells"):
        return env.coverage_cells()
    grid = _GRIDS.get(getattr(env, "name", ""))
    return _hash(observation_size) if grid is None else _grid(grid)


def _grid(axes: tuple[_Axis, ...]) -> Cells:
    def index(obs: Float[Array, "*batch o"]) -> Int[Array, "*batch"]:
        cell = jnp.zeros(obs.shape[:-1], jnp.int32)
        for axis in axes:
            place = (axis.read(obs) - axis.low) / (axis.high - axis.low) * axis.bins
            cell = cell * axis.bins + jnp.clip(jnp.floor(place), 0, axis.bins - 1).astype(jnp.int32)
        return cell

    count = 1
    for axis in axes:
        count *= axis.bins
    return Cells(count, index)


def _hash(size: int) -> Cells:
    projection = jax.random.normal(jax.random.key(BITS), (size, BITS), jnp.float32)

    def index(obs: Float[Array, "*batch o"]) -> Int[Array, "*batch"]:
        bits = (obs @ projection > 0).astype(jnp.int32)
        return bits @ (2 ** jnp.arange(BITS, dtype=jnp.int32))

    return Cells(1 << BITS, index)
