"""Where a run's arrays lie: on one device, or cut over a mesh of devices and processes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from jaxpsn.core import errors, placed, platforms
from jaxpsn.core import mesh as meshes

DATA = meshes.AXES[0]


class Placement:
    """Arrays over the axes of a mesh by their names; without a mesh all is left to the one default device.

    What is cut its home says, in a class of its own; every process of several runs the same program. ``devices``: those
    to run on, JAX's own if left out. ``ours``: programs are compiled by this package, with the options that they ask
    for; a user who compiles them knows of none.
    """

    def __init__(self, mesh: str | None = None, devices: Sequence[Any] | None = None, ours: bool = False):
        self.mesh = None if mesh is None else meshes.make_mesh(mesh, devices)
        self._devices, self.ours = devices, ours

    @property
    def platform(self) -> str:
        """The platform that programs are traced for."""
        return platforms.of(self._devices)

    @property
    def parts(self) -> int:
        """Pieces into which the ``data`` axis cuts."""
        return 1 if self.mesh is None else self.mesh.shape[DATA]

    def check(self, field: str, count: int) -> None:
        """Refuse a number of things that the ``data`` axis does not divide."""
        if count % self.parts:
            errors.refuse(field, count, f"a multiple of the mesh's data = {self.parts}")

    def sharding(self, *axes: str | None) -> Any:
        """The sharding of arrays whose axes are cut so, such as ``(None, "data")``; None without a mesh."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec(*axes))

    def whole(self) -> Any:
        """The sharding of what every device has whole."""
        return self.sharding()

    def shapes(self, tree: Any, shardings: Any) -> Any:
        """Arrays or shapes as shapes with these shardings, if there is a mesh."""
        if self.mesh is None:
            return tree
        return jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree, shardings
        )

    def put(self, tree: Any, shardings: Any) -> Any:
        """``tree``, of which every process holds the whole, on the mesh; ``shardings`` may be a prefix of it.

        Arrays that lie on the devices of several processes already stay where they are.
        """
        return tree if self.mesh is None else jax.tree.map(placed.put, tree, jax.tree.broadcast(shardings, tree))

    def jit(self, function: Callable[..., Any], ins: Any, outs: Any, **options: Any) -> Any:
        """``jax.jit`` with these shardings if there is a mesh."""
        if self.mesh is None:
            return jax.jit(function, **options)
        return jax.jit(function, in_shardings=ins, out_shardings=outs, **options)

    def constrain(self, tree: Any, shardings: Any) -> Any:
        """``tree``, within a compiled function, where these shardings say if there is a mesh."""
        return tree if self.mesh is None else jax.lax.with_sharding_constraint(tree, shardings)


def of(program: Any) -> Placement:
    """Where the arrays of a program lie: on the default device unless its ``place`` says otherwise."""
    return getattr(program, "place", None) or Placement()
