"""Where the arrays of a control run lie: on one device, or cut over a mesh of devices and processes."""

import copy
from collections.abc import Sequence
from typing import Any

import jax

from jaxpsn.control.config import ControlConfig
from jaxpsn.core import errors, placement
from jaxpsn.core import mesh as meshes
from jaxpsn.core.placement import DATA

_CUT = (
    "envs",
    "explore",
    "bonus",
    "tally",
    "gauge",
    "generation",
)  # fields with entries per environment or perturbation
_WHOLE = ("pool", "base", "learnt")  # what all of those look things up in


class Placement(placement.Placement):
    """Environments, perturbations and the environment axis of replay are cut over ``data``; weights are everywhere.

    The compiler places whatever a step computes between them; batches and the episodes of an evaluation are cut too
    where ``data`` divides them. The layout decides nothing but the rounding of sums: keys, draws and indices are
    functions of the environment, never of its device.
    """

    def __init__(self, mesh: str | None = None, devices: Sequence[Any] | None = None, ours: bool = False):
        model = 1 if mesh is None else meshes.parse_mesh(mesh).get("model", 1)
        if model != 1:
            errors.refuse("mesh model", model, "1: the networks of a control run lie whole on every device")
        super().__init__(mesh, devices, ours)
        self._sizes = frozenset[int]()

    def fit(self, config: ControlConfig) -> "Placement":
        """The same for the environments and perturbations of ``config``; refuses numbers that do not divide."""
        self.check("env.num_envs", config.env.num_envs)
        self.check("explore.groups", config.members)
        made = copy.copy(self)
        made._sizes = frozenset((config.env.num_envs, config.members))
        return made

    def shardings(self, state: Any, axes: Any) -> Any:
        """Where the leaves of the states of all seeds lie.

        ``state``: the shapes of one seed's; ``axes``: for each of its leaves the axis of seeds, or None.
        """

        def place(path: Any, axis: int | None, leaf: Any) -> Any:
            if leaf is None:
                return None
            cut = self._cut([part.name for part in path if hasattr(part, "name")], leaf)
            lead = () if axis is None else (None,)
            return self.whole() if cut is None else self.sharding(*lead, *(None,) * cut, DATA)

        return jax.tree_util.tree_map_with_path(place, axes, state, is_leaf=lambda axis: axis is None)

    def _cut(self, names: list[str], leaf: Any) -> int | None:
        """The axis of environments or perturbations of a leaf of the state at ``names``, None if it has none."""
        if names[0] == "replay":
            return 1
        held = names[0] in _CUT and not any(name in _WHOLE for name in names)
        return 0 if held and leaf.ndim and leaf.shape[0] in self._sizes else None

    def spread(self, tree: Any, axis: int = 0) -> Any:
        """``tree``, within a compiled function, with this axis of its leaves cut where ``data`` divides it."""

        def cut(leaf: jax.Array) -> jax.Array:
            divides = leaf.ndim > axis and leaf.shape[axis] % self.parts == 0
            return self.constrain(leaf, self.sharding(*(None,) * axis, DATA)) if divides else leaf

        return tree if self.mesh is None else jax.tree.map(cut, tree)


ONE_DEVICE = Placement()
"""Without a mesh."""
