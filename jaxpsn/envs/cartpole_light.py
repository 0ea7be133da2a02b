"""Swing a hanging pole up on exact equations of motion: rewarded only while it stands, or by how high it is."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.envs import own, shapes
from jaxpsn.envs.brax_api import State

CART_MASS, POLE_MASS, POLE_LENGTH, POLE_WIDTH = 1.0, 0.1, 1.0, 0.1
GRAVITY, MAX_FORCE, MAX_X, UPRIGHT_COS = 10.0, 10.0, 3.0, 0.8
HALF = POLE_LENGTH / 2
INERTIA = POLE_MASS * (POLE_LENGTH**2 + POLE_WIDTH**2) / 12 + POLE_MASS * HALF**2
"""Of the pole (a uniform rectangle) about its hinge."""


@struct.dataclass
class CartpoleState:
    """Position and velocity of cart and pole."""

    y: Any  # [4] x, dx/dt, angle (0 upright, counter-clockwise), angular velocity


class SparseCartpoleSwingupLight(own.OwnEnv):
    """An easier relative of :class:`jaxpsn.envs.cartpole.SparseCartpoleSwingup`: observes x, dx/dt, angle, omega.

    Force within 10 N on a cart of 1 kg with a pole of 1 m and 0.1 kg. Starts: x uniform in [-1, 1], dx/dt in [-2, 2],
    angle in pi + [-1, 1], omega in [-3, 3]. Reward 1 per step while cos(angle) > 0.8 and |x| <= 3, else 0. Ends when
    |x| > 3. Step 0.05 s, 500 steps.

    What makes it light: the exact rigid-body equations (Runge-Kutta) lose nothing where Box2D's solver damps, and the
    pole starts with the speed that was drawn, of which rllab's first step leaves a part.
    """

    name = "sparse_cartpole_swingup_light"
    dt = 0.05
    episode_length = 500
    observation_dim = 4

    def reset(self, rng: jax.Array) -> State:
        """A hanging pole, all four numbers random."""
        high = jnp.array((1.0, 2.0, 1.0, 3.0), jnp.float32)
        centre = jnp.array((0.0, 0.0, jnp.pi, 0.0), jnp.float32)
        return self.begin(CartpoleState(centre + high * jax.random.uniform(rng, (4,), jnp.float32, -1.0, 1.0)))

    def step(self, state: State, action: jax.Array) -> State:
        """One step of 0.05 s."""
        force = MAX_FORCE * own.clipped(action)[0]
        y = own.runge_kutta(lambda y: derivative(y, force), state.pipeline_state.y, self.dt, 5)
        outside = jnp.abs(y[0]) > MAX_X
        upright = (jnp.cos(y[2]) > UPRIGHT_COS) & ~outside
        return self.advance(state, CartpoleState(y), upright, outside)

    def observe(self, physics: CartpoleState) -> Float[Array, "4"]:
        """Position, velocity, angle (not wrapped, as in rllab) and angular velocity."""
        return physics.y

    def scene_bodies(self) -> dict[str, Any]:
        """Rail, cart and pole."""
        rail = shapes.geom("box", (MAX_X, 0.03, 0.03), shapes.GREY)
        cart = shapes.geom("box", (0.35, 0.15, 0.12), shapes.BLUE)
        pole = shapes.geom("capsule", (POLE_WIDTH / 2, HALF), shapes.ORANGE, (0.0, -0.2, HALF))
        bodies = [shapes.body("world", rail), shapes.body("cart", cart), shapes.body("pole", pole)]
        return {"bodies": bodies, "camera": shapes.camera(6.0, (0.0, 0.0, 0.2))}

    def scene_poses(self, physics: CartpoleState) -> Float[Array, "3 7"]:
        """The pole turns about the cart's centre."""
        x, _, angle, _ = physics.y
        zero = jnp.zeros_like(x)
        return jnp.stack((shapes.world_pose(), shapes.upright_pose(x, zero, zero), shapes.upright_pose(x, zero, angle)))


class CartpoleSwingup(SparseCartpoleSwingupLight):
    """The same cart and pole with a dense reward, ``(1 + cos angle) / 2`` per step while |x| <= 3.

    A task of ours, on which learners that need a slope to follow can be compared with others.
    """

    name = "cartpole_swingup"

    def step(self, state: State, action: jax.Array) -> State:
        """One step of 0.05 s."""
        after = super().step(state, action)
        height = 0.5 * (1.0 + jnp.cos(after.pipeline_state.y[2]))
        return after.replace(reward=jnp.where(after.done > 0, jnp.zeros_like(height), height))


def derivative(y: Float[Array, "4"], force: Float[Array, ""]) -> Float[Array, "4"]:
    """Time derivative of (x, dx/dt, angle, omega) under a horizontal force on the cart."""
    _, v, angle, omega = y
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    lever = POLE_MASS * HALF
    total = CART_MASS + POLE_MASS
    push = force - lever * omega * omega * sin
    determinant = total * INERTIA - (lever * cos) ** 2
    acceleration = (INERTIA * push + lever * lever * GRAVITY * sin * cos) / determinant
    spin = (lever * cos * push + total * lever * GRAVITY * sin) / determinant
    return jnp.stack((v, acceleration, omega, spin))
