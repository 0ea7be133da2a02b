"""How a decoder lies on a mesh of devices: rows over ``data``, weights over ``model``."""

import re
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jaxpsn.core.errors import UserError, refuse
from jaxpsn.core.mesh import AXES
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.model import Params, parameter_shapes

# Columns of the first matrix and rows of the second lie on one device, so that a pair of matrices needs one sum over
# devices (Shoeybi et al. 2019, Megatron-LM). "data" cuts the other side where the weights are spread over replicas.
_RULES = (
    (r"^embed/embedding$", PartitionSpec("model", "data")),
    (r"^head/kernel$", PartitionSpec("data", "model")),
    (r"/(q|k|v|gate|up)/kernel$", PartitionSpec(None, "data", "model")),
    (r"/(q|k|v|gate|up)/bias$", PartitionSpec(None, "model")),
    (r"/(o|down)/kernel$", PartitionSpec(None, "model", "data")),
    (r"", PartitionSpec()),
)


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, tuple)


def rules(config: DecoderConfig, spread: bool = False) -> Params:
    """The parameter tree with a PartitionSpec for every leaf; norms and the biases after a sum are on all devices.

    ``spread`` also cuts matrices over ``data``: meant for optimiser states, of which each replica then keeps and
    updates its share (ZeRO, Rajbhandari et al. 2020). For the weights themselves it is a poor layout, as the
    compiler then cuts the activations' width over ``data`` too.
    """

    def rule(path: Any, shape: tuple[int, ...]) -> PartitionSpec:
        name = "/".join(part.key for part in path)
        found = next(spec for pattern, spec in _RULES if re.search(pattern, name))
        return found if spread else PartitionSpec(*(axis if axis == "model" else None for axis in found))

    shapes = parameter_shapes(config)
    return jax.tree_util.tree_map_with_path(rule, shapes, is_leaf=_is_shape)


def _fitting(mesh: Mesh | AbstractMesh, shape: tuple[int, ...], spec: PartitionSpec) -> NamedSharding:
    kept = (axis if axis and size % mesh.shape[axis] == 0 else None for size, axis in zip(shape, spec, strict=False))
    return NamedSharding(mesh, PartitionSpec(*kept))


def shardings(config: DecoderConfig, mesh: Mesh | AbstractMesh, spread: bool = False) -> Params:
    """The parameter tree with a NamedSharding for every leaf, by :func:`rules`.

    A vocabulary or width that an axis does not divide stays whole along it. Raises ``UserError`` where the ``model``
    axis does not divide the heads, the key-value heads or the MLP's width, as every layer would then be moved about.
    """
    if set(mesh.axis_names) != set(AXES):
        refuse("mesh", mesh.axis_names, f"the axes {' and '.join(AXES)}")
    parts = mesh.shape["model"]
    for name in ("num_heads", "num_kv_heads", "intermediate_size"):
        if getattr(config, name) % parts:
            raise UserError(f"mesh model = {parts}: a divisor of the decoder's {name} = {getattr(config, name)}")
    shapes = parameter_shapes(config)
    return jax.tree.map(
        lambda shape, spec: _fitting(mesh, shape, spec), shapes, rules(config, spread), is_leaf=_is_shape
    )
