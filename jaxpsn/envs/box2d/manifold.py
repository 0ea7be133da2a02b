"""Where a box touches the segments of a chain, as Box2D finds it: contact points of one segment and one box.

A segment's neighbours decide from which side it is met and which of the box's normals may push it ("ghost vertices"),
so that a box slides over the seams. Skins of :data:`SKIN` around both shapes count as touching.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxpsn.envs.box2d.joints import ANGULAR_SLOP, Triple

SKIN = 0.02
"""Both shapes' radii together (m): b2_polygonRadius twice."""
_VERTEX, _FACE = 0, 1


class Chain(NamedTuple):
    """Segments of a polyline from left to right, each with its neighbours' directions; leading axis: segments."""

    start: Any  # [S, 2] m
    end: Any
    before: Any  # [S, 2] where the segment before starts
    normal_before: Any  # [S, 2] to the right of its direction
    normal: Any
    normal_after: Any
    bends_before: Any  # [S] bool: the track turns left, or not at all, at `start`
    bends_after: Any  # [S] bool: it turns left at `end`


class Box(NamedTuple):
    """A box somewhere: corners and outward normals in the world, counter-clockwise from lower left."""

    pose: Triple
    half: Any  # [2] half width, half height
    corners: Any  # [4, 2]
    normals: Any  # [4, 2]


@struct.dataclass
class Manifold:
    """Contact of one segment (fixed) and the box. Local: the segment's frame is the world, the box's its own."""

    by_box: Any  # [] bool: the reference face is one of the box
    normal: Any  # [2] of the reference face, in its own frame
    plane: Any  # [2] a point on it, in its own frame
    points: Any  # [2, 2] contact points, in the other's frame
    key: Any  # [2] int32: which features meet in each
    count: Any  # [] int32: 0, 1 or 2 points

    def keys(self) -> Int[Array, "n 2"]:
        """The features of the points of many contacts (leading axis), -1 where there is none."""
        return jnp.where(jnp.arange(2)[None] < self.count[:, None], self.key, -1)


def chain(points: np.ndarray) -> Chain:
    """The chain through ``points`` [S + 1, 2]; its ends go on straight, which Box2D's do not."""
    points = np.asarray(points, np.float32)
    ends = np.stack((2 * points[0] - points[1], 2 * points[-1] - points[-2]))
    longer = np.concatenate((ends[:1], points, ends[1:])).astype(np.float32)
    along = np.diff(longer, axis=0)
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    normals = np.stack((along[:, 1], -along[:, 0]), 1)
    turn = along[:-1, 0] * along[1:, 1] - along[:-1, 1] * along[1:, 0]
    return Chain(
        points[:-1], points[1:], longer[:-3], normals[:-2], normals[1:-1], normals[2:], turn[:-1] >= 0, turn[1:] > 0
    )


def placed(half: Float[Array | np.ndarray, "2"], pose: Triple) -> Box:
    """A box of half sizes ``half`` at a pose."""
    local = jnp.asarray(((-1, -1), (1, -1), (1, 1), (-1, 1)), jnp.float32) * half[None]
    normals = jnp.asarray(((0, -1), (1, 0), (0, 1), (-1, 0)), jnp.float32)
    return Box(pose, half, to_world(pose, local), turn_by(pose.angle, normals))


def turn_by(angle: Float[Array, ""], vectors: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
    """Vectors of a body's frame in the world's."""
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    return jnp.stack((cos * vectors[..., 0] - sin * vectors[..., 1], sin * vectors[..., 0] + cos * vectors[..., 1]), -1)


def to_world(pose: Triple, points: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
    """Points of a body's frame in the world's."""
    turned = turn_by(pose.angle, points)
    return jnp.stack((turned[..., 0] + pose.x, turned[..., 1] + pose.y), -1)


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Scalar product over the last axis, of size two."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]


def cross(a: jax.Array, b: jax.Array) -> jax.Array:
    """The third component of the vector product over the last axis, of size two."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def collide(segment: Chain, box: Box) -> Manifold:
    """The contact of one segment (a :class:`Chain` without its leading axis) with the box."""
    front, lower, upper = _sides(segment, box)
    normal = jnp.where(front, segment.normal, -segment.normal)
    by_segment = jnp.min(dot(normal, box.corners - segment.start[None]))
    face, by_face, allowed, apart = _box_axis(segment, box, normal, lower, upper)
    by_box = allowed & (by_face > 0.98 * by_segment + 0.001)

    # The reference face of one shape cuts the nearest edge of the other.
    nearest = jnp.argmin(dot(normal, box.normals)).astype(jnp.int32)
    face = jnp.where(by_box, face, nearest)
    corners = jnp.stack((face, (face + 1) % 4))
    ends = jnp.stack((segment.start, segment.end))
    seen = jnp.where(front, ends, ends[::-1])
    reference, incident = jnp.where(by_box, box.corners[corners], seen), jnp.where(by_box, ends, box.corners[corners])
    outward = jnp.where(by_box, box.normals[face], normal)
    bounds = jnp.where(by_box, corners, jnp.where(front, jnp.array((0, 1)), jnp.array((1, 0))))
    zero = jnp.zeros(2, jnp.int32)
    ids = jnp.where(
        by_box,
        jnp.stack((zero, jnp.stack((face, face)), zero + _VERTEX, zero + _FACE), 1),
        jnp.stack((zero, corners, zero + _FACE, zero + _VERTEX), 1),
    )
    side = jnp.stack((outward[1], -outward[0]))
    points, ids, first = _cut(incident, ids, side, dot(side, reference[0]), bounds[0])
    points, ids, second = _cut(points, ids, -side, -dot(side, reference[1]), bounds[1])

    close = dot(outward, points - reference[:1]) <= SKIN
    found = first & second & ~apart & (by_segment <= SKIN)
    ids = jnp.where(by_box, ids[:, jnp.array((1, 0, 3, 2))], ids)
    key = ids @ jnp.array((1, 4, 16, 32), jnp.int32)
    own = jnp.where(by_box, points, _to_local(box.pose, points))
    signs = jnp.asarray(((-1, -1), (1, -1), (1, 1), (-1, 1)), jnp.float32)
    facing = jnp.asarray(((0, -1), (1, 0), (0, 1), (-1, 0)), jnp.float32)
    return Manifold(
        by_box,
        jnp.where(by_box, facing[face], outward),
        jnp.where(by_box, signs[face] * box.half, reference[0]),
        jnp.where(close[0], own, own[::-1]),
        jnp.where(close[0], key, key[::-1]),
        jnp.where(found, jnp.sum(close.astype(jnp.int32)), 0),
    )


def _sides(segment: Chain, box: Box) -> tuple[Bool[Array, ""], Float[Array, "2"], Float[Array, "2"]]:
    """Whether the box is on the right of the track, and the normals between which it may push."""
    centre = jnp.stack((box.pose.x, box.pose.y))
    zero = dot(segment.normal_before, centre - segment.before) >= 0
    one = dot(segment.normal, centre - segment.start) >= 0
    two = dot(segment.normal_after, centre - segment.end) >= 0
    left, right = segment.bends_before, segment.bends_after
    front = jnp.where(
        left,
        jnp.where(right, zero | one | two, zero | (one & two)),
        jnp.where(right, two | (zero & one), zero & one & two),
    )
    own, before, after = segment.normal, segment.normal_before, segment.normal_after
    lower = jnp.where(front, jnp.where(left, before, own), -jnp.where(right, own, after))
    upper = jnp.where(front, jnp.where(right, after, own), -jnp.where(left, own, before))
    return front, lower, upper


def _box_axis(
    segment: Chain, box: Box, normal: Float[Array, "2"], lower: Float[Array, "2"], upper: Float[Array, "2"]
) -> tuple[Int[Array, ""], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
    """The face of the box that is furthest from the segment: which, how far, if it may push, and if any is clear."""
    inward = -box.normals
    separation = jnp.minimum(
        dot(inward, box.corners - segment.start[None]), dot(inward, box.corners - segment.end[None])
    )  # fmt: skip
    ahead = dot(inward, jnp.stack((-normal[1], normal[0]))) >= 0
    limit = jnp.where(ahead[:, None], upper[None], lower[None])
    allowed = dot(inward - limit, normal) >= -ANGULAR_SLOP
    ranked = jnp.where(allowed, separation, -jnp.inf)
    face = jnp.argmax(ranked).astype(jnp.int32)
    return face, ranked[face], jnp.any(allowed), jnp.any(separation > SKIN)


def _cut(
    points: Float[Array, "2 2"], ids: Int[Array, "2 4"], side: Float[Array, "2"], offset: jax.Array, bound: jax.Array
) -> tuple[Float[Array, "2 2"], Int[Array, "2 4"], Bool[Array, ""]]:
    """An edge cut off at a line (Sutherland and Hodgman), the features of its ends, and whether two points are left."""
    distance = dot(side, points) - offset
    inside, crosses = distance <= 0, distance[0] * distance[1] < 0
    share = distance[0] / jnp.where(crosses, distance[0] - distance[1], 1.0)
    cut = points[0] + share * (points[1] - points[0])
    new = jnp.stack((bound, ids[0, 1], jnp.full_like(bound, _VERTEX), jnp.full_like(bound, _FACE)))
    both = inside[0] & inside[1]
    points = jnp.stack((jnp.where(inside[0], points[0], points[1]), jnp.where(both, points[1], cut)))
    ids = jnp.stack((jnp.where(inside[0], ids[0], ids[1]), jnp.where(both, ids[1], new)))
    return points, ids, both | crosses


def _to_local(pose: Triple, points: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
    return turn_by(-pose.angle, jnp.stack((points[..., 0] - pose.x, points[..., 1] - pose.y), -1))
