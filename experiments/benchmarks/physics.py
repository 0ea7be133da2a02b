"""The price of Brax's physics, as Brax lays it out and in lanes."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from benchmarks import timing
from benchmarks.scale_options import Physics
from benchmarks.tables import Row, Table
from jaxpsn import envs
from jaxpsn.core import errors, platforms
from jaxpsn.envs import lanes
from jaxpsn.run import startup


class Steps:
    """``count`` steps of ``copies`` of ``env`` under the same actions, episode ends ignored; compiled at once."""

    def __init__(self, env: Any, copies: int, count: int):
        def run(state: Any) -> Any:
            return lax.scan(lambda now, _: (jax.vmap(step)(now, actions), None), state, None, length=count)[0]

        step = functools.partial(envs.step_one, env)
        keys = jax.random.split(jax.random.key(0), copies)
        actions = jax.random.uniform(jax.random.key(1), (copies, env.action_size), minval=-1.0, maxval=1.0)
        self._state = jax.jit(jax.vmap(functools.partial(envs.reset_one, env)))(keys)
        begun = time.perf_counter()
        self._run = jax.jit(run).lower(self._state).compile(lanes.compiler_options(env, platforms.of()))
        self.compiling = time.perf_counter() - begun

    def __call__(self) -> Array:
        """From the start again, so that every call does the same."""
        return jnp.max(jnp.abs(self._run(self._state).obs))


def table(options: Physics) -> Table:
    """Two rows for every task and number of environments; ``ratio`` is to Brax's own layout.

    ``seconds`` are of one environment step of all copies, ``compiling`` those of tracing and compiling it.
    """
    made = {task: envs.make(task, options.backend) for task in options.tasks}
    for task, env in made.items():
        if not lanes.fits(env):
            errors.refuse("tasks", task, "environments of Brax")
    return Table(
        [row for task, env in made.items() for copies in options.num_envs for row in _rows(task, env, copies, options)],
        timing.machine(),
    )


def _rows(task: str, env: Any, copies: int, options: Physics) -> list[Row]:
    startup.speak(f"compiling {task}, {copies:,} environments")
    ways = {"Brax": Steps(env, copies, options.steps), "lanes": Steps(lanes.in_lanes(env), copies, options.steps)}
    seconds = timing.measure(ways, options.rounds, limit=options.seconds) / options.steps
    shared = {"task": task, "backend": options.backend, "num_envs": copies, "rounds": len(seconds)}
    return [
        found._asdict()
        | {"name": f"{task}, {copies:,}: {found.name}"}
        | shared
        | {"compiling": ways[found.name].compiling}
        for found in timing.compare(list(ways), seconds)
    ]
