"""One step of Box2D for bodies that joints hold together: the solver's own sequence, in float32.

Box2D (Catto, 2.3) advances velocities by forces, corrects them joint after joint (sequential impulses, begun with the
impulses of the step before), advances positions by the new velocities, and then corrects these joint after joint too.
What a task sees of this is damping that no equation of motion has, and joints that give way. Vectors here are pairs of
scalars, so that many environments under ``jax.vmap`` are plain arithmetic on arrays of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

GRAVITY = 10.0
SLOP, ANGULAR_SLOP = 0.005, 2.0 / 180.0 * 3.14159265359
"""Errors of a joint (m, rad) below which its position is left alone."""
MAX_TRANSLATION, MAX_ROTATION = 2.0, 0.5 * 3.14159265359
"""No body moves (m) or turns (rad) further in one step."""


@struct.dataclass
class Triple:
    """What a body has three of: position x, y of its centre of mass and angle; or the velocities; or a change."""

    x: Any
    y: Any
    angle: Any


class Inverse(NamedTuple):
    """A body's inverse mass (1/kg) and inverse inertia about its centre of mass (1/(kg m^2)); zero if it is fixed."""

    mass: float
    inertia: float


FIXED = Inverse(0.0, 0.0)


class Pin(NamedTuple):
    """A revolute joint: two bodies, and where each is pinned, seen from its centre of mass in its own frame."""

    a: Inverse
    b: Inverse
    anchor_a: tuple[float, float]
    anchor_b: tuple[float, float]


class Arms(NamedTuple):
    """A pin's two anchors from the centres of mass in the world's frame, and its 2 x 2 matrix of inverse masses."""

    ax: jax.Array
    ay: jax.Array
    bx: jax.Array
    by: jax.Array
    k11: jax.Array
    k12: jax.Array
    k22: jax.Array


def turned(vector: tuple[float, float], angle: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``vector`` in the world's frame, given in that of a body at ``angle``."""
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    return cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]


def arms(pin: Pin, a: Triple, b: Triple) -> Arms:
    """The pin at these positions of its bodies."""
    (ax, ay), (bx, by) = turned(pin.anchor_a, a.angle), turned(pin.anchor_b, b.angle)
    mass = pin.a.mass + pin.b.mass
    k11 = mass + pin.a.inertia * ay * ay + pin.b.inertia * by * by
    k12 = -pin.a.inertia * ax * ay - pin.b.inertia * bx * by
    k22 = mass + pin.a.inertia * ax * ax + pin.b.inertia * bx * bx
    return Arms(ax, ay, bx, by, k11, k12, k22)


def needed(at: Arms, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The impulse on body b that undoes the error (x, y) of a pin."""
    scale = -1.0 / (at.k11 * at.k22 - at.k12 * at.k12)
    return scale * (at.k22 * x - at.k12 * y), scale * (at.k11 * y - at.k12 * x)


def pushed(pin: Pin, at: Arms, a: Triple, b: Triple, x: jax.Array, y: jax.Array) -> tuple[Triple, Triple]:
    """Velocities, or positions, after the impulse (x, y) on body b at the pin and its opposite on a."""
    a = Triple(
        a.x - pin.a.mass * x, a.y - pin.a.mass * y, a.angle - pin.a.inertia * (at.ax * y - at.ay * x)
    )  # fmt: skip
    b = Triple(
        b.x + pin.b.mass * x, b.y + pin.b.mass * y, b.angle + pin.b.inertia * (at.bx * y - at.by * x)
    )  # fmt: skip
    return a, b


def pin_velocity(pin: Pin, at: Arms, a: Triple, b: Triple) -> tuple[Triple, Triple, jax.Array, jax.Array]:
    """Velocities with which the pin does not come apart, and the impulse that it took."""
    x = (b.x - b.angle * at.by) - (a.x - a.angle * at.ay)
    y = (b.y + b.angle * at.bx) - (a.y + a.angle * at.ax)
    x, y = needed(at, x, y)
    return *pushed(pin, at, a, b, x, y), x, y


def pin_position(pin: Pin, a: Triple, b: Triple) -> tuple[Triple, Triple, jax.Array]:
    """Positions with the pin put together, and whether it was (within :data:`SLOP`) before."""
    at = arms(pin, a, b)
    x, y = (b.x + at.bx) - (a.x + at.ax), (b.y + at.by) - (a.y + at.ay)
    held = jnp.sqrt(x * x + y * y) <= SLOP
    return *pushed(pin, at, a, b, *needed(at, x, y)), held


def iterated(once: Callable[[Any], Any], carry: Any, times: int) -> Any:
    """``once`` so many ``times``: a loop on a CPU, where it compiles sooner; elsewhere it would start every operation.

    ``carry``: a tree of arrays, as in a loop.
    """

    def loop(carry: Any) -> Any:
        return lax.fori_loop(0, times, lambda _, carry: once(carry), carry)

    def in_a_row(carry: Any) -> Any:
        for _ in range(times):
            carry = once(carry)
        return lax.optimization_barrier(carry)  # or every kernel that reads it would do all of it again

    return lax.platform_dependent(carry, cpu=loop, default=in_a_row)


def moved(position: Triple, velocity: Triple, dt: float | jax.Array) -> tuple[Triple, Triple]:
    """Position after ``dt`` seconds, and the velocity, which is cut where a body would move or turn too far."""
    x, y, turn = dt * velocity.x, dt * velocity.y, dt * velocity.angle
    far, spin = jnp.sqrt(x * x + y * y), jnp.abs(turn)
    slower = jnp.where(far > MAX_TRANSLATION, MAX_TRANSLATION / jnp.maximum(far, MAX_TRANSLATION), 1.0)
    calmer = jnp.where(spin > MAX_ROTATION, MAX_ROTATION / jnp.maximum(spin, MAX_ROTATION), 1.0)
    velocity = Triple(velocity.x * slower, velocity.y * slower, velocity.angle * calmer)
    after = Triple(
        position.x + dt * velocity.x, position.y + dt * velocity.y, position.angle + dt * velocity.angle
    )  # fmt: skip
    return after, velocity


def settled(correct: Callable[[Any], tuple[Any, jax.Array]], positions: Any, most: int) -> Any:
    """Positions after ``correct`` until it finds all joints held, at most ``most`` times; its last pass counts too."""

    def unsettled(carry):
        return (carry[1] < most) & ~carry[2]

    def once(carry):
        positions, count, _ = carry
        positions, held = correct(positions)
        return positions, count + 1, held

    def loop(positions: Any) -> Any:
        start = (positions, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
        return lax.while_loop(unsettled, once, start)[0]

    def every_pass(positions: Any) -> Any:
        done = jnp.zeros((), bool)
        for _ in range(most):
            after, held = correct(positions)
            positions = jax.tree.map(lambda new, old, done=done: jnp.where(done, old, new), after, positions)
            done = done | held
        return lax.optimization_barrier(positions)

    # Elsewhere than on a CPU a loop of unknown length waits for its condition, and costs more than its passes.
    return lax.platform_dependent(positions, cpu=loop, default=every_pass)
