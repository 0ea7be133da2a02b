"""A planar swimmer of three rods in a viscous, dense fluid: MuJoCo's swimmer without MuJoCo."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

RADIUS, LENGTH, DENSITY = 0.1, 1.0, 1000.0
FLUID_DENSITY, VISCOSITY, MAX_TORQUE, JOINT_RANGE = 4000.0, 0.1, 50.0, np.deg2rad(100.0)


def _capsule() -> tuple[float, float, float]:
    """Mass, inertia about the long axis, inertia across it."""
    cylinder = np.pi * RADIUS**2 * LENGTH * DENSITY
    caps = 4 / 3 * np.pi * RADIUS**3 * DENSITY
    along = cylinder * RADIUS**2 / 2 + caps * 2 * RADIUS**2 / 5
    across = cylinder * (3 * RADIUS**2 + LENGTH**2) / 12
    across += caps * (2 * RADIUS**2 / 5 + 3 * RADIUS * LENGTH / 8 + LENGTH**2 / 4)
    return float(cylinder + caps), float(along), float(across)


MASS, _ALONG, INERTIA = _capsule()
BOX = np.sqrt(6 * np.array([2 * INERTIA - _ALONG, _ALONG, _ALONG]) / MASS)
"""Sides (along, across, across) of the box with a link's inertia, on which MuJoCo's fluid acts."""
_DIAMETER = float(BOX.mean())

# Link i's centre is P + sum_j REACH[i, j] u_j, with P the torso frame's origin and u_j the direction of link j.
REACH = np.array([[1.0, 0.0, 0.0], [0.5, -0.5, 0.0], [0.5, -1.0, -0.5]])
_MEAN = REACH.mean(0)
_ARM = REACH - _MEAN
_COUPLING = MASS * _ARM.T @ _ARM

# A joint beyond its range is pushed back by a critically damped spring (20 rad/s for one link about its end).
_STOP_STIFFNESS = 400.0 * (INERTIA + MASS * LENGTH**2 / 4)
_STOP_DAMPING = 40.0 * (INERTIA + MASS * LENGTH**2 / 4)


def to_links(q: Float[Array, "5"], qd: Float[Array, "5"]) -> Float[Array, "10"]:
    """MuJoCo's coordinates (x, y, heading, joint angles) and speeds as (centre of mass, link angles) and speeds."""
    angles, spins = jnp.cumsum(q[2:]), jnp.cumsum(qd[2:])
    along, across = _directions(angles)
    mean = jnp.asarray(_MEAN, jnp.float32)
    return jnp.concatenate((q[:2] + mean @ along, angles, qd[:2] + (mean * spins) @ across, spins))


def to_joints(state: Float[Array, "10"]) -> tuple[Float[Array, "5"], Float[Array, "5"]]:
    """The inverse of :func:`to_links`."""
    centre, angles, velocity, spins = state[:2], state[2:5], state[5:7], state[7:]
    along, across = _directions(angles)
    mean = jnp.asarray(_MEAN, jnp.float32)
    q = jnp.concatenate((centre - mean @ along, angles[:1], jnp.diff(angles)))
    return q, jnp.concatenate((velocity - (mean * spins) @ across, spins[:1], jnp.diff(spins)))


def link_centres(state: Float[Array, "10"]) -> Float[Array, "3 2"]:
    """Centres of torso, mid and back."""
    return state[None, :2] + jnp.asarray(_ARM, jnp.float32) @ _directions(state[2:5])[0]


def derivative(state: Float[Array, "10"], torque: Float[Array, "2"]) -> Float[Array, "10"]:
    """Time derivative of (centre of mass, link angles, velocity, spins) under joint torques and the fluid.

    In terms of the centre of mass and absolute link angles the mass matrix is one 3 x 3 block.
    Fluid: MuJoCo's inertia-box model, viscous and quadratic drag.
    """
    angles, velocity, spins = state[2:5], state[5:7], state[7:]
    along, across = _directions(angles)
    arm = jnp.asarray(_ARM, jnp.float32)
    speed = velocity[None] + (arm * spins[None]) @ across  # [link, 2]
    force, drag = _fluid(speed, spins, along, across)
    joints = torque + _stops(jnp.diff(angles), jnp.diff(spins))
    turned = jnp.concatenate((-joints[:1], joints[:1] - joints[1:], joints[1:]))
    difference = angles[:, None] - angles[None, :]
    coupling = jnp.asarray(_COUPLING, jnp.float32)
    mass = coupling * jnp.cos(difference) + INERTIA * jnp.eye(3, dtype=jnp.float32)
    pull = (
        jnp.sum(arm * (force @ across.T), axis=0) + drag + turned - (coupling * jnp.sin(difference)) @ (spins * spins)
    )
    return jnp.concatenate((velocity, spins, jnp.sum(force, axis=0) / (3 * MASS), _solve(mass, pull)))


def _directions(angles: Float[Array, "3"]) -> tuple[Float[Array, "3 2"], Float[Array, "3 2"]]:
    """Unit vectors along each link and across it (a quarter turn counter-clockwise)."""
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.stack((cos, sin), axis=1), jnp.stack((-sin, cos), axis=1)


def _fluid(
    speed: Float[Array, "3 2"], spins: Float[Array, "3"], along: Float[Array, "3 2"], across: Float[Array, "3 2"]
) -> tuple[Float[Array, "3 2"], Float[Array, "3"]]:
    """Force on each link's centre and torque about it."""
    length, width = float(BOX[0]), float(BOX[1])
    viscous = 3 * np.pi * _DIAMETER * VISCOSITY
    forward, sideways = jnp.sum(speed * along, axis=1), jnp.sum(speed * across, axis=1)
    push = -forward * (viscous + 0.5 * FLUID_DENSITY * width * width * jnp.abs(forward))
    slip = -sideways * (viscous + 0.5 * FLUID_DENSITY * length * width * jnp.abs(sideways))
    quadratic = FLUID_DENSITY * width * (length**4 + width**4) / 64
    drag = -spins * (np.pi * _DIAMETER**3 * VISCOSITY + quadratic * jnp.abs(spins))
    return push[:, None] * along + slip[:, None] * across, drag


def _stops(angles: Float[Array, "2"], spins: Float[Array, "2"]) -> Float[Array, "2"]:
    """Torque of the joint limits, zero inside the range, and never pulling outwards."""
    beyond = angles - jnp.clip(angles, -JOINT_RANGE, JOINT_RANGE)
    torque = -_STOP_STIFFNESS * beyond - _STOP_DAMPING * spins
    inwards = jnp.where(beyond > 0, jnp.minimum(torque, 0.0), jnp.maximum(torque, 0.0))
    return jnp.where(beyond == 0, jnp.zeros_like(torque), inwards)


def _solve(matrix: Float[Array, "3 3"], right: Float[Array, "3"]) -> Float[Array, "3"]:
    """Cramer's rule: thousands of tiny systems at once are slow in LAPACK. The matrix is symmetric."""
    a, b, c = matrix
    bc, ca, ab = jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)
    return (right[0] * bc + right[1] * ca + right[2] * ab) / jnp.dot(a, bc)
