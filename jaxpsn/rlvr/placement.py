"""Where a run's arrays lie: on one device, or over a mesh of devices and processes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from jaxpsn.core import errors, platforms
from jaxpsn.core import mesh as meshes
from jaxpsn.lm import sharding
from jaxpsn.lm.config import DecoderConfig


class Placement:
    """Problems are cut over the ``data`` axis, weights over ``model``; the kept weights over ``data`` as well.

    What the host reads is whole on every device, so that each process of several sees all answers and verifies them
    alike; every process runs the same program. Without a mesh all is left to the one default device. ``devices``: those
    to run on, JAX's own if left out.
    """

    def __init__(self, mesh: str | None, devices: Sequence[Any] | None = None):
        self.mesh = None if mesh is None else meshes.make_mesh(mesh, devices)
        self._devices = devices

    def decoder(self, decoder: DecoderConfig) -> DecoderConfig:
        """``decoder`` with the kernels that its passes take on these devices."""
        return replace(decoder, flash=platforms.of(self._devices) == platforms.CUDA)

    @property
    def parts(self) -> int:
        """Pieces into which problems are cut."""
        return 1 if self.mesh is None else self.mesh.shape["data"]

    def check(self, field: str, problems: int) -> None:
        """Refuse numbers of problems that the ``data`` axis does not divide."""
        if problems % self.parts:
            errors.refuse(field, problems, f"a multiple of the mesh's data = {self.parts}")

    def weights(self, decoder: DecoderConfig) -> Any:
        """Shardings of the weights that are kept and updated, a share on each device; None without a mesh."""
        return None if self.mesh is None else sharding.shardings(decoder, self.mesh, spread=True)

    def working(self, decoder: DecoderConfig, params: Any, dtype: str) -> Any:
        """The weights as passes use them: in ``dtype``, and gathered over ``data`` once, not in every layer."""
        cast = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype)), params)
        if self.mesh is None:
            return cast
        return jax.lax.with_sharding_constraint(cast, sharding.shardings(decoder, self.mesh))

    def whole(self) -> Any:
        """The sharding of what every device has whole."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())

    def rows(self) -> Any:
        """The sharding of arrays ``[P, ...]``."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec("data"))

    def answers(self) -> Any:
        """The sharding of arrays ``[G, P, ...]``."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec(None, "data"))

    def put(self, tree: Any, places: Any) -> Any:
        """``tree``, of which every process holds the whole, as arrays of the mesh; ``places`` may be a prefix of it.

        Arrays that lie on the devices of several processes already stay where they are.
        """
        return tree if self.mesh is None else jax.tree.map(_placed, tree, jax.tree.broadcast(places, tree))

    def jit(self, function: Callable[..., Any], ins: Any, outs: Any, **options: Any) -> Any:
        """``jax.jit`` with these shardings if there is a mesh."""
        if self.mesh is None:
            return jax.jit(function, **options)
        return jax.jit(function, in_shardings=ins, out_shardings=outs, **options)

    def memory(self, optimiser: optax.GradientTransformation, memory: Any, weights: Any) -> Any:
        """Shardings of an optimiser's state: moments lie where their weights do."""
        return optax.tree_utils.tree_map_params(
            optimiser,
            lambda _, place: place,
            memory,
            weights,
            transform_non_params=lambda _: self.whole(),
        )


def _placed(leaf: Any, place: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array):
        if not leaf.is_fully_addressable:
            return leaf
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = _placed(jax.random.key_data(leaf), place)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, place, lambda index: host[index])
