"""The mountain car with three choices, as Gymnasium's MountainCar-v0."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.envs import own, shapes
from jaxpsn.envs.brax_api import State
from jaxpsn.envs.family import ENVS, Environment

LEFT, RIGHT, GOAL, SPEED, FORCE, GRAVITY = -1.2, 0.6, 0.5, 0.07, 0.001, 0.0025


@ENVS.register("mountain_car_discrete")
@dataclass(frozen=True)
class MountainCar(Environment):
    """Rock a weak car out of a valley by left (0), nothing (1), right (2): Gymnasium's MountainCar-v0, 200 steps.

    Observation: position and velocity. It starts at rest, its position uniform in [-0.6, -0.4]. Every step is rewarded
    with -1; an episode ends at the flag (0.5). Source: Moore 1990, in Gymnasium's constants.
    """

    limit = 200

    def make(self, **options: Any) -> "MountainCarEnv":
        """The environment; it has no options."""
        return MountainCarEnv(**options)


@struct.dataclass
class CarState:
    """The car."""

    x: Any  # []
    v: Any  # [] per step


class MountainCarEnv(own.OwnEnv):
    """The mountain car with three choices as a `brax.envs.Env`."""

    name = "mountain_car_discrete"
    dt = 0.05
    episode_length = 200
    observation_dim = 2
    choices = 3

    def reset(self, rng: jax.Array) -> State:
        """At rest in the valley."""
        x = jax.random.uniform(rng, (), jnp.float32, -0.6, -0.4)
        return self.begin(CarState(x, jnp.zeros_like(x)))

    def step(self, state: State, action: jax.Array) -> State:
        """One step; the left end stops the car."""
        car = state.pipeline_state
        v = car.v + (action - 1).astype(jnp.float32) * FORCE - GRAVITY * jnp.cos(3.0 * car.x)
        v = jnp.clip(v, -SPEED, SPEED)
        x = jnp.clip(car.x + v, LEFT, RIGHT)
        v = jnp.where((x <= LEFT) & (v < 0), 0.0, v)
        return self.advance(state, CarState(x, v), -1.0, (x >= GOAL) & (v >= 0))

    def observe(self, physics: CarState) -> Float[Array, "2"]:
        """Position and velocity."""
        return jnp.stack((physics.x, physics.v))

    def scene_bodies(self) -> dict[str, Any]:
        """The valley with its flag, and the car."""
        places = [LEFT + (RIGHT - LEFT) * i / 60 for i in range(61)]
        track = [(x, 0.0, float(height(jnp.float32(x)))) for x in places]
        flag = shapes.geom("box", (0.01, 0.01, 0.1), shapes.GREEN, (GOAL, 0.0, float(height(jnp.float32(GOAL))) + 0.1))
        car = shapes.geom("box", (0.07, 0.04, 0.035), shapes.BLUE, (0.0, 0.0, 0.04))
        world = shapes.body("world", shapes.geom("polyline", (), shapes.GREY, points=track), flag)
        return {"bodies": [world, shapes.body("car", car)], "camera": shapes.camera(2.2, (-0.3, 0.0, 0.5))}

    def scene_poses(self, physics: CarState) -> Float[Array, "2 7"]:
        """The car stands on the track and follows its slope."""
        slope = jnp.arctan(0.45 * 3.0 * jnp.cos(3.0 * physics.x))
        return jnp.stack((shapes.world_pose(), shapes.upright_pose(physics.x, height(physics.x), slope)))


def height(x: Float[Array, ""]) -> Float[Array, ""]:
    """Height of the track, of which gravity follows the slope."""
    return 0.45 * jnp.sin(3.0 * x) + 0.55
