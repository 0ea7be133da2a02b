"""When within a step a moving box comes too close to a fixed segment: Box2D's conservative advancement.

Along the axis of least distance the separation is followed to its first fall below a target; then the axis is chosen
anew, until the distance itself is the target (Catto, b2TimeOfImpact).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxpsn.envs.box2d.joints import SLOP, Triple
from jaxpsn.envs.box2d.manifold import SKIN, Box, Chain, dot, placed

TARGET, TOLERANCE = max(SLOP, SKIN - 3 * SLOP), 0.25 * SLOP
"""Distance (m) of the shapes without skins at an impact, and how exactly it is found."""
ADVANCES, PUSHES, ROOTS = 20, 8, 50
_CORNER, _SEGMENT, _FACE = 0, 1, 2


class Axis(NamedTuple):
    """Along what the separation is measured: a fixed axis, the segment's normal, or that of a face of the box."""

    kind: Any
    direction: Any  # [2], for the first two
    face: Any


def between(start: Triple, end: Triple, share: Float[Array, ""]) -> Triple:
    """The pose after ``share`` of the way."""
    return jax.tree.map(lambda a, b: (1.0 - share) * a + share * b, start, end)


def impact(
    segment: Chain, half: Float[Array | np.ndarray, "2"], start: Triple, end: Triple
) -> tuple[Bool[Array, ""], Float[Array, ""]]:
    """Whether the box touches the segment on its way, and after which share of it."""

    def advancing(carry):
        return ~carry[1] & (carry[3] < ADVANCES)

    def advance(carry):
        share, _, _, count = carry
        box = placed(half, between(start, end, share))
        axis, distance, overlaps = _closest(segment, box)
        near = distance < TARGET + TOLERANCE
        # Most segments are out of reach: the furthest corner moves no more than this.
        far = (count == 0) & (distance - reach > TARGET + 2 * TOLERANCE)
        after, settled, touches = _push(segment, half, start, end, axis, share, overlaps | near | far)
        stays = overlaps | near
        return jnp.where(stays, share, after), stays | far | settled, ~overlaps & (near | touches), count + 1

    reach = jnp.hypot(end.x - start.x, end.y - start.y) + jnp.abs(end.angle - start.angle) * jnp.hypot(half[0], half[1])
    zero, no = jnp.zeros_like(start.x), jnp.zeros((), bool)
    share, _, touches, _ = lax.while_loop(advancing, advance, (zero, no, no, jnp.zeros((), jnp.int32)))
    return touches, share


def _push(
    segment: Chain,
    half: jax.Array | np.ndarray,
    start: Triple,
    end: Triple,
    axis: Axis,
    share: Float[Array, ""],
    known: Bool[Array, ""],
) -> tuple[Float[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
    """Along one axis: how far the box may go, whether that settles the matter, and whether it touches.

    Nothing is done where the answer is ``known``.
    """

    def pushing(carry):
        return ~carry[2] & (carry[5] < PUSHES)

    def push(carry):
        low, high, _, _, _, count = carry
        both = jax.vmap(lambda at: _separations(segment, placed(half, between(start, end, at)), axis).reshape(-1))
        before, beyond = both(jnp.stack((low, high)))
        deepest = jnp.argmin(beyond)
        now, ahead = before[deepest], beyond[deepest]
        clear, reached = ahead > TARGET + TOLERANCE, ahead > TARGET - TOLERANCE
        failed, touches = now < TARGET - TOLERANCE, now <= TARGET + TOLERANCE
        # In Box2D's order: clear, reached (choose another axis), failed, touching, else find the root.
        over = clear | reached | failed | touches
        root = _root(segment, half, start, end, axis, deepest, (low, now), (high, ahead), over)
        to = jnp.where(clear, 1.0, jnp.where(reached, high, low))
        settled = clear | (~reached & (failed | touches))
        touching = ~clear & ~reached & ~failed & touches
        return jnp.where(over, to, low), jnp.where(over, high, root), over, settled, touching, count + 1

    no = jnp.zeros((), bool)
    carry = (share, jnp.ones_like(share), known, no, no, jnp.zeros((), jnp.int32))
    low, _, _, settled, touches, _ = lax.while_loop(pushing, push, carry)
    return low, settled, touches


def _root(
    segment: Chain,
    half: jax.Array | np.ndarray,
    start: Triple,
    end: Triple,
    axis: Axis,
    pair: jax.Array,
    low: tuple[jax.Array, jax.Array],
    high: tuple[jax.Array, jax.Array],
    done: Bool[Array, ""],
) -> Float[Array, ""]:
    """Where between two shares of the way one pair of corners is at the target: bisection and secants in turn."""

    def searching(carry):
        return ~carry[4] & (carry[6] < ROOTS)

    def search(carry):
        a, s, b, t, _, best, count = carry
        secant = a + (TARGET - s) * (b - a) / (t - s)
        share = jnp.where(count % 2 == 1, secant, 0.5 * (a + b))
        found = _separations(segment, placed(half, between(start, end, share)), axis).reshape(-1)[pair]
        above, close = found > TARGET, jnp.abs(found - TARGET) < TOLERANCE
        a, s = jnp.where(above, share, a), jnp.where(above, found, s)
        b, t = jnp.where(above, b, share), jnp.where(above, t, found)
        return a, s, b, t, close, jnp.where(close, share, best), count + 1

    carry = (*low, *high, done, high[0], jnp.zeros((), jnp.int32))
    return lax.while_loop(searching, search, carry)[5]


def _separations(segment: Chain, box: Box, axis: Axis) -> Float[Array, "2 4"]:
    """How far apart each end of the segment and each corner of the box are along the axis."""
    ends = jnp.stack((segment.start, segment.end))
    corners = dot(axis.direction, box.corners)
    of_ends = jnp.where(
        axis.kind == _CORNER, dot(axis.direction, ends), 0.5 * jnp.sum(dot(axis.direction, ends))
    )  # fmt: skip
    following = (axis.face + 1) % 4
    middle = 0.5 * (box.corners[axis.face] + box.corners[following])
    by_face = dot(box.normals[axis.face], ends - middle[None])
    return jnp.where(axis.kind == _FACE, by_face[:, None], corners[None, :] - of_ends[:, None])


def _closest(segment: Chain, box: Box) -> tuple[Axis, Float[Array, ""], Bool[Array, ""]]:
    """The axis of least distance between segment and box, that distance, and whether they overlap."""
    ends = jnp.stack((segment.start, segment.end))
    edge = segment.end - segment.start
    length = jnp.sqrt(dot(edge, edge))
    along = dot(box.corners - segment.start[None], edge) / (length * length)
    beside = dot(segment.normal, box.corners - segment.start[None])
    to_segment = jnp.where((along > 0) & (along < 1), jnp.abs(beside), jnp.inf)

    sides = jnp.roll(box.corners, -1, 0) - box.corners
    offset = ends[:, None, :] - box.corners[None]
    place = dot(offset, sides[None]) / dot(sides, sides)[None]
    outside = dot(offset, box.normals[None])
    to_face = jnp.where((place > 0) & (place < 1) & (outside > 0), outside, jnp.inf)
    apart = box.corners[None] - ends[:, None]
    to_corner = jnp.sqrt(dot(apart, apart))

    overlaps = (jnp.max(jnp.min(outside, 0)) <= 0) & (jnp.min(beside) <= 0) & (jnp.max(beside) >= 0)
    least = jnp.stack((jnp.min(to_corner), jnp.min(to_segment), jnp.min(to_face)))
    kind = jnp.argmin(least).astype(jnp.int32)
    pair = jnp.argmin(to_corner)
    between_corners = apart.reshape(-1, 2)[pair] / jnp.maximum(least[0], 1e-12)
    sign = jnp.where(beside[jnp.argmin(to_segment)] < 0, -1.0, 1.0)
    direction = jnp.where(kind == _SEGMENT, sign * segment.normal, between_corners)
    face = (jnp.argmin(to_face) % 4).astype(jnp.int32)
    return Axis(kind, direction, face), jnp.where(overlaps, 0.0, least[kind]), overlaps
