"""Rock a weak cart, here a particle, out of a valley; one reward, where the episode ends."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.envs import own, shapes
from jaxpsn.envs.brax_api import State

MASS, GRAVITY, MAX_FORCE = 0.4, 10.0, 1.0
FRICTION = (0.0005 * 0.2) ** 0.5
"""Box2D mixes the cart's 5e-4 with the track's default 0.2 by the geometric mean."""
CREEP = 1e-3
"""Speed (m/s) below which dry friction fades to zero, so that the cart can rest."""


@struct.dataclass
class MountainCarState:
    """Where the cart is and how fast it moves, horizontally."""

    x: Any  # [] metres from the bottom of the valley
    v: Any  # [] dx/dt


class SparseMountainCarLight(own.OwnEnv):
    """An easier relative of :class:`jaxpsn.envs.mountain_car.SparseMountainCar`: observation (x, dx/dt), one action.

    The track is z = 1 - cos(pi x / 2) (height 1, width 4 in rllab's terms), the force acts along it, within 1 N, and is
    too weak to climb from rest. Starts at x = 0 with dx/dt uniform in [-1, 1]. An episode ends at x >= 0.6 or |x| >= 2,
    and that step is rewarded with 1, every other with 0. Step 0.05 s, 500 steps.

    What makes it light: a particle slides without loss (Runge-Kutta) where the corners of rllab's 0.4 x 0.2 m box lose
    speed at every bend of a track of 200 straight pieces, and whose centre must reach 0.6.
    """

    name = "sparse_mountain_car_light"
    dt = 0.05
    episode_length = 500
    observation_dim = 2

    def reset(self, rng: jax.Array) -> State:
        """At the bottom, with a random push."""
        v = jax.random.uniform(rng, (), jnp.float32, -1.0, 1.0)
        return self.begin(MountainCarState(jnp.zeros_like(v), v))

    def step(self, state: State, action: jax.Array) -> State:
        """One step of 0.05 s."""
        force = MAX_FORCE * own.clipped(action)[0]
        cart = state.pipeline_state
        x, v = own.runge_kutta(lambda y: derivative(y, force), jnp.stack((cart.x, cart.v)), self.dt, 4)
        done = (x >= 0.6) | (jnp.abs(x) >= 2.0)
        return self.advance(state, MountainCarState(x, v), done, done)

    def observe(self, physics: MountainCarState) -> Float[Array, "2"]:
        """Position and horizontal velocity."""
        return jnp.stack((physics.x, physics.v))

    def scene_bodies(self) -> dict[str, Any]:
        """The track with its goal, and the cart."""
        track = [(x, 0.0, float(height(jnp.float32(x)))) for x in (i / 20 for i in range(-44, 45))]
        flag = shapes.geom("box", (0.02, 0.02, 0.2), shapes.GREEN, (0.6, 0.0, float(height(jnp.float32(0.6))) + 0.2))
        cart = shapes.geom("box", (0.2, 0.1, 0.1), shapes.BLUE, (0.0, 0.0, 0.1))
        world = shapes.body("world", shapes.geom("polyline", (), shapes.GREY, points=track), flag)
        return {"bodies": [world, shapes.body("cart", cart)], "camera": shapes.camera(5.0, (0.0, 0.0, 0.8))}

    def scene_poses(self, physics: MountainCarState) -> Float[Array, "2 7"]:
        """The cart stands on the track and follows its slope."""
        slope = jnp.arctan(0.5 * jnp.pi * jnp.sin(0.5 * jnp.pi * physics.x))
        return jnp.stack((shapes.world_pose(), shapes.upright_pose(physics.x, height(physics.x), slope)))


def height(x: Float[Array, ""]) -> Float[Array, ""]:
    """Height of the track in metres at ``x``."""
    return 1.0 - jnp.cos(0.5 * jnp.pi * x)


def derivative(state: Float[Array, "2"], force: Float[Array, ""]) -> Float[Array, "2"]:
    """(dx/dt, d2x/dt2) of a particle on the track under gravity, ``force`` along the track and dry friction."""
    x, v = state
    w = 0.5 * jnp.pi
    slope, bend = w * jnp.sin(w * x), w * w * jnp.cos(w * x)
    stretch = 1.0 + slope * slope  # (ds/dx)^2
    normal = MASS * jnp.maximum(GRAVITY + bend * v * v, 0.0) / jnp.sqrt(stretch)
    along = force - FRICTION * normal * jnp.tanh(v / CREEP)
    return jnp.stack((v, along / (MASS * jnp.sqrt(stretch)) - slope * (bend * v * v + GRAVITY) / stretch))
