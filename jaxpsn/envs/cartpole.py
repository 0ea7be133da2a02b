"""The paper's sparse cart-pole swing-up, on the step of Box2D that rllab took."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.envs import own, shapes
from jaxpsn.envs.box2d import joints
from jaxpsn.envs.box2d.joints import Inverse, Pin, Triple
from jaxpsn.envs.brax_api import State

CART_MASS, POLE_MASS, POLE_LENGTH, POLE_WIDTH = 1.0, 0.1, 1.0, 0.1
CART_WIDTH, CART_HEIGHT = 4.0 / 12**0.5, 3.0 / 12**0.5
MAX_FORCE, MAX_X, UPRIGHT_COS = 10.0, 3.0, 0.8
RAIL = -0.1
"""Height of the rail: that of the track's own origin, 0.53 m below where rllab puts the cart."""
HALF = POLE_LENGTH / 2
CART = Inverse(1 / CART_MASS, 12 / (CART_MASS * (CART_WIDTH**2 + CART_HEIGHT**2)))
POLE = Inverse(1 / POLE_MASS, 12 / (POLE_MASS * (POLE_LENGTH**2 + POLE_WIDTH**2)))
HINGE = Pin(CART, POLE, (0.0, CART_HEIGHT / 2), (0.0, -HALF))
VELOCITY_ITERATIONS, POSITION_ITERATIONS = 8, 3


@struct.dataclass
class CartpoleState:
    """Centres of mass of cart and pole (angle 0 upright, counter-clockwise), and the joints' last impulses."""

    cart: Triple  # position
    pole: Triple
    cart_speed: Triple
    pole_speed: Triple
    hinge: Any  # [2] N s, on the pole
    rail: Any  # [2] N s up, N m s, on the cart


class SparseCartpoleSwingup(own.OwnEnv):
    """The sparse cart-pole swing-up of VIME and Plappert et al. (2018): observes x, dx/dt, angle, omega.

    Force within 10 N on a cart of 1 kg with a pole of 1 m and 0.1 kg. Starts: x uniform in [-1, 1], dx/dt in [-2, 2],
    angle in pi + [-1, 1], omega in [-3, 3]. Reward 1 per step while cos(angle) > 0.8 and |x| <= 3, else 0. Ends when
    |x| > 3. Step 0.05 s (8 velocity and 3 position iterations), 500 steps.

    As rllab moves the cart but not the pole, the first step pulls together what is up to 1.1 m apart. Deviation: the
    joints start without impulses in every episode; rllab keeps those of the one before. Source: openai/vime
    cartpole_swingup_env_x, rll/rllab cartpole.xml; Box2D by :mod:`jaxpsn.envs.box2d.joints`.
    """

    name = "sparse_cartpole_swingup"
    dt = 0.05
    episode_length = 500
    observation_dim = 4

    def reset(self, rng: jax.Array) -> State:
        """A hanging pole, all four numbers random."""
        high = jnp.array((1.0, 2.0, 1.0, 3.0), jnp.float32)
        centre = jnp.array((0.0, 0.0, jnp.pi, 0.0), jnp.float32)
        return self.begin(start(centre + high * jax.random.uniform(rng, (4,), jnp.float32, -1.0, 1.0)))

    def step(self, state: State, action: jax.Array) -> State:
        """One step of 0.05 s."""
        physics = advanced(state.pipeline_state, MAX_FORCE * own.clipped(action)[0], self.dt)
        outside = jnp.abs(physics.cart.x) > MAX_X
        upright = (jnp.cos(physics.pole.angle) > UPRIGHT_COS) & ~outside
        return self.advance(state, physics, upright, outside)

    def observe(self, physics: CartpoleState) -> Float[Array, "4"]:
        """Position, velocity, angle (not wrapped, as in rllab) and angular velocity."""
        return jnp.stack((physics.cart.x, physics.cart_speed.x, physics.pole.angle, physics.pole_speed.angle))

    def scene_bodies(self) -> dict[str, Any]:
        """Rail, cart and pole."""
        rail = shapes.geom("box", (MAX_X, 0.03, 0.03), shapes.GREY)
        cart = shapes.geom("box", (CART_WIDTH / 2, 0.15, CART_HEIGHT / 2), shapes.BLUE)
        pole = shapes.geom("capsule", (POLE_WIDTH / 2, HALF), shapes.ORANGE, (0.0, -0.2, 0.0))
        bodies = [shapes.body("world", rail), shapes.body("cart", cart), shapes.body("pole", pole)]
        return {"bodies": bodies, "camera": shapes.camera(6.0, (0.0, 0.0, 0.2))}

    def scene_poses(self, physics: CartpoleState) -> Float[Array, "3 7"]:
        """Cart and pole where they are; the rail is drawn at height 0."""
        cart, pole = physics.cart, physics.pole
        return jnp.stack(
            (
                shapes.world_pose(),
                shapes.upright_pose(cart.x, cart.y - RAIL, cart.angle),
                shapes.upright_pose(pole.x, pole.y - RAIL, pole.angle),
            )
        )


def start(y: Float[Array, "4"]) -> CartpoleState:
    """The state in which rllab begins with x, dx/dt, angle and omega: the pole's foot at x = 0, its centre at rest."""
    x, v, angle, omega = y
    zero = jnp.zeros_like(x)
    foot_to_centre = joints.turned((0.0, HALF), angle)
    return CartpoleState(
        cart=Triple(x, zero + CART_HEIGHT / 2, zero),
        pole=Triple(foot_to_centre[0], CART_HEIGHT + foot_to_centre[1], angle),
        cart_speed=Triple(v, zero, zero),
        pole_speed=Triple(zero, zero, omega),
        hinge=jnp.zeros(2, jnp.float32),
        rail=jnp.zeros(2, jnp.float32),
    )


def advanced(state: CartpoleState, force: Float[Array, ""], dt: float) -> CartpoleState:
    """The state after one step of Box2D with ``force`` (N) along the cart's own x axis."""
    fx, fy = joints.turned((1.0, 0.0), state.cart.angle)
    cart, pole = state.cart_speed, state.pole_speed
    fall = dt * joints.GRAVITY
    cart = cart.replace(x=cart.x + dt * CART.mass * force * fx, y=cart.y + dt * CART.mass * force * fy - fall)
    pole = pole.replace(y=pole.y - fall)

    at = joints.arms(HINGE, state.cart, state.pole)
    cart, pole = joints.pushed(HINGE, at, cart, pole, state.hinge[0], state.hinge[1])
    cart = cart.replace(y=cart.y + CART.mass * state.rail[0], angle=cart.angle + CART.inertia * state.rail[1])

    def iterate(carry):
        cart, pole, hinge, rail = carry
        cart, pole, x, y = joints.pin_velocity(HINGE, at, cart, pole)
        rail = rail - jnp.stack((cart.y / CART.mass, cart.angle / CART.inertia))
        cart = cart.replace(y=jnp.zeros_like(cart.y), angle=jnp.zeros_like(cart.angle))
        return cart, pole, hinge + jnp.stack((x, y)), rail

    carry = (cart, pole, state.hinge, state.rail)
    cart, pole, hinge, rail = joints.iterated(iterate, carry, VELOCITY_ITERATIONS)
    cart_at, cart = joints.moved(state.cart, cart, dt)
    pole_at, pole = joints.moved(state.pole, pole, dt)
    cart_at, pole_at = joints.settled(_corrected, (cart_at, pole_at), POSITION_ITERATIONS)
    return CartpoleState(cart_at, pole_at, cart, pole, hinge, rail)


def _corrected(positions: tuple[Triple, Triple]) -> tuple[tuple[Triple, Triple], jax.Array]:
    """Hinge first, then the rail, which sets the cart on its line and upright."""
    cart, pole, held = joints.pin_position(HINGE, *positions)
    railed = (jnp.abs(cart.y - RAIL) <= joints.SLOP) & (jnp.abs(cart.angle) <= joints.ANGULAR_SLOP)
    cart = cart.replace(y=jnp.full_like(cart.y, RAIL), angle=jnp.zeros_like(cart.angle))
    return (cart, pole), held & railed
