"""SwimmerGather: a swimmer that must collect apples and avoid bombs, sensed only in rough directions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxpsn.envs import own, shapes, swimmer
from jaxpsn.envs.brax_api import State

APPLES, BOMBS, BINS = 8, 8, 10
CATCH, SENSOR_RANGE, SENSOR_SPAN = 1.0, 6.0, np.pi
_LINE = np.arange(-6.0, 6.0, 2.0)
_GRID = np.array([(x, y) for x in _LINE for y in _LINE if np.hypot(x, y) >= 2.0])
"""The 35 points an object may lie on: even coordinates from -6 to 4, none closer than 2 m to the start."""


@struct.dataclass
class GatherState:
    """The swimmer and the objects."""

    links: Any  # [10] see swimmer.to_links
    objects: Any  # [16, 2] positions; the first eight are apples
    present: Any  # [16] bool, not yet taken


class SwimmerGather(own.OwnEnv):
    """rllab's swimmer gather task, as used by Plappert et al. (2018): 33 observations, 2 joint torques within 50 N m.

    Observation: the swimmer's 5 coordinates, 5 speeds and its centre of mass (x, y, 0), then 10 apple and 10 bomb
    readings: 1 - distance / 6 of the nearest such object within 6 m in each of ten equal sectors of the half circle
    ahead of the torso. 8 apples (+1) and 8 bombs (-1) lie on distinct points with both coordinates in {-6, -4, ...,
    4}, none closer than 2 m to the start; one is taken when the centre of mass comes closer than 1 m. Ends when all
    are taken. Coordinates start as N(0, 0.01), speeds as N(0, 0.1) (standard deviations). Step 0.05 s, 500 steps.

    Deviations: MuJoCo's equations are integrated by Runge-Kutta at 5 ms instead of Euler at 1 ms, and the joints'
    stops are springs. Walls are drawn at 7 m by rllab but collide with nothing, so they are left out. Source:
    rll/rllab gather_env.
    """

    name = "swimmer_gather"
    dt = 0.05
    episode_length = 500
    observation_dim = 13 + 2 * BINS
    action_dim = 2

    def reset(self, rng: jax.Array) -> State:
        """A swimmer almost at rest at the origin, objects on random points."""
        place, pose, speed = jax.random.split(rng, 3)
        q = 0.01 * jax.random.normal(pose, (5,), jnp.float32)
        qd = 0.1 * jax.random.normal(speed, (5,), jnp.float32)
        points = jax.random.permutation(place, jnp.asarray(_GRID, jnp.float32))[: APPLES + BOMBS]
        present = jnp.ones(APPLES + BOMBS, bool)
        return self.begin(GatherState(swimmer.to_links(q, qd), points, present))

    def step(self, state: State, action: jax.Array) -> State:
        """One step of 0.05 s."""
        old = state.pipeline_state
        torque = swimmer.MAX_TORQUE * own.clipped(action)
        links = own.runge_kutta(lambda y: swimmer.derivative(y, torque), old.links, self.dt, 10)
        taken = old.present & (jnp.sum((old.objects - links[None, :2]) ** 2, axis=1) < CATCH**2)
        reward = jnp.sum(taken[:APPLES].astype(jnp.float32)) - jnp.sum(taken[APPLES:].astype(jnp.float32))
        present = old.present & ~taken
        return self.advance(state, GatherState(links, old.objects, present), reward, ~jnp.any(present))

    def observe(self, physics: GatherState) -> Float[Array, "33"]:
        """The swimmer's own state and what its sensors read."""
        q, qd = swimmer.to_joints(physics.links)
        centre = jnp.concatenate((physics.links[:2], jnp.zeros(1, jnp.float32)))
        offsets = physics.objects - physics.links[None, :2]
        apples = readings(offsets[:APPLES], physics.present[:APPLES], q[2])
        bombs = readings(offsets[APPLES:], physics.present[APPLES:], q[2])
        return jnp.concatenate((q, qd, centre, apples, bombs))

    def scene_bodies(self) -> dict[str, Any]:
        """Three capsules, green apples and red bombs."""
        rod = (swimmer.RADIUS, swimmer.LENGTH / 2)
        links = [
            shapes.body(name, shapes.geom("capsule", rod, color, quat=shapes.ALONG_X))
            for name, color in (("torso", shapes.ORANGE), ("mid", shapes.BLUE), ("back", shapes.BLUE))
        ]
        apple, bomb = (shapes.geom("sphere", (0.3,), color) for color in (shapes.GREEN, shapes.RED))
        objects = [shapes.body(f"apple {i}", apple) for i in range(APPLES)]
        objects += [shapes.body(f"bomb {i}", bomb) for i in range(BOMBS)]
        floor = shapes.geom("plane", (), (0.85, 0.9, 0.92, 1.0), (0.0, 0.0, -0.4))
        bodies = [shapes.body("world", floor), *links, *objects]
        return {"bodies": bodies, "camera": shapes.camera(18.0, (0.0, 0.0, 0.0), elevation=-75.0)}

    def scene_poses(self, physics: GatherState) -> Float[Array, "20 7"]:
        """Links where they are; objects that were taken lie under the floor."""
        centres, angles = swimmer.link_centres(physics.links), physics.links[2:5]
        links = jax.vmap(shapes.flat_pose)(centres[:, 0], centres[:, 1], angles)
        objects = jax.vmap(shapes.flat_pose)(*physics.objects.T, jnp.zeros(APPLES + BOMBS, jnp.float32))
        objects = objects.at[:, 2].set(jnp.where(physics.present, 0.0, -100.0))
        return jnp.concatenate((shapes.world_pose()[None], links, objects))


def readings(
    offsets: Float[Array, "objects 2"], present: Bool[Array, "objects"], heading: Float[Array, ""]
) -> Float[Array, "10"]:
    """Intensity in [0, 1] per sector: 1 - distance / 6 of the nearest object present, 0 where there is none."""
    distance = jnp.hypot(offsets[:, 0], offsets[:, 1])
    angle = jnp.arctan2(offsets[:, 1], offsets[:, 0]) - heading
    angle = jnp.mod(angle + jnp.pi, 2 * jnp.pi) - jnp.pi
    seen = present & (distance <= SENSOR_RANGE) & (jnp.abs(angle) <= SENSOR_SPAN / 2)
    sector = jnp.floor((angle + SENSOR_SPAN / 2) / (SENSOR_SPAN / BINS)).astype(jnp.int32)
    sector = jnp.clip(sector, 0, BINS - 1)  # an object exactly abeam to the left
    hits = seen[:, None] & (sector[:, None] == jnp.arange(BINS, dtype=jnp.int32)[None, :])
    intensity = jnp.maximum(1.0 - distance / SENSOR_RANGE, 0.0)
    return jnp.max(jnp.where(hits, intensity[:, None], 0.0), axis=0)
