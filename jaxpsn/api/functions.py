"""``jaxpsn.make``: a control experiment as two pure functions, to be jitted, vmapped and scanned as one likes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxpsn.api import settings
from jaxpsn.control import program as programs
from jaxpsn.control.placement import ONE_DEVICE, Placement
from jaxpsn.core import checks
from jaxpsn.envs import registry
from jaxpsn.run import chunk, sweep
from jaxpsn.run.jobs import control

Metrics = dict[str, jax.Array]


@dataclass(frozen=True, eq=False)
class Init:
    """``init(key, hyper={}) -> state``: the state of one run before its first step.

    ``hyper``: traced values in place of the config's, by path or its end, numbers or arrays [], such as
    ``{"explore.sigma": 0.3}`` or ``{"sigma": 0.3}``; :attr:`hyper` lists them. Pure: jit it, and vmap it over keys, or
    over keys and ``hyper``, with :attr:`axes`.
    """

    program: Any

    @property
    def axes(self) -> Any:
        """``jax.vmap`` axes of a state over runs: None for the clock, which is one for all, 0 elsewhere."""
        return _axes(self.program)

    @property
    def hyper(self) -> dict[str, float]:
        """The traced hyper-parameters and what the config says of them."""
        return {path: float(value) for path, value in self.program.hyper.items()}

    def __call__(self, key: jax.Array, hyper: Mapping[str, Any] | None = None) -> Any:
        """The first state; ``key``: a typed key, as ``jax.random.key(0)``, which is seed 0 of :func:`jaxpsn.train`."""
        own = self.program.hyper
        given = {sweep.named(own, name, "hyper"): jnp.asarray(v, jnp.float32) for name, v in (hyper or {}).items()}
        return chunk.strip_weak_types(self.program.init(key, own | given))


@dataclass(frozen=True, eq=False)
class Step:
    """``step(state) -> (state, metrics)``: one step of all environments and the learning that follows it.

    Every metric is a float32 scalar, NaN where the step has none. Pure: jit it, scan it, and vmap it over runs. Their
    clock is one for all, so that steps without an update cost nothing, and is told apart by :attr:`axes`::

        states = jax.vmap(init, out_axes=init.axes)(keys)
        states, metrics = jax.vmap(step, in_axes=(step.axes,), out_axes=(step.axes, 0))(states)
    """

    program: Any

    @property
    def axes(self) -> Any:
        """As of :class:`Init`."""
        return _axes(self.program)

    @property
    def environment_steps(self) -> int:
        """Environment steps of one call."""
        return self.program.steps_per_call

    def __call__(self, state: Any) -> tuple[Any, Metrics]:
        """The next state and what was measured."""
        state, metrics = self.program.step(state)
        return chunk.strip_weak_types(state), {name: _mean(value) for name, value in metrics.items()}

    def evaluate(self, key: jax.Array, state: Any) -> Metrics:
        """Episodes of the clean policy, as many as ``eval_envs`` says: ``eval_return`` and more."""
        return self.program.evaluate(key, state)


class Functions(NamedTuple):
    """What :func:`make` returns."""

    init: Init
    step: Step


def make(
    env: Any = None, agent: Any = None, explore: Any = None, *, preset: str = "default", steps: int | None = None,
    **fields: Any,
) -> Functions:  # fmt: skip
    """The experiment that :func:`jaxpsn.train` would run, as pure functions ``init, step``; compiles nothing.

    Arguments as there. ``steps``: environment steps of the run, for what is annealed over it. On a CPU with JAX before
    0.11 physics is in Brax's own layout, of other last bits than in :func:`jaxpsn.train` and about half as fast: the
    other one wants an option of XLA for the whole program, and whoever jits these functions compiles it. Raises
    :class:`jaxpsn.UserError`.
    """
    made = program(env, agent, explore, preset, steps, fields, ONE_DEVICE)
    return Functions(Init(made), Step(made))


def program(
    env: Any, agent: Any, explore: Any, preset: str, steps: int | None, fields: Mapping[str, Any], place: Placement
) -> Any:
    """What :func:`make` is made of; arguments as there, ``place`` as of :func:`jaxpsn.control.program.make`."""
    base = settings.preset(control.PRESETS, preset)
    config = settings.control_config(base.control, env, agent, explore, fields)
    if steps is not None:
        checks.whole("steps", steps, 1, 1 << 50)
    own = None if env is None or isinstance(env, str) else env
    if own is None:
        registry.check(config.env.name, config.env.backend)
    return programs.make(config, -(-(steps or base.run.steps) // config.steps_per_call), own, place)


def _axes(program: Any) -> Any:
    return program.axes(jax.eval_shape(program.init, jax.random.key(0), program.hyper))


def _mean(value: Any) -> jax.Array:
    """A metric as a number: of a pair (total, count) the mean, NaN where nothing was counted."""
    if not isinstance(value, tuple):
        return jnp.asarray(value).astype(jnp.float32)
    total, count = (jnp.asarray(part).astype(jnp.float32) for part in value)
    return jnp.where(count > 0, total / jnp.maximum(count, 1.0), jnp.nan)
