"""The paper's sparse double pendulum, on the step of Box2D that rllab took."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.envs import own, shapes
from jaxpsn.envs.box2d import joints
from jaxpsn.envs.box2d.joints import FIXED, Inverse, Pin, Triple
from jaxpsn.envs.brax_api import State

MASS, LENGTH, WIDTH, MAX_TORQUE = 0.5, 1.0, 0.1, 50.0
HALF = LENGTH / 2
LINK = Inverse(1 / MASS, 12 / (MASS * (LENGTH**2 + WIDTH**2)))
SHOULDER = Pin(FIXED, LINK, (0.0, 0.0), (0.0, HALF))
ELBOW = Pin(LINK, LINK, (0.0, -HALF), (0.0, HALF))
ITERATIONS = 20
"""Of velocities in each step of Box2D, and at most of positions."""
FRAMES = 2
"""Steps of Box2D in one step of the task."""


@struct.dataclass
class DoublePendulumState:
    """Centres of mass of both links, angles 0 hanging, counter-clockwise, and the joints' last impulses."""

    upper: Triple  # position
    lower: Triple
    upper_speed: Triple
    lower_speed: Triple
    shoulder: Any  # [2] N s, on the upper link
    elbow: Any  # [2] N s, on the lower link


class SparseDoublePendulum(own.OwnEnv):
    """The sparse double pendulum of VIME and Plappert et al. (2018): sin, cos and omega of each link, one action.

    Two links of 1 m and 0.5 kg; a torque within 50 N m acts between them, none at the shoulder. Starts hanging with
    angles N(0, 0.1) and speeds N(0, 0.01) (standard deviations). Reward 1 per step while rllab's "tip" is closer than
    1 m to (0, 2): the elbow minus (sin, cos) of the second link, so mirrored in x; never ends. Step 0.02 s (two Box2D
    steps of 0.01 s, 20 iterations each), 500 steps.

    rllab turns the links about their upper ends where they hang, so the first step pulls the elbow together.
    Deviation: the joints start without impulses in every episode; rllab keeps those of the one before. Source:
    openai/vime double_pendulum_env_x, rll/rllab double_pendulum.xml; Box2D by :mod:`jaxpsn.envs.box2d.joints`.
    """

    name = "sparse_double_pendulum"
    dt = 0.02
    episode_length = 500
    observation_dim = 6

    def reset(self, rng: jax.Array) -> State:
        """Hanging, almost at rest."""
        spread = jnp.array((0.1, 0.1, 0.01, 0.01), jnp.float32)
        return self.begin(start(spread * jax.random.normal(rng, (4,), jnp.float32)))

    def step(self, state: State, action: jax.Array) -> State:
        """One step of 0.02 s."""
        torque, h = MAX_TORQUE * own.clipped(action)[0], self.dt / FRAMES
        physics = jax.lax.fori_loop(0, FRAMES, lambda _, now: advanced(now, torque, h), state.pipeline_state)
        x, z = tip(physics)
        return self.advance(state, physics, jnp.hypot(x, z - 2 * LENGTH) < 1.0, jnp.zeros((), bool))

    def observe(self, physics: DoublePendulumState) -> Float[Array, "6"]:
        """sin, cos and angular velocity of the first link, then of the second."""
        a, b = physics.upper.angle, physics.lower.angle
        omega_a, omega_b = physics.upper_speed.angle, physics.lower_speed.angle
        return jnp.stack((jnp.sin(a), jnp.cos(a), omega_a, jnp.sin(b), jnp.cos(b), omega_b))

    def scene_bodies(self) -> dict[str, Any]:
        """The goal disc's centre, the shoulder and both links."""
        goal = shapes.geom("sphere", (0.08,), shapes.GREEN, (0.0, 0.0, 2 * LENGTH))
        pivot = shapes.geom("sphere", (0.08,), shapes.GREY)
        link = shapes.geom("capsule", (WIDTH / 2, HALF), shapes.BLUE)
        other = {**link, "color": list(shapes.ORANGE)}
        bodies = [shapes.body("world", goal, pivot), shapes.body("upper", link), shapes.body("lower", other)]
        return {"bodies": bodies, "camera": shapes.camera(6.5, (0.0, 0.0, 0.0))}

    def scene_poses(self, physics: DoublePendulumState) -> Float[Array, "3 7"]:
        """Each link about its centre of mass."""
        links = [shapes.upright_pose(link.x, link.y, link.angle) for link in (physics.upper, physics.lower)]
        return jnp.stack((shapes.world_pose(), *links))


def start(y: Float[Array, "4"]) -> DoublePendulumState:
    """The state in which rllab begins with angles and speeds: both upper ends where they hang, centres at rest."""
    a, b, omega_a, omega_b = y
    zero, none = jnp.zeros_like(a), jnp.zeros(2, jnp.float32)
    (ax, ay), (bx, by) = joints.turned((0.0, -HALF), a), joints.turned((0.0, -HALF), b)
    return DoublePendulumState(
        upper=Triple(ax, ay, a),
        lower=Triple(bx, by - LENGTH, b),
        upper_speed=Triple(zero, zero, omega_a),
        lower_speed=Triple(zero, zero, omega_b),
        shoulder=none,
        elbow=none,
    )


def tip(physics: DoublePendulumState) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """What rllab takes for the tip, (right, up) in metres from the shoulder: its x is mirrored at the elbow."""
    lower = physics.lower
    up = joints.turned((0.0, HALF), lower.angle)
    elbow = lower.x + up[0], lower.y + up[1]
    return elbow[0] - LENGTH * jnp.sin(lower.angle), elbow[1] - LENGTH * jnp.cos(lower.angle)


def advanced(state: DoublePendulumState, torque: Float[Array, ""], dt: float) -> DoublePendulumState:
    """The state after one step of Box2D with ``torque`` (N m) on the lower link and its opposite on the upper.

    rllab's motor turns at 1e5 rad/s with a torque of at most |torque|, so that it takes all of it.
    """
    ground = _ground(state.upper)
    fall = dt * joints.GRAVITY
    upper = state.upper_speed.replace(y=state.upper_speed.y - fall)
    lower = state.lower_speed.replace(y=state.lower_speed.y - fall)
    elbow_at, shoulder_at = joints.arms(ELBOW, state.upper, state.lower), joints.arms(SHOULDER, ground, state.upper)
    upper, lower = joints.pushed(ELBOW, elbow_at, upper, lower, state.elbow[0], state.elbow[1])
    upper = joints.pushed(SHOULDER, shoulder_at, ground, upper, state.shoulder[0], state.shoulder[1])[1]
    motor = dt * torque
    upper = upper.replace(angle=upper.angle - LINK.inertia * motor)
    lower = lower.replace(angle=lower.angle + LINK.inertia * motor)

    def iterate(carry):
        upper, lower, elbow, shoulder = carry
        upper, lower, x, y = joints.pin_velocity(ELBOW, elbow_at, upper, lower)
        elbow = elbow + jnp.stack((x, y))
        _, upper, x, y = joints.pin_velocity(SHOULDER, shoulder_at, ground, upper)
        return upper, lower, elbow, shoulder + jnp.stack((x, y))

    carry = (upper, lower, state.elbow, state.shoulder)
    upper, lower, elbow, shoulder = joints.iterated(iterate, carry, ITERATIONS)
    upper_at, upper = joints.moved(state.upper, upper, dt)
    lower_at, lower = joints.moved(state.lower, lower, dt)
    upper_at, lower_at = joints.settled(_corrected, (upper_at, lower_at), ITERATIONS)
    return DoublePendulumState(upper_at, lower_at, upper, lower, shoulder, elbow)


def _corrected(positions: tuple[Triple, Triple]) -> tuple[tuple[Triple, Triple], jax.Array]:
    """Elbow first, then the shoulder."""
    upper, lower, joined = joints.pin_position(ELBOW, *positions)
    _, upper, held = joints.pin_position(SHOULDER, _ground(upper), upper)
    return (upper, lower), joined & held


def _ground(like: Triple) -> Triple:
    zero = jnp.zeros_like(like.x)
    return Triple(zero, zero, zero)
