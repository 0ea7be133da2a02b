"""A mesh of devices by name: rows over ``data``, weights over ``model``."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from jaxpsn.core.errors import nearest, refuse

AXES = ("data", "model")


def parse_mesh(text: str) -> dict[str, int]:
    """``"data=2,model=4"`` as a mapping of axis to size; an axis that is left out has size 1."""
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, equals, size = (piece.strip() for piece in part.partition("="))
        if not equals or not size.isdecimal() or name in sizes:
            refuse("mesh", text, "written like data=2,model=4")
        sizes[name] = int(size)
    return sizes


def make_mesh(spec: str | Mapping[str, int], devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of the axes ``data`` and ``model``, from ``"data=2,model=4"`` or a mapping; its axes are Auto.

    (Explicit axes, the default of ``jax.make_mesh``, fail in the embedding's gather.) Uses the first devices if it
    needs fewer than there are; ``devices``: those to choose from, JAX's own if left out. Raises ``UserError`` for
    unknown axes, sizes below 1, and more devices than there are.
    """
    sizes = parse_mesh(spec) if isinstance(spec, str) else dict(spec)
    for name, size in sizes.items():
        if name not in AXES:
            refuse("mesh", name, nearest(name, AXES))
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            refuse(f"mesh {name}", size, "a whole number of at least 1")
    shape = tuple(sizes.get(name, 1) for name in AXES)
    devices = jax.devices() if devices is None else list(devices)
    if shape[0] * shape[1] > len(devices):
        refuse("mesh", f"data={shape[0]},model={shape[1]}", f"at most the {len(devices)} devices there are")
    used = devices[: shape[0] * shape[1]]
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=used)
