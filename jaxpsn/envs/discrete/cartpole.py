"""Cart-pole balancing, as Gymnasium's CartPole-v1."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.envs import own, shapes
from jaxpsn.envs.brax_api import State
from jaxpsn.envs.family import ENVS, Environment

GRAVITY, CART, POLE, HALF, FORCE = 9.8, 1.0, 0.1, 0.5, 10.0
"""m/s^2, the masses in kg, half of the pole's length in m, and N."""
MAX_X, MAX_ANGLE = 2.4, 12 * 2 * 3.141592653589793 / 360


@ENVS.register("cartpole")
@dataclass(frozen=True)
class Cartpole(Environment):
    """Balance a pole on a cart that is pushed left (0) or right (1): Gymnasium's CartPole-v1, 500 steps.

    Observation: position, velocity, angle, angular velocity, all at first uniform in [-0.05, 0.05]. Every step is
    rewarded with 1. An episode ends beyond 2.4 m or 12 degrees. Euler steps of 0.02 s. Source: Barto, Sutton and
    Anderson 1983, in Gymnasium's constants.
    """

    limit = 500

    def make(self, **options: Any) -> "CartpoleEnv":
        """The environment; it has no options."""
        return CartpoleEnv(**options)


@struct.dataclass
class CartpoleState:
    """The cart and its pole."""

    y: Any  # [4] position (m), velocity, angle (rad, clockwise from upright), angular velocity


class CartpoleEnv(own.OwnEnv):
    """Cart-pole balancing as a `brax.envs.Env`."""

    name = "cartpole"
    dt = 0.02
    episode_length = 500
    observation_dim = 4
    choices = 2

    def reset(self, rng: jax.Array) -> State:
        """Nearly upright, nearly at rest."""
        return self.begin(CartpoleState(jax.random.uniform(rng, (4,), jnp.float32, -0.05, 0.05)))

    def step(self, state: State, action: jax.Array) -> State:
        """One step of 0.02 s."""
        y = state.pipeline_state.y
        _, v, angle, omega = y
        force = jnp.where(action == 1, FORCE, -FORCE)
        cos, sin, total = jnp.cos(angle), jnp.sin(angle), CART + POLE
        pushed = (force + POLE * HALF * omega * omega * sin) / total
        turned = (GRAVITY * sin - cos * pushed) / (HALF * (4.0 / 3.0 - POLE * cos * cos / total))
        moved = pushed - POLE * HALF * turned * cos / total
        y = y + self.dt * jnp.stack((v, moved, omega, turned))
        fallen = (jnp.abs(y[0]) > MAX_X) | (jnp.abs(y[2]) > MAX_ANGLE)
        return self.advance(state, CartpoleState(y), 1.0, fallen)

    def observe(self, physics: CartpoleState) -> Float[Array, "4"]:
        """The state itself."""
        return physics.y

    def scene_bodies(self) -> dict[str, Any]:
        """Rail, cart and pole."""
        rail = shapes.geom("box", (MAX_X, 0.02, 0.02), shapes.GREY)
        cart = shapes.geom("box", (0.25, 0.15, 0.1), shapes.BLUE)
        pole = shapes.geom("capsule", (0.04, HALF), shapes.ORANGE, (0.0, -0.2, HALF))
        bodies = [shapes.body("world", rail), shapes.body("cart", cart), shapes.body("pole", pole)]
        return {"bodies": bodies, "camera": shapes.camera(5.0, (0.0, 0.0, 0.4))}

    def scene_poses(self, physics: CartpoleState) -> Float[Array, "3 7"]:
        """Cart and pole where they are; a positive angle leans to the right."""
        x, zero = physics.y[0], jnp.zeros((), jnp.float32)
        cart, pole = shapes.upright_pose(x, zero, zero), shapes.upright_pose(x, zero, -physics.y[2])
        return jnp.stack((shapes.world_pose(), cart, pole))
