"""Geoms of the scene format that the rollout viewer draws, and poses of bodies that move in a plane."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Color = tuple[float, float, float, float]
Geom = dict[str, Any]
Vector = Sequence[float] | np.ndarray

UPRIGHT = (1.0, 0.0, 0.0, 0.0)
"""The quaternion that does not turn."""
ALONG_X = (0.5**0.5, 0.0, 0.5**0.5, 0.0)
"""The quaternion that lays a capsule's axis (z) along x."""
GREY, BLUE, ORANGE, GREEN, RED = (
    (0.55, 0.57, 0.6, 1.0),
    (0.2, 0.4, 0.75, 1.0),
    (0.9, 0.5, 0.15, 1.0),
    (0.2, 0.7, 0.3, 1.0),
    (0.85, 0.2, 0.2, 1.0),
)


def geom(
    kind: str,
    size: Vector,
    color: Color,
    pos: Vector = (0.0, 0.0, 0.0),
    quat: Vector = UPRIGHT,
    points: Sequence[Sequence[float]] | None = None,
) -> Geom:
    """One geom: a sphere, capsule, box, cylinder, plane or polyline; lengths in metres, quaternion w x y z."""
    made = {"type": kind, "size": _floats(size), "pos": _floats(pos), "quat": _floats(quat), "color": _floats(color)}
    if points is not None:
        made["points"] = [_floats(point) for point in points]
    return made


def body(name: str, *geoms: Geom) -> dict[str, Any]:
    """One body: its name and the geoms in its own frame."""
    return {"name": name, "geoms": list(geoms)}


def camera(
    distance: float,
    lookat: Vector,
    *,
    target: int | None = None,
    azimuth: float = 90.0,
    elevation: float = -10.0,
) -> dict[str, Any]:
    """A camera at ``distance`` metres, following body ``target`` or looking at a fixed point; angles in degrees."""
    return {
        "target_body": target,
        "distance": float(distance),
        "azimuth": float(azimuth),
        "elevation": float(elevation),
        "lookat": _floats(lookat),
    }


def world_pose() -> Float[Array, "7"]:
    """Body 0, which never moves."""
    return jnp.array((0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0), jnp.float32)


def upright_pose(x: Float[Array, ""], z: Float[Array, ""], angle: Float[Array, ""]) -> Float[Array, "7"]:
    """A body of the vertical x-z plane, turned by ``angle`` radians counter-clockwise (x right, z up)."""
    zero = jnp.zeros_like(x)
    return jnp.stack((x, zero, z, jnp.cos(angle / 2), zero, -jnp.sin(angle / 2), zero))


def flat_pose(x: Float[Array, ""], y: Float[Array, ""], angle: Float[Array, ""]) -> Float[Array, "7"]:
    """A body of the horizontal x-y plane, turned by ``angle`` radians counter-clockwise."""
    zero = jnp.zeros_like(x)
    return jnp.stack((x, y, zero, jnp.cos(angle / 2), zero, zero, jnp.sin(angle / 2)))


def _floats(values: Vector) -> list[float]:
    return [float(value) for value in values]
