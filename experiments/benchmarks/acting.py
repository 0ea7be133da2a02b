"""The price of N distinct policies, by the policy step and by the step of a whole task."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from benchmarks import timing
from benchmarks.contenders import CLEAN, FORMED, Act, Contender, Scene, held_shapes, tree_bytes
from benchmarks.options import Acting
from benchmarks.tables import Row, Table
from jaxpsn.core import errors
from jaxpsn.envs import Episodes, EpisodeState, default_episode_length, registry
from jaxpsn.run import cache, startup

_POOL = 64  # distinct start states of a task


def table(options: Acting) -> Table:
    """Rows of every number of members: policy steps, environment steps, and what was left out, with the reason.

    ``ratio`` is to the clean batch, ``vmap_ratio`` to weights formed beforehand (where memory allows them), each
    within its round. "+ redraw" gives every member new noise before every step, "+ redraw 1%" one in a hundred (one
    at least). In environment steps new noise comes where an episode ends; ages are spread, so that some always do.
    """
    cache.enable()  # compiling is not what is timed
    task = None if options.env is None else Task(options.env, options.backend, options.sizes)
    rows = []
    for members in options.members:
        scene = Scene(members, options.sizes, options.groups, options.precision)
        ways, left = choose(scene, options)
        startup.speak(f"{members:,} members: compiling {len(ways)} ways to act")
        key = jax.random.key(0)
        params = scene.params(key)
        contenders = {name: Contender(way, options.steps, key, params) for name, way in ways.items()}
        obs = scene.observations(key)
        timing.together([partial(one.compile, jnp.zeros((members,), bool), obs) for one in contenders.values()])
        calls = _policy_calls(ways, contenders, obs)
        rows += _rows(members, "policy step", calls, options)
        if task is not None and members > options.env_most:
            left["environment step"] = f"more members than env_most = {options.env_most}"
        elif task is not None:
            steppers = {name: task.stepper(one, members, options.steps) for name, one in contenders.items()}
            rows += _rows(members, "environment step", steppers, options)
        rows += [{"name": name, "members": members, "left_out": reason} for name, reason in left.items()]
    return Table(rows, timing.machine())


def choose(scene: Scene, options: Acting) -> tuple[dict[str, Act], dict[str, str]]:
    """The ways to act that fit, and name -> why not of the others."""
    ways, left, most = {}, {}, options.memory_mib * 2**20
    for name, way in scene.ways(tuple(form for form in options.forms if not scene.refusal(form))).items():
        size = tree_bytes(held_shapes(scene, way))
        if size > most:
            left[name] = f"{size:,} bytes, more than memory_mib = {options.memory_mib:g}"
        else:
            ways[name] = way
    left |= {form: reason for form in options.forms if (reason := scene.refusal(form))}
    return ways, left


def _policy_calls(ways: Mapping[str, Act], contenders: Mapping[str, Contender], obs: Float[Array, "n o"]) -> Row:
    members = obs.shape[0]
    nobody, everyone = jnp.zeros((members,), bool), jnp.ones((members,), bool)
    calls: Row = {}
    for name, contender in contenders.items():
        calls[name] = partial(contender.act, nobody, obs)
        if name not in (CLEAN, FORMED):
            draws = ways[name].draws
            few = jnp.repeat(jnp.arange(draws) % 100 == 0, members // draws)
            calls[f"{name} + redraw"] = partial(contender.renew, everyone, obs)
            calls[f"{name} + redraw 1%"] = partial(contender.renew, few, obs)
    return calls


def _rows(members: int, part: str, calls: Row, options: Acting) -> list[Row]:
    names = list(calls)
    seconds = timing.measure(calls, options.rounds, limit=options.seconds) / options.steps
    rows = []
    for index, found in enumerate(timing.compare(names, seconds)):
        row = found._asdict() | {"members": members, "part": part, "rounds": len(seconds)}
        if FORMED in names:
            ratio = timing.ratio(seconds[:, index], seconds[:, names.index(FORMED)])
            row |= {"vmap_ratio": ratio.median, "vmap_ratio_low": ratio.low, "vmap_ratio_high": ratio.high}
        rows.append(row)
    return rows


class Task:
    """A task for policies of these ``sizes``; its start states are made once for any number of copies."""

    def __init__(self, name: str, backend: str | None, sizes: tuple[int, ...]):
        self._env = registry.make(name, **({"backend": backend} if backend else {}))
        self._limit = default_episode_length(name)
        starts = self._episodes(_POOL)
        widths = (starts.observation_size, starts.action_size)
        if widths != (sizes[0], sizes[-1]):
            errors.refuse(
                "sizes", sizes, f"first {widths[0]} and last {widths[1]}, the widths of {name}; or --env None"
            )
        self._reset = jax.jit(starts.reset)
        self._state: EpisodeState | None = None
        self._programs: dict[int, Any] = {}

    def _episodes(self, copies: int) -> Episodes:
        return Episodes(self._env, copies, self._limit, reset="cached", pool_size=_POOL, ours=True)

    def start(self, copies: int) -> EpisodeState:
        """States of ``copies`` environments whose episodes are of all ages."""
        if self._state is None:
            self._state = self._reset(jax.random.key(0))
        chosen = np.arange(copies) % _POOL
        ages = jnp.asarray(np.arange(copies) * self._limit // copies, jnp.int32)
        env = jax.tree.map(lambda leaf: leaf[chosen], self._state.env)
        obs, episode = self._state.obs[chosen], self._state.episode[chosen]
        pool = jax.tree.map(jnp.copy, self._state.pool)  # the states are donated, each to its own stepper
        return EpisodeState(obs, ages, episode, env, jax.random.key(0), pool)

    def stepper(self, contender: Contender, copies: int, steps: int) -> "Stepper":
        """Vector steps of ``copies`` environments in which ``contender`` acts."""
        return Stepper(contender, self._program(copies), self.start(copies), steps)

    def _program(self, copies: int) -> Any:
        if copies not in self._programs:
            episodes = self._episodes(copies)

            def step(state: EpisodeState, action: Float[Array, "n a"]) -> tuple[EpisodeState, Bool[Array, " n"]]:
                after, outcome = episodes.step(state, action)
                return after, outcome.terminated | outcome.truncated

            self._programs[copies] = jax.jit(step, donate_argnums=0, compiler_options=episodes.compiler_options)
        return self._programs[copies]


class Stepper:
    """A task going on; every call makes ``steps`` vector steps.

    Acting and physics are two programs, started one after the other, so that the physics is compiled once for all.
    """

    def __init__(self, contender: Contender, program: Any, state: EpisodeState, steps: int):
        self._contender, self._program, self._state, self._steps = contender, program, state, steps
        self._done = jnp.zeros(state.age.shape, bool)

    def __call__(self) -> Bool[Array, " n"]:
        """Go on; what it returns is ready when all steps are done."""
        for _ in range(self._steps):
            action = self._contender.follow(self._done, self._state.obs)
            self._state, self._done = self._program(self._state, action)
        return self._done
