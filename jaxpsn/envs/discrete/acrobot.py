"""Acrobot swing-up, as Gymnasium's Acrobot-v1."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.envs import own, shapes
from jaxpsn.envs.brax_api import State
from jaxpsn.envs.family import ENVS, Environment

PI = 3.141592653589793
MASS = LENGTH = INERTIA = 1.0
CENTRE, GRAVITY = 0.5, 9.8
FASTEST = (4 * PI, 9 * PI)
"""Speeds of the joints (rad/s), beyond which they are clipped."""


@ENVS.register("acrobot")
@dataclass(frozen=True)
class Acrobot(Environment):
    """Swing two links up by a torque of -1, 0 or 1 N m on the joint between them: Gymnasium's Acrobot-v1, 500 steps.

    Observation: cos and sin of both angles, and the speeds; all four of angles and speeds start uniform in [-0.1, 0.1].
    Every step is rewarded with -1 but the last, in which the tip comes one link's length above the pivot, with 0.
    Runge-Kutta steps of 0.2 s. Source: Sutton 1996, and Sutton and Barto 2018, section 11.3, in Gymnasium's "book"
    form.
    """

    limit = 500

    def make(self, **options: Any) -> "AcrobotEnv":
        """The environment; it has no options."""
        return AcrobotEnv(**options)


@struct.dataclass
class AcrobotState:
    """The two links."""

    y: Any  # [4] angle of the first from hanging, of the second from the first (rad, in [-pi, pi]), their speeds


class AcrobotEnv(own.OwnEnv):
    """Acrobot swing-up as a `brax.envs.Env`."""

    name = "acrobot"
    dt = 0.2
    episode_length = 500
    observation_dim = 6
    choices = 3

    def reset(self, rng: jax.Array) -> State:
        """Hanging, nearly at rest."""
        return self.begin(AcrobotState(jax.random.uniform(rng, (4,), jnp.float32, -0.1, 0.1)))

    def step(self, state: State, action: jax.Array) -> State:
        """One step of 0.2 s."""
        torque = (action - 1).astype(jnp.float32)
        y = own.runge_kutta(lambda y: derivative(y, torque), state.pipeline_state.y, self.dt, 1)
        speeds = [jnp.clip(y[2 + i], -most, most) for i, most in enumerate(FASTEST)]
        y = jnp.stack((_wrapped(y[0]), _wrapped(y[1]), *speeds))
        up = -jnp.cos(y[0]) - jnp.cos(y[0] + y[1]) > 1.0
        return self.advance(state, AcrobotState(y), jnp.where(up, 0.0, -1.0), up)

    def observe(self, physics: AcrobotState) -> Float[Array, "6"]:
        """Angles as cosines and sines, speeds."""
        one, two, *speeds = physics.y
        return jnp.stack((jnp.cos(one), jnp.sin(one), jnp.cos(two), jnp.sin(two), *speeds))

    def scene_bodies(self) -> dict[str, Any]:
        """Two links, and the line to reach."""
        line = shapes.geom("polyline", (), shapes.GREEN, points=((-2.0, 0.0, LENGTH), (2.0, 0.0, LENGTH)))
        rod = (0.06, LENGTH / 2)
        links = [
            shapes.body(name, shapes.geom("capsule", rod, color, (0.0, 0.0, -LENGTH / 2)))
            for name, color in (("upper", shapes.BLUE), ("lower", shapes.ORANGE))
        ]
        return {"bodies": [shapes.body("world", line), *links], "camera": shapes.camera(6.0, (0.0, 0.0, 0.0))}

    def scene_poses(self, physics: AcrobotState) -> Float[Array, "3 7"]:
        """Links from their joints on."""
        one, both, zero = physics.y[0], physics.y[0] + physics.y[1], jnp.zeros((), jnp.float32)
        upper = shapes.upright_pose(zero, zero, one)
        lower = shapes.upright_pose(LENGTH * jnp.sin(one), -LENGTH * jnp.cos(one), both)
        return jnp.stack((shapes.world_pose(), upper, lower))


def derivative(y: Float[Array, "4"], torque: Float[Array, ""]) -> Float[Array, "4"]:
    """Speeds and accelerations of the two angles."""
    one, two, speed, spin = y
    reach = LENGTH * CENTRE
    m11 = MASS * (CENTRE**2 + LENGTH**2 + CENTRE**2 + 2 * reach * jnp.cos(two)) + 2 * INERTIA
    m12 = MASS * (CENTRE**2 + reach * jnp.cos(two)) + INERTIA
    pull = MASS * CENTRE * GRAVITY * jnp.cos(one + two - PI / 2)
    swing = -MASS * reach * jnp.sin(two) * (spin * spin + 2 * spin * speed)
    load = swing + (MASS * CENTRE + MASS * LENGTH) * GRAVITY * jnp.cos(one - PI / 2) + pull
    push = torque + m12 / m11 * load - MASS * reach * speed * speed * jnp.sin(two) - pull
    second = push / (MASS * CENTRE**2 + INERTIA - m12 * m12 / m11)
    return jnp.stack((speed, spin, -(m12 * second + load) / m11, second))


def _wrapped(angle: Float[Array, ""]) -> Float[Array, ""]:
    """In [-pi, pi]; a step turns a link by less than one whole turn beyond it."""
    angle = jnp.where(angle > PI, angle - 2 * PI, angle)
    return jnp.where(angle < -PI, angle + 2 * PI, angle)
