"""The paper's sparse mountain car, on the step of Box2D that rllab took."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxpsn.envs import own, shapes
from jaxpsn.envs.box2d import manifold, track
from jaxpsn.envs.box2d.joints import Inverse, Triple
from jaxpsn.envs.box2d.track import Track, TrackState
from jaxpsn.envs.brax_api import State

WIDTH, HEIGHT, DENSITY, MAX_FORCE = 0.4, 0.2, 5.0, 1.0
MASS = DENSITY * WIDTH * HEIGHT
FRICTION = (0.0005 * 0.2) ** 0.5
"""Box2D mixes the cart's 5e-4 with the track's default 0.2 by the geometric mean."""
GOAL, MAX_X, START_Y = 0.6, 2.0, 0.05
_X = np.arange(-100, 101) * 0.02
CHAIN = manifold.chain(np.stack((_X, 1.0 + np.sin(np.pi * (_X / 2 - 0.5))), 1))
TRACK = Track(
    CHAIN,
    np.array((WIDTH / 2, HEIGHT / 2), np.float32),
    Inverse(1 / MASS, 12 / (MASS * (WIDTH**2 + HEIGHT**2))),
    FRICTION,
    velocity_iterations=8,
    position_iterations=3,
)


class SparseMountainCar(own.OwnEnv):
    """The sparse mountain car of VIME and Plappert et al. (2018): observation (x, dx/dt) of the cart's centre.

    A box of 0.4 x 0.2 m and 0.4 kg on a track of 200 straight pieces through z = 1 - cos(pi x / 2), with the force,
    within 1 N, along the box. Its corners lose speed at every bend, so that it soon rests, and full force from rest
    does not climb. Starts at x = 0 with dx/dt uniform in [-1, 1], sunk 0.1 m into the track as in rllab, out of which
    the first step lifts it. An episode ends at x >= 0.6 or |x| >= 2, and that step is rewarded with 1, every other with
    0. Step 0.05 s (8 velocity and 3 position iterations, impacts within a step), 500 steps.

    Deviation: every episode starts in a new world; rllab keeps the contacts of the one before. Source: openai/vime
    mountain_car_env_x, rll/rllab mountain_car.xml; Box2D by :mod:`jaxpsn.envs.box2d.track`.
    """

    name = "sparse_mountain_car"
    dt = 0.05
    episode_length = 500
    observation_dim = 2

    def reset(self, rng: jax.Array) -> State:
        """At the bottom, with a random push."""
        return self.begin(start(jax.random.uniform(rng, (), jnp.float32, -1.0, 1.0)))

    def step(self, state: State, action: jax.Array) -> State:
        """One step of 0.05 s."""
        physics = track.advanced(TRACK, state.pipeline_state, MAX_FORCE * own.clipped(action)[0], self.dt)
        done = (physics.pose.x >= GOAL) | (jnp.abs(physics.pose.x) >= MAX_X)
        return self.advance(state, physics, done, done)

    def observe(self, physics: TrackState) -> Float[Array, "2"]:
        """Position and horizontal velocity."""
        return jnp.stack((physics.pose.x, physics.speed.x))

    def scene_bodies(self) -> dict[str, Any]:
        """The track with its goal, and the cart."""
        points = [(float(x), 0.0, float(z)) for x, z in CHAIN.start[::4]]
        flag = shapes.geom("box", (0.02, 0.02, 0.2), shapes.GREEN, (GOAL, 0.0, 1.2 - float(np.cos(np.pi * GOAL / 2))))
        cart = shapes.geom("box", (WIDTH / 2, 0.1, HEIGHT / 2), shapes.BLUE)
        world = shapes.body("world", shapes.geom("polyline", (), shapes.GREY, points=points), flag)
        return {"bodies": [world, shapes.body("cart", cart)], "camera": shapes.camera(5.0, (0.0, 0.0, 0.8))}

    def scene_poses(self, physics: TrackState) -> Float[Array, "2 7"]:
        """The cart where it is."""
        pose = physics.pose
        return jnp.stack((shapes.world_pose(), shapes.upright_pose(pose.x, pose.y, pose.angle)))


def start(v: Float[Array, ""]) -> TrackState:
    """The state in which rllab begins with a horizontal velocity ``v``."""
    zero = jnp.zeros_like(v)
    return track.begin(TRACK, Triple(zero, zero + START_Y, zero), Triple(v, zero, zero))
