"""Box2D's contact solver for one box on fixed segments: sequential impulses with friction, then positions.

Catto's block solver takes both points of a contact at once. Contacts are solved one after the other, in the order in
which they are given, so that order is part of the physics. What a contact needs is one row of numbers, and a loop goes
over the rows of those that touch.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxpsn.envs.box2d.joints import SLOP, Inverse, Triple
from jaxpsn.envs.box2d.manifold import SKIN, Manifold, cross, dot, to_world, turn_by

MAX_CORRECTION = 0.2
"""Metres by which one correction may move a point."""
CONDITION = 1000.0
"""Two points whose matrix is worse conditioned are solved as one."""


class _Row(NamedTuple):
    """A contact made ready for velocities: two points, of which ``count`` are solved."""

    nx: Any  # normal, towards the box
    ny: Any
    x1: Any  # from the box's centre to the points
    y1: Any
    x2: Any
    y2: Any
    mass1: Any  # kg, along the normal
    mass2: Any
    along1: Any  # kg, along the tangent
    along2: Any
    k11: Any  # inverse masses of both normals
    k12: Any
    k22: Any
    count: Any


def prepared(manifold: Manifold, pose: Triple, body: Inverse) -> Float[Array, "14"]:
    """The row of one contact for the velocities, with the box at ``pose``."""
    normal = jnp.where(manifold.by_box, turn_by(pose.angle, manifold.normal), manifold.normal)
    plane = jnp.where(manifold.by_box, to_world(pose, manifold.plane), manifold.plane)
    points = jnp.where(manifold.by_box, manifold.points, to_world(pose, manifold.points))
    # Half way between the two skins, each of half SKIN.
    middle = points - 0.5 * dot(normal, points - plane[None])[:, None] * normal[None]
    normal = jnp.where(manifold.by_box, -normal, normal)
    arm = middle - jnp.stack((pose.x, pose.y))[None]
    across, along = cross(arm, normal), cross(arm, jnp.stack((normal[1], -normal[0])))
    own, tangent = body.mass + body.inertia * across * across, 1.0 / (body.mass + body.inertia * along * along)
    k12 = body.mass + body.inertia * across[0] * across[1]
    sound = own[0] * own[0] < CONDITION * (own[0] * own[1] - k12 * k12)
    count = jnp.where((manifold.count == 2) & ~sound, 1, manifold.count).astype(jnp.float32)
    row = _Row(*normal, *arm[0], *arm[1], *(1.0 / own), *tangent, own[0], k12, own[1], count)
    return jnp.stack(row)


def velocities(
    speed: Triple,
    body: Inverse,
    rows: Float[Array, "contacts 14"],
    impulses: Float[Array, "contacts 4"],
    touching: Int[Array, ""],
    friction: float,
    iterations: int,
) -> tuple[Triple, Float[Array, "contacts 4"]]:
    """Velocity and impulses (normal 1, 2, tangent 1, 2) after rounds through the first ``touching`` contacts.

    They begin with the velocity that ``impulses``, those of the step before, give.
    """
    warm = jnp.where(jnp.arange(2, dtype=jnp.float32)[None] < rows[:, -1:], 1.0, 0.0)
    normal, tangent = impulses[:, :2] * warm, impulses[:, 2:] * warm
    nx, ny = rows[:, 0:1], rows[:, 1:2]
    push = normal * nx + tangent * ny, normal * ny - tangent * nx
    turn = rows[:, 2:6:2] * push[1] - rows[:, 3:6:2] * push[0]
    speed = Triple(
        speed.x + body.mass * jnp.sum(push[0]),
        speed.y + body.mass * jnp.sum(push[1]),
        speed.angle + body.inertia * jnp.sum(turn),
    )

    def solve(carry):
        speed, impulses, count = carry
        index = count % touching
        speed, one = _solved(speed, body, _Row(*rows[index]), impulses[index], friction)
        return speed, impulses.at[index].set(one), count + 1

    carry = (speed, impulses, jnp.zeros((), jnp.int32))
    return lax.while_loop(lambda carry: carry[2] < iterations * touching, solve, carry)[:2]


def _solved(
    speed: Triple, body: Inverse, row: _Row, impulses: Float[Array, "4"], friction: float
) -> tuple[Triple, Float[Array, "4"]]:
    """One contact: friction point after point, then both normals."""
    n1, n2, s1, s2 = impulses
    speed, s1 = _slid(speed, body, row, (row.x1, row.y1), row.along1, friction * n1, s1, row.count > 0)
    speed, s2 = _slid(speed, body, row, (row.x2, row.y2), row.along2, friction * n2, s2, row.count > 1)
    v1 = (speed.x - speed.angle * row.y1) * row.nx + (speed.y + speed.angle * row.x1) * row.ny
    v2 = (speed.x - speed.angle * row.y2) * row.nx + (speed.y + speed.angle * row.x2) * row.ny
    both1, both2 = _block(row, n1, n2, v1, v2)
    alone = jnp.maximum(n1 - row.mass1 * v1, 0.0)
    new1 = jnp.where(row.count > 1, both1, jnp.where(row.count > 0, alone, n1))
    new2 = jnp.where(row.count > 1, both2, n2)
    d1, d2 = new1 - n1, new2 - n2
    turn = d1 * (row.x1 * row.ny - row.y1 * row.nx) + d2 * (row.x2 * row.ny - row.y2 * row.nx)
    speed = Triple(
        speed.x + body.mass * (d1 + d2) * row.nx,
        speed.y + body.mass * (d1 + d2) * row.ny,
        speed.angle + body.inertia * turn,
    )
    return speed, jnp.stack((new1, new2, s1, s2))


def _slid(
    speed: Triple,
    body: Inverse,
    row: _Row,
    arm: tuple[jax.Array, jax.Array],
    mass: jax.Array,
    most: jax.Array,
    before: jax.Array,
    live: jax.Array,
) -> tuple[Triple, jax.Array]:
    """Dry friction at one point, of at most ``most`` N s in this step."""
    x, y = arm
    slip = (speed.x - speed.angle * y) * row.ny - (speed.y + speed.angle * x) * row.nx
    after = jnp.where(live, jnp.clip(before - mass * slip, -most, most), before)
    push = after - before
    speed = Triple(
        speed.x + body.mass * push * row.ny,
        speed.y - body.mass * push * row.nx,
        speed.angle - body.inertia * push * (x * row.nx + y * row.ny),
    )
    return speed, after


def _block(row: _Row, n1: jax.Array, n2: jax.Array, v1: jax.Array, v2: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Normal impulses of two points: the first of four cases (both, one, the other, none) that satisfies contact."""
    b1, b2 = v1 - (row.k11 * n1 + row.k12 * n2), v2 - (row.k12 * n1 + row.k22 * n2)
    scale = -1.0 / (row.k11 * row.k22 - row.k12 * row.k12)
    both1, both2 = scale * (row.k22 * b1 - row.k12 * b2), scale * (row.k11 * b2 - row.k12 * b1)
    first, second, zero = -row.mass1 * b1, -row.mass2 * b2, jnp.zeros_like(b1)
    cases = (
        ((both1 >= 0) & (both2 >= 0), both1, both2),
        ((first >= 0) & (row.k12 * first + b2 >= 0), first, zero),
        ((second >= 0) & (row.k12 * second + b1 >= 0), zero, second),
        ((b1 >= 0) & (b2 >= 0), zero, zero),
    )
    for holds, one, two in reversed(cases):
        n1, n2 = jnp.where(holds, one, n1), jnp.where(holds, two, n2)
    return n1, n2


def positions(
    pose: Triple,
    body: Inverse,
    manifolds: Manifold,
    touching: Int[Array, ""],
    stiffness: float,
    enough: float,
    most: int | jax.Array,
) -> Triple:
    """The pose with the first ``touching`` contacts pushed apart, until none is deeper than ``enough``, a gap in m.

    At most ``most`` rounds. Raises nothing; a deep box just stays deep for a few steps.
    """
    face = jnp.where(manifolds.by_box, 1.0, 0.0)[:, None]
    points = manifolds.points.reshape(-1, 4)
    rows = jnp.concatenate(
        (face, manifolds.normal, manifolds.plane, points, manifolds.count[:, None].astype(jnp.float32)), 1
    )

    def correct(carry):
        pose, least, count, _ = carry
        row = rows[count % touching]
        pose, first = _corrected(pose, body, row, row[5:7], row[-1] > 0, stiffness)
        pose, second = _corrected(pose, body, row, row[7:9], row[-1] > 1, stiffness)
        least = jnp.minimum(least, jnp.minimum(first, second))
        ends = (count + 1) % touching == 0
        return pose, jnp.where(ends, 0.0, least), count + 1, ends & (least >= enough)

    def unsettled(carry):
        return (carry[2] < most * touching) & ~carry[3]

    carry = (pose, jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), jnp.zeros((), bool))
    return lax.while_loop(unsettled, correct, carry)[0]


def _corrected(
    pose: Triple, body: Inverse, row: Float[Array, "10"], point: Float[Array, "2"], live: jax.Array, stiffness: float
) -> tuple[Triple, jax.Array]:
    """The pose with one point pushed out, and how far it was from touching (negative inside)."""
    by_box, sin, cos = row[0] > 0, jnp.sin(pose.angle), jnp.cos(pose.angle)

    def turned(x, y):
        return cos * x - sin * y, sin * x + cos * y

    nx, ny = turned(row[1], row[2])
    own, place = turned(row[3], row[4]), turned(point[0], point[1])
    nx, ny = jnp.where(by_box, nx, row[1]), jnp.where(by_box, ny, row[2])
    qx, qy = jnp.where(by_box, pose.x + own[0], row[3]), jnp.where(by_box, pose.y + own[1], row[4])
    px, py = jnp.where(by_box, point[0], pose.x + place[0]), jnp.where(by_box, point[1], pose.y + place[1])
    gap = nx * (px - qx) + ny * (py - qy) - SKIN
    nx, ny = jnp.where(by_box, -nx, nx), jnp.where(by_box, -ny, ny)
    across = (px - pose.x) * ny - (py - pose.y) * nx
    correction = jnp.clip(stiffness * (gap + SLOP), -MAX_CORRECTION, 0.0)
    push = jnp.where(live, -correction / (body.mass + body.inertia * across * across), 0.0)
    pose = Triple(
        pose.x + body.mass * push * nx, pose.y + body.mass * push * ny, pose.angle + body.inertia * push * across
    )  # fmt: skip
    return pose, jnp.where(live, gap, 0.0)
