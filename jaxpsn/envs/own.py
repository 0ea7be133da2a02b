"""What our own environments share: the Brax interface, a Runge-Kutta step, and clipped actions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.envs.brax_api import Env, State
from jaxpsn.envs.spaces import ActionSpace, Box, Discrete


class OwnEnv(Env):
    """A `brax.envs.Env` in pure JAX: subclasses give sizes, ``dt`` and a default time limit, ``reset`` and ``step``.

    Actions are in [-1, 1] and clipped to it, or one of ``choices``; ``done`` is true termination only. Methods written
    for one environment: batch them with ``jax.vmap``, or better with :class:`jaxpsn.envs.Episodes`.
    """

    name: str
    dt: float
    episode_length: int
    observation_dim: int
    action_dim: int = 1
    choices: int | None = None
    """Number of discrete actions; None where they are vectors of ``action_dim`` numbers."""

    @property
    def observation_size(self) -> int:
        """Length of the observation."""
        return self.observation_dim

    @property
    def action_size(self) -> int:
        """Length of the action, or the number of choices."""
        return self.action_space.size

    @property
    def action_space(self) -> ActionSpace:
        """What actions are."""
        return Box(self.action_dim) if self.choices is None else Discrete(self.choices)

    @property
    def backend(self) -> str:
        """Our own equations rather than one of Brax's pipelines."""
        return "jaxpsn"

    def observe(self, physics: Any) -> Float[Array, "obs"]:
        """The observation of a physics state."""
        raise NotImplementedError

    def begin(self, physics: Any) -> State:
        """The state of an episode that starts at ``physics``."""
        zero = jnp.zeros((), jnp.float32)
        return State(physics, self.observe(physics), zero, zero, {}, {})

    def advance(self, state: State, physics: Any, reward: Any, done: Any) -> State:
        """The state after a step: reward and termination as float32."""
        return state.replace(
            pipeline_state=physics,
            obs=self.observe(physics),
            reward=jnp.asarray(reward, jnp.float32),
            done=jnp.asarray(done, jnp.float32),
        )


def clipped(action: Float[Array, "act"]) -> Float[Array, "act"]:
    """The action inside [-1, 1]; NaN stays NaN."""
    return jnp.clip(action.astype(jnp.float32), -1.0, 1.0)


def runge_kutta(
    derivative: Callable[[Float[Array, "state"]], Float[Array, "state"]],
    state: Float[Array, "state"],
    dt: float,
    substeps: int,
    limit: Callable[[Float[Array, "state"]], Float[Array, "state"]] = lambda state: state,
) -> Float[Array, "state"]:
    """``substeps`` classical fourth-order steps that together last ``dt`` seconds; ``limit`` is applied after each."""
    h = dt / substeps

    def substep(state, _):
        k1 = derivative(state)
        k2 = derivative(state + 0.5 * h * k1)
        k3 = derivative(state + 0.5 * h * k2)
        k4 = derivative(state + h * k3)
        return limit(state + (h / 6.0) * (k1 + 2.0 * k2 + 2.0 * k3 + k4)), None

    return jax.lax.scan(substep, state, None, length=substeps)[0]
