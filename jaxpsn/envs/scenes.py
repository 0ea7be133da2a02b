"""What the rollout viewer draws: the bodies of an environment, and where they are in one of its states."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxpsn.core import errors
from jaxpsn.envs import shapes

_PLANE, _SPHERE, _CAPSULE, _ELLIPSOID, _CYLINDER, _BOX = 0, 2, 3, 4, 5, 6  # mujoco.mjtGeom
_FREE, _SLIDE = 0, 2  # mujoco.mjtJoint


def scene(env: Any) -> dict[str, Any]:
    """Name, time step in seconds, bodies with their geoms (body 0 is the world) and a camera, ready for JSON.

    Own environments describe themselves; Brax and Playground environments through their MuJoCo model. Raises
    UserError for an environment that has nothing to draw (Brax's ``fast``).
    """
    name = getattr(env, "name", type(env).__name__)
    if hasattr(env, "scene_bodies"):
        return {"name": name, "dt": float(env.dt), **env.scene_bodies()}
    model = _model(env)
    bodies = [shapes.body(model.body(i).name or f"body {i}") for i in range(model.nbody)]
    for index in range(model.ngeom):
        drawn = _geom(model, index)
        if drawn is not None:
            bodies[int(model.geom_bodyid[index])]["geoms"].append(drawn)
    return {"name": name, "dt": float(env.dt), "bodies": bodies, "camera": _camera(model)}


def poses(env: Any, pipeline_state: Any) -> Float[Array, "bodies 7"]:
    """Position and orientation (x y z, quaternion w x y z) of every body in one state of one environment; jit-safe.

    ``pipeline_state`` is that of a `brax.envs.State` of ``env``, without a batch axis.
    """
    if hasattr(env, "scene_poses"):
        return env.scene_poses(pipeline_state)
    _model(env)
    if hasattr(pipeline_state, "x"):
        links = jnp.concatenate((pipeline_state.x.pos, pipeline_state.x.rot), axis=1)
        return jnp.concatenate((shapes.world_pose()[None], links))
    return jnp.concatenate((pipeline_state.xpos, pipeline_state.xquat), axis=1)


def _model(env: Any) -> Any:
    model = getattr(getattr(env, "task", None), "mj_model", None)
    model = getattr(getattr(env, "sys", None), "mj_model", None) if model is None else model
    if model is None:
        errors.refuse("env.name", type(env).__name__.lower(), "has no bodies to draw, so it has no rollout viewer")
    return model


def _geom(model: Any, index: int) -> dict[str, Any] | None:
    """A geom of a MuJoCo model, or None if it is invisible."""
    kind, size = int(model.geom_type[index]), model.geom_size[index]
    pos, quat = model.geom_pos[index], model.geom_quat[index]
    color = _color(model, index)
    if color[3] == 0.0 or model.geom_group[index] > 2:
        return None
    simple = {_SPHERE: ("sphere", size[:1]), _CAPSULE: ("capsule", size[:2]), _CYLINDER: ("cylinder", size[:2])}
    simple |= {_BOX: ("box", size), _PLANE: ("plane", ()), _ELLIPSOID: ("sphere", (float(np.cbrt(np.prod(size))),))}
    if kind in simple:
        return shapes.geom(*simple[kind], color, pos, quat)
    box = model.geom_aabb[index]  # meshes and height fields by the box around them
    return shapes.geom("box", box[3:], color, pos + _rotate(quat, box[:3]), quat)


def _color(model: Any, index: int) -> tuple[float, float, float, float]:
    """The geom's own colour unless it is MuJoCo's default and a material has one."""
    rgba, material = model.geom_rgba[index], int(model.geom_matid[index])
    if material >= 0 and np.allclose(rgba, (0.5, 0.5, 0.5, 1.0)):
        rgba = model.mat_rgba[material]
    red, green, blue, alpha = (float(value) for value in rgba)
    return red, green, blue, alpha


def _rotate(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    axis = quat[1:]
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + quat[0] * vector)


def _camera(model: Any) -> dict[str, Any]:
    """Follow a robot whose root moves freely; otherwise look at the middle of the model from outside it."""
    roots = [i for i in range(model.njnt) if model.jnt_bodyid[i] == 1 and not model.jnt_limited[i]]
    roams = any(model.jnt_type[i] in (_FREE, _SLIDE) for i in roots)
    extent = float(model.stat.extent)
    if roams:
        return shapes.camera(min(2.5 * extent, 6.0), (0.0, 0.0, 0.0), target=1, elevation=-15.0)
    return shapes.camera(2.0 * extent, model.stat.center, elevation=-25.0)
