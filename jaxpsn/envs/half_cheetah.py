"""SparseHalfCheetah: Brax's cheetah, rewarded only beyond five metres."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.envs import brax_door
from jaxpsn.envs.brax_api import State

with brax_door.quiet():
    from brax.envs.half_cheetah import Halfcheetah

GEARS = (120.0, 90.0, 60.0, 120.0, 60.0, 30.0)
GOAL = 5.0
_FRAMES = {"generalized": 1, "mjx": 1, "spring": 4, "positional": 4}


class SparseHalfCheetah(Halfcheetah):
    """The sparse half cheetah of VIME and Plappert et al. (2018), on Brax: 20 observations, 6 actions.

    Reward 1 per step while the centre of mass is beyond x = 5 m, else 0; never ends. Observation as VIME's: all
    coordinates but x (8), speeds (9), centre of mass (3). Coordinates start as N(0, 0.01) about the model's own,
    speeds as N(0, 0.1) (standard deviations). rllab's gears 120/90/60/120/60/30. Step 0.01 s, 500 steps (so 5 m
    within 5 s).

    Deviation: Brax's physics, ``backend`` generalized, positional, spring or mjx, instead of MuJoCo 1.3; the backends
    differ a good deal, so name the one you used. Source: openai/vime half_cheetah_env_x, rll/rllab half_cheetah.xml.
    """

    name = "sparse_halfcheetah"
    episode_length = 500

    def __init__(self, backend: str = "spring"):
        frames = _FRAMES[backend]
        with brax_door.loading():
            super().__init__(backend=backend, n_frames=frames)
            self.sys = self.sys.tree_replace({"opt.timestep": jnp.float32(0.01 / frames)})
            self.sys = self.sys.replace(actuator=self.sys.actuator.replace(gear=jnp.array(GEARS, jnp.float32)))

    def reset(self, rng: jax.Array) -> State:
        """The model's pose with a little noise."""
        pose, speed = jax.random.split(rng)
        q = self.sys.init_q + 0.01 * jax.random.normal(pose, (self.sys.q_size(),), jnp.float32)
        qd = 0.1 * jax.random.normal(speed, (self.sys.qd_size(),), jnp.float32)
        physics = self.pipeline_init(q, qd)
        zero = jnp.zeros((), jnp.float32)
        return State(physics, self._get_obs(physics), zero, zero, {}, {})

    def step(self, state: State, action: jax.Array) -> State:
        """One step of 0.01 s."""
        physics = self.pipeline_step(state.pipeline_state, jnp.clip(action, -1.0, 1.0))
        reward = (self.centre_of_mass(physics)[0] > GOAL).astype(jnp.float32)
        return state.replace(pipeline_state=physics, obs=self._get_obs(physics), reward=reward)

    def centre_of_mass(self, physics: Any) -> Float[Array, "3"]:
        """Of the whole cheetah, in metres."""
        masses = jnp.asarray(self.sys.mj_model.body_mass[1:], jnp.float32)
        centres = physics.x.vmap().do(self.sys.link.inertia.transform).pos
        return masses @ centres / jnp.sum(masses)

    def _get_obs(self, pipeline_state: Any) -> Float[Array, "20"]:
        return jnp.concatenate((pipeline_state.q[1:], pipeline_state.qd, self.centre_of_mass(pipeline_state)))
