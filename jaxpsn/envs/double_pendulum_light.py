"""A hanging chain of two links on exact equations of motion, driven at the elbow only, rewarded near the top."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.envs import own, shapes
from jaxpsn.envs.brax_api import State

MASS, LENGTH, WIDTH, GRAVITY, MAX_TORQUE = 0.5, 1.0, 0.1, 10.0, 50.0
HALF = LENGTH / 2
CENTRAL = MASS * (LENGTH**2 + WIDTH**2) / 12
"""Inertia of a link (a uniform rectangle) about its centre."""
MAX_SPEED = 0.5 * jnp.pi / 0.01
"""Box2D turns no body by more than a quarter turn in one of its steps of 0.01 s."""


@struct.dataclass
class DoublePendulumState:
    """Absolute angles of both links, 0 hanging, counter-clockwise, and their speeds."""

    y: Any  # [4] angle 1, angle 2, omega 1, omega 2


class SparseDoublePendulumLight(own.OwnEnv):
    """An easier relative of :class:`jaxpsn.envs.double_pendulum.SparseDoublePendulum`: sin, cos and omega of each link.

    Two links of 1 m and 0.5 kg; a torque within 50 N m acts between them, none at the shoulder. Starts hanging with
    angles N(0, 0.1) and speeds N(0, 0.01) (standard deviations). Reward 1 per step while the tip is closer than 1 m
    to (0, 2), the point straight above the shoulder; never ends. Step 0.02 s (two Box2D steps of 0.01 s), 500 steps.

    What makes it light: the exact rigid-body equations (Runge-Kutta) lose nothing where Box2D's solver damps, so that
    it moves more than twice as fast; and the tip is where the second link ends (rllab mirrors its x).
    """

    name = "sparse_double_pendulum_light"
    dt = 0.02
    episode_length = 500
    observation_dim = 6

    def reset(self, rng: jax.Array) -> State:
        """Hanging, almost at rest."""
        spread = jnp.array((0.1, 0.1, 0.01, 0.01), jnp.float32)
        return self.begin(DoublePendulumState(spread * jax.random.normal(rng, (4,), jnp.float32)))

    def step(self, state: State, action: jax.Array) -> State:
        """One step of 0.02 s."""
        torque = MAX_TORQUE * own.clipped(action)[0]
        y = own.runge_kutta(lambda y: derivative(y, torque), state.pipeline_state.y, self.dt, 10, _limit_speed)
        x, z = tip(y)
        near = jnp.hypot(x, z - 2 * LENGTH) < 1.0
        return self.advance(state, DoublePendulumState(y), near, jnp.zeros((), bool))

    def observe(self, physics: DoublePendulumState) -> Float[Array, "6"]:
        """sin, cos and angular velocity of the first link, then of the second."""
        a, b, omega_a, omega_b = physics.y
        return jnp.stack((jnp.sin(a), jnp.cos(a), omega_a, jnp.sin(b), jnp.cos(b), omega_b))

    def scene_bodies(self) -> dict[str, Any]:
        """The goal disc's centre, the shoulder and both links."""
        goal = shapes.geom("sphere", (0.08,), shapes.GREEN, (0.0, 0.0, 2 * LENGTH))
        pivot = shapes.geom("sphere", (0.08,), shapes.GREY)
        link = shapes.geom("capsule", (WIDTH / 2, HALF), shapes.BLUE, (0.0, 0.0, -HALF))
        other = {**link, "color": list(shapes.ORANGE)}
        bodies = [shapes.body("world", goal, pivot), shapes.body("upper", link), shapes.body("lower", other)]
        return {"bodies": bodies, "camera": shapes.camera(6.5, (0.0, 0.0, 0.0))}

    def scene_poses(self, physics: DoublePendulumState) -> Float[Array, "3 7"]:
        """Each link turns about its upper end."""
        a, b = physics.y[0], physics.y[1]
        zero = jnp.zeros_like(a)
        elbow = (LENGTH * jnp.sin(a), -LENGTH * jnp.cos(a))
        return jnp.stack(
            (shapes.world_pose(), shapes.upright_pose(zero, zero, a), shapes.upright_pose(elbow[0], elbow[1], b))
        )


def tip(y: Float[Array, "4"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Position (right, up) in metres of the end of the second link, from the shoulder."""
    return LENGTH * (jnp.sin(y[0]) + jnp.sin(y[1])), -LENGTH * (jnp.cos(y[0]) + jnp.cos(y[1]))


def derivative(y: Float[Array, "4"], torque: Float[Array, ""]) -> Float[Array, "4"]:
    """Time derivative of (angle 1, angle 2, omega 1, omega 2); the torque turns link 2 and pushes back on link 1."""
    a, b, omega_a, omega_b = y
    sin, cos = jnp.sin(a - b), jnp.cos(a - b)
    coupling = MASS * LENGTH * HALF
    first, second = CENTRAL + MASS * (HALF**2 + LENGTH**2), CENTRAL + MASS * HALF**2
    pull_a = -torque - coupling * omega_b**2 * sin - MASS * (HALF + LENGTH) * GRAVITY * jnp.sin(a)
    pull_b = torque + coupling * omega_a**2 * sin - MASS * HALF * GRAVITY * jnp.sin(b)
    determinant = first * second - (coupling * cos) ** 2
    spin_a = (second * pull_a - coupling * cos * pull_b) / determinant
    spin_b = (first * pull_b - coupling * cos * pull_a) / determinant
    return jnp.stack((omega_a, omega_b, spin_a, spin_b))


def _limit_speed(y: Float[Array, "4"]) -> Float[Array, "4"]:
    return jnp.concatenate((y[:2], jnp.clip(y[2:], -MAX_SPEED, MAX_SPEED)))
