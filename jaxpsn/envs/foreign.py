"""Environments of gymnax's interface or pgx's as a `brax.envs.Env`, known by what they have; neither is imported."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.core import errors
from jaxpsn.envs import brax_door
from jaxpsn.envs.brax_api import Env, State
from jaxpsn.envs.spaces import ActionSpace, Box, Discrete

_GYMNAX = ("default_params", "reset", "step", "action_space", "observation_space")
_PGX = ("init", "step", "num_actions", "num_players", "observation_shape")
_FOREVER = 1 << 30
"""Steps of an episode that ends by itself only."""


@struct.dataclass
class ForeignState:
    """The state of the environment within, and the key of its next step."""

    inner: Any
    key: Any  # raw key, as Brax hands them


class Foreign(Env):
    """What both have in common: an observation of any shape is flattened, ``observation_shape`` keeps it."""

    dt = 0.1
    """Seconds that a step is shown for; these tasks have no clock."""

    def __init__(self, env: Any, space: ActionSpace, name: str = ""):
        self.inner, self.action_space = env, space
        self.name = name or type(env).__name__
        with brax_door.tracing():
            told = jax.eval_shape(lambda key: self.begin(key)[0], jax.eval_shape(jax.random.PRNGKey, 0))
        if not hasattr(told, "shape"):
            errors.refuse("env", self.name, f"an observation that is one array; this is a {type(told).__name__}")
        self.observation_shape: tuple[int, ...] = told.shape
        """Of the environment's own observation, such as (10, 10, 4)."""

    @property
    def observation_size(self) -> int:
        """Length of the flattened observation."""
        return math.prod(self.observation_shape)

    @property
    def action_size(self) -> int:
        """Length of an action, or the number of choices."""
        return self.action_space.size

    @property
    def backend(self) -> str:
        """Whose rules they are."""
        return type(self.inner).__module__.partition(".")[0]

    def begin(self, key: jax.Array) -> tuple[Any, Any]:
        """Observation and state of the environment within at a start."""
        raise NotImplementedError

    def follow(self, key: jax.Array, inner: Any, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        """Observation, state, reward and true termination after a step."""
        raise NotImplementedError

    def reset(self, rng: jax.Array) -> State:
        """The start that ``rng`` draws."""
        own, key = jax.random.split(rng)
        obs, inner = self.begin(own)
        zero = jnp.zeros((), jnp.float32)
        return State(ForeignState(inner, key), _flat(obs), zero, zero, {}, {})

    def step(self, state: State, action: jax.Array) -> State:
        """One step; never a reset."""
        own, key = jax.random.split(state.pipeline_state.key)
        obs, inner, reward, done = self.follow(own, state.pipeline_state.inner, action)
        return state.replace(
            pipeline_state=ForeignState(inner, key),
            obs=_flat(obs),
            reward=jnp.asarray(reward).astype(jnp.float32).reshape(()),
            done=jnp.asarray(done).astype(jnp.float32).reshape(()),
        )


class Gymnax(Foreign):
    """An environment of gymnax's interface, before 1.0 and since; ``params`` of its own in place of the default ones.

    What terminates is told apart from what is cut off: its own time limit (``params.max_steps_in_episode``) is put out
    of reach, as ``env.episode_length`` is the one that counts. Where it has ``step_env`` that is stepped, which does
    not reset by itself; else its ``step`` must give six values and ``info["final_observation"]``, and
    ``env.episode_length`` must not be longer than its own limit. Continuous actions are scaled from [-1, 1] to its
    bounds. Raises UserError for wrappers, of which the environment within is wanted, and for other spaces of actions.
    """

    def __init__(self, env: Any, params: Any = None, name: str = ""):
        told = name or type(env).__name__
        if hasattr(env, "_env"):
            errors.refuse("env", told, "the environment within it (env._env), as observations are flattened here")
        params = env.default_params if params is None else params
        if hasattr(params, "max_steps_in_episode"):
            params = params.replace(max_steps_in_episode=_FOREVER)
        self.params, own = params, env.action_space(params)
        self._scale = None if hasattr(own, "n") else _bounds(told, own)
        space = Discrete(int(own.n)) if self._scale is None else Box(self._scale[0].size)
        super().__init__(env, space, name)

    def begin(self, key: jax.Array) -> tuple[Any, Any]:
        return getattr(self.inner, "reset_env", self.inner.reset)(key, self.params)

    def follow(self, key: jax.Array, inner: Any, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        if self._scale is not None:
            low, high = self._scale
            part = 0.5 * (jnp.clip(action, -1.0, 1.0) + 1.0)
            action = (low.reshape(-1) + part * (high - low).reshape(-1)).reshape(low.shape)
        given = getattr(self.inner, "step_env", self.inner.step)(key, inner, action, self.params)
        obs, inner, reward, terminated, info = *given[:4], given[-1]
        if not hasattr(self.inner, "step_env"):
            if "final_observation" not in info:
                errors.refuse("env", self.name, 'one with step_env, or with info["final_observation"]')
            obs = info["final_observation"]
        return obs, inner, reward, terminated


class Pgx(Foreign):
    """An environment of pgx's interface for one player; an illegal action ends an episode as pgx has it.

    Raises UserError for games of several players.
    """

    def __init__(self, env: Any, name: str = ""):
        if env.num_players != 1:
            errors.refuse("env", name or type(env).__name__, f"a game of one player; this has {env.num_players}")
        super().__init__(env, Discrete(int(env.num_actions)), name)

    def begin(self, key: jax.Array) -> tuple[Any, Any]:
        inner = self.inner.init(key)
        return inner.observation, inner

    def follow(self, key: jax.Array, inner: Any, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        inner = self.inner.step(inner, action, key)
        return inner.observation, inner, inner.rewards[0], inner.terminated


def adapted(env: Any) -> Any:
    """An environment of gymnax's interface, or of pgx's, behind Brax's; any other is what it is."""
    if isinstance(env, type):
        return env
    if all(hasattr(env, part) for part in _GYMNAX):
        return Gymnax(env)
    return Pgx(env) if all(hasattr(env, part) for part in _PGX) else env


def _flat(obs: Any) -> Float[Array, "o"]:
    return obs.astype(jnp.float32).reshape(-1)


def _bounds(name: str, space: Any) -> tuple[jax.Array, jax.Array]:
    """The least and greatest action of a box, of the shape of an action."""
    try:
        low, high = (jnp.broadcast_to(jnp.asarray(end, jnp.float32), space.shape) for end in (space.low, space.high))
    except AttributeError:
        errors.refuse("env", name, f"actions that are discrete or a box; these are {type(space).__name__}")
    if not bool(jnp.isfinite(high - low).all()):
        errors.refuse("env", name, "actions between finite bounds")
    return low, high
