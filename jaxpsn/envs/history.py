"""An environment that shows its last observations side by side."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxpsn.envs.brax_api import Env, State


class History(Env):
    """``env`` whose observation is its last ``steps`` ones, the newest first: ``[steps O]``.

    Before there are so many in an episode, its first one stands for those that are not there. All else is that of
    ``env``.
    """

    def __init__(self, env: Any, steps: int):
        self.env, self.steps = env, steps

    def __getattr__(self, name: str) -> Any:
        if name in ("env", "steps"):
            raise AttributeError(name)
        return getattr(self.env, name)

    @property
    def observation_size(self) -> int:
        """Numbers of all of them."""
        return self.steps * int(self.env.observation_size)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """That of one observation, after their number."""
        own = getattr(self.env, "observation_shape", None) or (int(self.env.observation_size),)
        return (self.steps, *own)

    @property
    def action_size(self) -> int:
        """That of the environment within."""
        return self.env.action_size

    @property
    def backend(self) -> str:
        """That of the environment within."""
        return self.env.backend

    def reset(self, rng: jax.Array) -> State:
        """A start, seen ``steps`` times."""
        state = self.env.reset(rng)
        return state.replace(obs=jnp.tile(state.obs, self.steps))

    def step(self, state: State, action: jax.Array) -> State:
        """One step, whose observation comes first; the oldest is forgotten."""
        size = state.obs.shape[0] // self.steps
        after = self.env.step(state.replace(obs=state.obs[:size]), action)
        return after.replace(obs=jnp.concatenate([after.obs, state.obs[:-size].astype(after.obs.dtype)]))
