"""MuJoCo Playground's dm_control tasks behind Brax's interface, on MJX's JAX implementation."""

import importlib
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp

from jaxpsn.core import errors
from jaxpsn.envs import brax_door
from jaxpsn.envs.brax_api import Env, State

_OURS = {
    "impl": "always jax here",
    "vision": "pixels are not supported",
    "action_repeat": "set env.action_repeat instead",
    "episode_length": "set env.episode_length instead",
}


class PlaygroundEnv(Env):
    """A Playground task as a `brax.envs.Env`; its ``pipeline_state`` is MJX's ``Data``.

    In these tasks nothing ends an episode but its time limit: Playground's ``done`` only says that the physics turned
    NaN, so it is dropped here, and the NaN stays to be seen.
    """

    episode_length = 1000

    def __init__(self, task: str, overrides: dict[str, Any]):
        self.name = f"playground/{task}"
        module = _playground()
        with brax_door.loading():
            self.task = module.registry.load(task, config_overrides={"impl": "jax", **overrides})
        self._state = module.State

    def reset(self, rng: jax.Array) -> State:
        """The task's own random start."""
        inner = self.task.reset(rng)
        zero = jnp.zeros((), jnp.float32)
        return State(inner.data, inner.obs, zero, zero, inner.metrics, inner.info)

    def step(self, state: State, action: jax.Array) -> State:
        """One control step."""
        inner = self._state(state.pipeline_state, state.obs, state.reward, state.done, state.metrics, state.info)
        inner = self.task.step(inner, action)
        return state.replace(
            pipeline_state=inner.data, obs=inner.obs, reward=inner.reward, metrics=inner.metrics, info=inner.info
        )

    @property
    def dt(self) -> float:
        """Seconds per step."""
        return self.task.dt

    @property
    def observation_size(self) -> int:
        """Length of the observation."""
        return self.task.observation_size

    @property
    def action_size(self) -> int:
        """Length of the action."""
        return self.task.action_size

    @property
    def backend(self) -> str:
        """MJX."""
        return "mjx"


def make(task: str, **options: Any) -> PlaygroundEnv:
    """The dm_control task ``task``; ``options`` override its Playground config.

    Raises UserError if Playground is not installed, for unknown options, and for those that would change how it is run.
    """
    known = set(_playground().registry.get_default_config(task)) - set(_OURS) - {"vision_config"}
    for option, value in options.items():
        if option in _OURS:
            errors.refuse(f"env.{option}", value, _OURS[option])
        if option not in known:
            errors.refuse(f"env.{option}", value, f"{task} has no such option; {errors.nearest(option, known)}")
    try:
        return PlaygroundEnv(task, options)
    except (TypeError, ValueError) as error:
        raise errors.UserError(f"env.name = 'playground/{task}': refused its options {options}: {error}") from error


def refuse_other(name: str) -> None:
    """Say why a Playground task outside dm_control does not run; return if there is none of that name."""
    if importlib.util.find_spec("mujoco_playground") is None:
        return
    module = _playground()
    for suite in ("locomotion", "manipulation"):
        for task in getattr(module, suite).ALL_ENVS:
            if task.lower() == name.split("/")[-1].replace("_", "").lower():
                reason = f"a Playground {suite} task, which downloads its models when it is made; dm_control tasks only"
                errors.refuse("env.name", name, reason)


def _playground() -> Any:
    if importlib.util.find_spec("mujoco_playground") is None:
        raise errors.UserError(
            "env.name = 'playground/...': MuJoCo Playground is not installed; install the extra: jaxpsn[playground]"
        )
    with brax_door.quiet():
        return importlib.import_module("mujoco_playground")
