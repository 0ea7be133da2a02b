"""How a decoder lies on a mesh of devices: rows over ``data``, weights over ``model``."""

import re
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jaxpsn.errors import UserError, nearest, refuse
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.model import Params, parameter_shapes

AXES = ("data", "model")
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


def parse_mesh(text: str) -> dict[str, int]:
    """``"data=2,model=4"`` as a mapping of axis to size; an axis that is left out has size 1."""
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, equals, size = (piece.strip() for piece in part.partition("="))
        if not equals or not size.isdecimal() or name in sizes:
            refuse("mesh", text, "written like data=2,model=4")
        sizes[name] = int(size)
    return sizes


def make_mesh(spec: str | Mapping[str, int]) -> Mesh:
    """A mesh of the axes ``data`` and ``model``, from ``"data=2,model=4"`` or a mapping; its axes are Auto.

    (Explicit axes, the default of ``jax.make_mesh``, fail in the embedding's gather.) Uses the first devices if it
    needs fewer than there are. Raises ``UserError`` for unknown axes, sizes below 1, and more devices than there are.
    """
    sizes = parse_mesh(spec) if isinstance(spec, str) else dict(spec)
    for name, size in sizes.items():
        if name not in AXES:
            refuse("mesh", name, nearest(name, AXES))
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            refuse(f"mesh {name}", size, "a whole number of at least 1")
    shape = tuple(sizes.get(name, 1) for name in AXES)
    devices = jax.devices()
    if shape[0] * shape[1] > len(devices):
        refuse("mesh", f"data={shape[0]},model={shape[1]}", f"at most the {len(devices)} devices there are")
    used = devices[: shape[0] * shape[1]]
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=used)


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


def rows(mesh: Mesh) -> NamedSharding:
    """For arrays whose leading axis is the batch: cut over ``data``."""
    return NamedSharding(mesh, PartitionSpec("data"))
