"""One step of Box2D for a box on a chain of fixed segments: which contacts exist, their solution, and impacts.

Contacts are made and dropped as padded bounding boxes begin and cease to overlap, and are solved newest first; both are
part of the state, as in Box2D they are part of the physics.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxpsn.envs.box2d import contacts, impact, joints
from jaxpsn.envs.box2d.joints import SLOP, Inverse, Triple
from jaxpsn.envs.box2d.manifold import SKIN, Chain, Manifold, collide, placed

PAD, AHEAD = 0.1, 2.0
"""Metres that a bounding box is padded by, and how many steps' motion it is padded by where it moves."""
WINDOW = 48
"""Segments around the box that are looked at: the 23 that it can touch, and 0.25 m to either side."""
SLOTS = 24
"""Contacts that are solved; a box that lies along the track touches 20."""
SUBSTEPS = 8
"""Impacts of one contact in one step."""
_STEP, _IMPACT = (0.2, -3.0 * SLOP), (0.75, -1.5 * SLOP)  # stiffness of corrections, and the depth that is left alone
_IMPACT_ROUNDS = 20


class Track(NamedTuple):
    """What does not change: the chain, the box that runs on it, and their friction."""

    chain: Chain
    half: np.ndarray
    body: Inverse
    friction: float
    velocity_iterations: int
    position_iterations: int


@struct.dataclass
class TrackState:
    """The box, what the broad phase remembers, and what each contact took in the last step."""

    pose: Triple
    speed: Triple
    low: Any  # [2] the padded bounding box of the box
    high: Any  # [2]
    age: Any  # [S] int32: contacts in the order in which they were made, 0 where there is none
    key: Any  # [S, 2] int32: features of each contact's points, -1 where there is none
    impulses: Any  # [S, 4] N s: along the normal, then along the tangent, of both points


class _Sweep(NamedTuple):
    """The box on its way through a step, which impacts cut into parts."""

    start: Triple  # of the part under way
    end: Triple
    speed: Triple
    share: Any  # [] of the step that is over at `start`
    at: Triple  # where contacts are to be solved next
    at_share: Any
    hit: Any  # [] int32: the contact that was hit there; -1 at the beginning of the step
    more: Any  # [] bool: whether there is such a place
    manifold: Manifold  # of the segments in the window
    impulses: Any  # [W, 4]
    tries: Any  # [W] int32
    enabled: Any  # [W] bool


def begin(track: Track, pose: Triple, speed: Triple) -> TrackState:
    """A box in a new world."""
    count = len(track.chain.start)
    low, high = _bounds(track, pose, pose)
    age = jnp.zeros(count, jnp.int32)
    key, impulses = jnp.full((count, 2), -1, jnp.int32), jnp.zeros((count, 4), jnp.float32)
    state = TrackState(pose, speed, low - PAD, high + PAD, age, key, impulses)
    return state.replace(age=_made(track, state))


def advanced(track: Track, state: TrackState, force: Float[Array, ""], dt: float) -> TrackState:
    """The state after one step with ``force`` (N) at the centre of the box along its own x axis."""
    state = state.replace(age=jnp.where(_overlapping(track, state), state.age, 0))
    first = _first(track, state.pose)
    segments = jax.tree.map(lambda leaf: _window(jnp.asarray(leaf), first), track.chain)
    fx, fy = joints.turned((1.0, 0.0), state.pose.angle)
    push = dt * track.body.mass * force
    speed = state.speed.replace(x=state.speed.x + push * fx, y=state.speed.y + push * fy - dt * joints.GRAVITY)

    zero, key = jnp.zeros((), jnp.float32), _window(state.key, first)
    live = jnp.sum((key >= 0).astype(jnp.int32), 1)
    nothing = jnp.zeros((WINDOW, 2), jnp.float32)
    manifold = Manifold(live < 0, nothing, nothing, jnp.zeros((WINDOW, 2, 2), jnp.float32), key, live)
    sweep = _Sweep(
        state.pose, state.pose, speed, zero, state.pose, zero, jnp.full((), -1, jnp.int32), jnp.ones((), bool),
        manifold, _window(state.impulses, first), jnp.zeros(WINDOW, jnp.int32), live >= 0,
    )  # fmt: skip

    def part(carry):
        sweep, state = _solved(track, segments, first, *carry, dt)
        return _aimed(track, segments, _window(state.age, first), sweep), state

    sweep, state = lax.while_loop(lambda carry: carry[0].more, part, (sweep, state))
    key = lax.dynamic_update_slice_in_dim(jnp.full_like(state.key, -1), sweep.manifold.keys(), first, 0)
    impulses = lax.dynamic_update_slice_in_dim(jnp.zeros_like(state.impulses), sweep.impulses, first, 0)
    return state.replace(pose=sweep.end, speed=sweep.speed, key=key, impulses=impulses)


def _solved(
    track: Track, segments: Chain, first: jax.Array, sweep: _Sweep, state: TrackState, dt: float
) -> tuple[_Sweep, TrackState]:
    """Contacts solved at ``sweep.at``, and the rest of the step moved from there.

    At the beginning of a step impulses of the last one warm the solver, and positions are corrected afterwards. At an
    impact positions are corrected first, and impulses are not kept.
    """
    age, begins = _window(state.age, first), sweep.hit < 0
    manifold, impulses = _updated(track, segments, sweep.at, age > 0, sweep)
    # The contact that was hit comes first.
    order, touching = _order(manifold, jnp.where(jnp.arange(WINDOW) == sweep.hit, jnp.iinfo(jnp.int32).max, age))
    chosen = jax.tree.map(lambda leaf: leaf[order], manifold)
    body = track.body
    start = contacts.positions(sweep.at, body, chosen, touching, *_IMPACT, jnp.where(begins, 0, _IMPACT_ROUNDS))
    rows = jax.vmap(contacts.prepared, (0, None, None))(chosen, start, body)
    warm = jnp.where(begins, impulses[order], 0.0)
    speed, after = contacts.velocities(
        sweep.speed, body, rows, warm, touching, track.friction, track.velocity_iterations
    )
    end, speed = joints.moved(start, speed, (1.0 - sweep.at_share) * dt)
    rounds = jnp.where(begins, track.position_iterations, 0)
    end = contacts.positions(end, body, chosen, touching, *_STEP, rounds)

    hit = jnp.maximum(sweep.hit, 0)
    solid, only = begins | (manifold.count[hit] > 0), jnp.arange(WINDOW) == sweep.hit
    new = sweep._replace(
        start=start, end=end, speed=speed, share=sweep.at_share, manifold=manifold,
        impulses=jnp.where(begins, impulses.at[order].set(after), impulses), enabled=age >= 0,
    )  # fmt: skip
    # Nothing is touched after all: the segment is left alone until the next impact.
    updated = jax.tree.map(
        lambda old, new: jnp.where(only.reshape((-1,) + (1,) * (old.ndim - 1)), new, old),
        (sweep.manifold, sweep.impulses),
        (manifold, impulses),
    )
    missed = sweep._replace(manifold=updated[0], impulses=updated[1], enabled=sweep.enabled & ~only)
    seen = _seen(track, state, start, end)
    return jax.tree.map(lambda yes, no: jnp.where(solid, yes, no), (new, seen), (missed, state))


def _aimed(track: Track, segments: Chain, age: Int[Array, "w"], sweep: _Sweep) -> _Sweep:
    """The sweep with its next impact, if there is one."""
    touches, part = jax.vmap(impact.impact, (0, None, None, None))(segments, track.half, sweep.start, sweep.end)
    share = jnp.minimum(sweep.share + (1.0 - sweep.share) * part, 1.0)
    share = jnp.where(touches & (age > 0) & sweep.enabled & (sweep.tries <= SUBSTEPS), share, 1.0)
    soonest = jnp.min(share)
    hit = jnp.argmax(jnp.where(share == soonest, age, -1)).astype(jnp.int32)
    more = soonest <= 1.0 - 10.0 * jnp.finfo(jnp.float32).eps
    beta = jnp.where(more, (soonest - sweep.share) / (1.0 - sweep.share), 1.0)
    at = jax.tree.map(lambda a, b: a + beta * (b - a), sweep.start, sweep.end)
    tries = sweep.tries.at[hit].add(1)
    return sweep._replace(at=at, at_share=soonest, hit=hit, more=more, tries=tries)


def _updated(
    track: Track, segments: Chain, pose: Triple, exists: Bool[Array, "w"], sweep: _Sweep
) -> tuple[Manifold, Float[Array, "w 4"]]:
    """Contacts at a pose; a point whose features met before takes over its impulses."""
    manifold = jax.vmap(collide, (0, None))(segments, placed(track.half, pose))
    manifold = manifold.replace(count=jnp.where(exists, manifold.count, 0))
    before, old = sweep.manifold.keys(), sweep.impulses
    first, second = manifold.key == before[:, :1], manifold.key == before[:, 1:]
    normal = jnp.where(first, old[:, 0:1], jnp.where(second, old[:, 1:2], 0.0))
    tangent = jnp.where(first, old[:, 2:3], jnp.where(second, old[:, 3:4], 0.0))
    return manifold, jnp.concatenate((normal, tangent), 1)


def _order(manifold: Manifold, age: Int[Array, "w"]) -> tuple[Int[Array, "slots"], Int[Array, ""]]:
    """The contacts that touch, newest first and then others, and how many touch."""
    touches = manifold.count > 0
    return lax.top_k(jnp.where(touches, age, 0), SLOTS)[1], jnp.minimum(jnp.sum(touches.astype(jnp.int32)), SLOTS)


def _bounds(track: Track, a: Triple, b: Triple) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
    """The bounding box of the box, skin included, at two poses."""
    corners = jnp.concatenate((placed(track.half, a).corners, placed(track.half, b).corners))
    return jnp.min(corners, 0) - SKIN / 2, jnp.max(corners, 0) + SKIN / 2


def _seen(track: Track, state: TrackState, start: Triple, end: Triple) -> TrackState:
    """The broad phase after the box moved: new contacts are looked for where it has left its padded bounding box."""
    low, high = _bounds(track, start, end)
    stays = jnp.all(state.low <= low) & jnp.all(high <= state.high)
    ahead = AHEAD * jnp.stack((end.x - start.x, end.y - start.y))
    wider = state.replace(low=low - PAD + jnp.minimum(ahead, 0.0), high=high + PAD + jnp.maximum(ahead, 0.0))
    wider = wider.replace(age=_made(track, wider))
    return jax.tree.map(lambda old, new: jnp.where(stays, old, new), state, wider)


def _made(track: Track, state: TrackState) -> Int[Array, "s"]:
    """Ages with a contact for every segment within the padded bounding box, the rightmost the newest."""
    new = _overlapping(track, state) & (state.age == 0)
    return jnp.where(new, jnp.max(state.age) + jnp.cumsum(new.astype(jnp.int32)), state.age)


def _overlapping(track: Track, state: TrackState) -> Bool[Array, "s"]:
    low, high = np.minimum(track.chain.start, track.chain.end), np.maximum(track.chain.start, track.chain.end)
    apart = (low - np.float32(PAD) > state.high[None]) | (high + np.float32(PAD) < state.low[None])
    return ~jnp.any(apart, -1)


def _first(track: Track, pose: Triple) -> Int[Array, ""]:
    """The first segment of the window around a pose."""
    left = jnp.sum((track.chain.start[:, 0] <= pose.x).astype(jnp.int32))
    return jnp.clip(left - WINDOW // 2, 0, len(track.chain.start) - WINDOW)


def _window(leaf: jax.Array, first: Int[Array, ""]) -> jax.Array:
    return lax.dynamic_slice_in_dim(leaf, first, WINDOW)
