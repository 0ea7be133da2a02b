"""Where a run's arrays lie: on one device, or over a mesh of devices and processes."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.sharding import NamedSharding, PartitionSpec

from jaxpsn import errors
from jaxpsn.lm import sharding
from jaxpsn.lm.config import DecoderConfig


class Placement:
    """Problems are cut over the ``data`` axis, weights over ``model`` (and, for training, over ``data`` too).

    What the host reads is whole on every device, so that each process of several sees all answers and verifies them
    alike; every process runs the same program. Without a mesh all is left to the one default device.
    """

    def __init__(self, mesh: str | None):
        self.mesh = None if mesh is None else sharding.make_mesh(mesh)

    @property
    def parts(self) -> int:
        """Pieces into which problems are cut."""
        return 1 if self.mesh is None else self.mesh.shape["data"]

    def check(self, field: str, problems: int) -> None:
        """Refuse numbers of problems that the ``data`` axis does not divide."""
        if problems % self.parts:
            errors.refuse(field, problems, f"a multiple of the mesh's data = {self.parts}")

    def weights(self, decoder: DecoderConfig) -> Any:
        """Shardings of the trained weights; None without a mesh."""
        return None if self.mesh is None else sharding.shardings(decoder, self.mesh, spread=True)

    def whole(self) -> Any:
        """The sharding of what every device has whole."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())

    def rows(self) -> Any:
        """The sharding of arrays ``[P, ...]``."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec("data"))

    def answers(self) -> Any:
        """The sharding of arrays ``[G, P, ...]``."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec(None, "data"))

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
