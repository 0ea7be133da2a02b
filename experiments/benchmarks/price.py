"""What weight noise adds to a training step of each agent: products and bytes of compiled programs, and seconds."""

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import tables, timing
from benchmarks.compiler import counts
from benchmarks.compiler.compiling import UNRUN
from benchmarks.compiler.counts import Counts, Phases
from benchmarks.scale_options import Price
from benchmarks.tables import Row, Table
from benchmarks.training import Chunk
from jaxpsn import envs
from jaxpsn.control import off_policy, program
from jaxpsn.control.agents import OffPolicy
from jaxpsn.control.agents.family import COUNTED
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.placement import Placement
from jaxpsn.control.schedule import Schedule
from jaxpsn.core import platforms, spec_of
from jaxpsn.envs import registry
from jaxpsn.envs.brax_api import Env, State
from jaxpsn.run import cache, startup

_PHYSICS = "physics"
_COUNTED = ("flops", "bytes")


class Still(Env):
    """A task of the sizes of another, of next to no work: physics is not what is counted, and takes long to compile."""

    observation_size = action_size = 0
    backend, dt = "none", 1.0

    def __init__(self, like: Any):
        self.observation_size, self.action_size = like.observation_size, like.action_size
        self.action_space = envs.space_of(like)

    def reset(self, rng: Any) -> State:
        """Some observation."""
        return State(None, jax.random.uniform(rng, (self.observation_size,)), jnp.float32(0), jnp.float32(0))

    def step(self, state: State, action: Any) -> State:
        """One that depends on the action."""
        push = jnp.mean(action.astype(jnp.float32))
        return state.replace(obs=0.5 * state.obs + push, reward=push, done=(push > 2).astype(jnp.float32))


class Elsewhere(Placement):
    """One accelerator: its programs have no branches whose answer is known after the warm-up."""

    platform = platforms.CUDA  # type: ignore[assignment]


def run(options: Price) -> None:
    """Compile, count, time, print and write what is not there yet; the table is written after every preset."""
    cache.enable()  # compiling is not what is timed
    rows, found = _kept(options)
    for name, (noisy, clean) in options.pairs().items():
        if any(row["name"] == name for row in rows):
            continue
        startup.speak(f"{name}: compiling its step with and without noise")
        with_noise, without = of_step(noisy), of_step(clean)
        row = {"name": name, "agent": spec_of(noisy.agent).partition("(")[0], "explore": spec_of(noisy.explore),
               "without": spec_of(clean.explore)}  # fmt: skip
        for one in _COUNTED:
            ours, theirs = (getattr(counts.total(each), one) for each in (with_noise, without))
            row |= {one: ours, f"{one}_without": theirs, f"{one}_ratio": ours / theirs}
        rows.append(row)
        found[name] = {"with": _plain(with_noise), "without": _plain(without)}
        row |= timed(noisy, clean, options.rounds, options.calls) if options.rounds else {}
        told = (f"{one.removesuffix('_ratio')} {row[one]:.3f}x" for one in row if one.endswith("_ratio"))
        print(f"{name:14} " + ", ".join(told), flush=True)
        tables.write(options, Table(rows, timing.machine(), {"phases": found}))


def _kept(options: Price) -> tuple[list[Row], dict[str, Any]]:
    """Rows, and counts by phase, of earlier calls on this machine; what is asked for needs as many rounds at least."""
    told = tables.there(options)
    if told.get("machine") != timing.machine() or told["options"].get("calls") != options.calls:
        return [], {}
    asked = options.pairs()
    rows = [row for row in told["rows"] if row["name"] not in asked or row.get("rounds", 0) >= options.rounds]
    return rows, {row["name"]: told["phases"][row["name"]] for row in rows}


def _plain(phases: Phases) -> dict[str, dict[str, float]]:
    return {name: {one: getattr(each, one) for one in _COUNTED} for name, each in phases.items()}


def of_step(config: ControlConfig) -> Phases:
    """Counts of a vector step after the warm-up, all but physics, the mean over steps.

    What happens once in several steps, a round of learning, a scale update, a redraw of all, counts by its share. A
    redraw where episodes end counts in full, as if one always ended.
    """
    config, still = without_physics(config)
    made = program.make(config, COUNTED // config.steps_per_call, env=still, place=Elsewhere()).since(COUNTED)
    state = jax.eval_shape(partial(made.init, hyper=made.hyper), jax.random.key(0))
    compiled = jax.jit(made.step, donate_argnums=0).lower(state).compile(UNRUN)
    return per_step(counts.count(compiled.as_text(), off_policy.SCOPES).entry(), shares(made))


def without_physics(config: ControlConfig) -> tuple[ControlConfig, Still]:
    """The same on a task of its sizes and time limit that costs next to nothing, and that task."""
    task = config.env
    limit = task.episode_length or registry.default_episode_length(task.name)
    still = Still(envs.make(task.name, **({"backend": task.backend} if task.backend else {})))
    return replace(config, env=replace(task, episode_length=limit)), still


def timed(noisy: ControlConfig, clean: ControlConfig, rounds: int, calls: int) -> Row:
    """Processor seconds of all threads of a chunk with noise, over those of one without of the same round.

    Whole programs as they are trained, but for physics and the warm-up: learning begins at once.
    """
    steps, chunks = whole(Schedule.from_config(noisy), calls), {}
    for name, config in (("with", noisy), ("without", clean)):
        if isinstance(config.agent, OffPolicy):
            config = replace(config, agent=replace(config.agent, warmup=0))
        config, still = without_physics(config)
        chunks[name] = Chunk(config, steps, still)
    timing.together([chunk.compile for chunk in chunks.values()])
    seconds = timing.measure(chunks, rounds, clock=time.process_time)
    told = timing.ratio(*seconds.T)
    return {"calls": steps, "seconds": float(np.median(seconds[:, 0])), "seconds_ratio": told.median,
            "seconds_ratio_low": told.low, "seconds_ratio_high": told.high, "rounds": rounds}  # fmt: skip


def whole(schedule: Schedule, calls: int) -> int:
    """At least ``calls`` vector steps in which rounds of learning and scale updates come as often as ever."""
    period = math.lcm(schedule.learn_every, schedule.adapt_every)
    return -(-calls // period) * period


def shares(made: Any) -> dict[str, float]:
    """How often what a phase names happens in a vector step."""
    learns, adapts = 1 / made.schedule.learn_every, 1 / made.schedule.adapt_every
    by_rollout = getattr(made.config.agent, "redraw", None) == "rollout"
    return {"learn": learns, "adapt": adapts} | ({"begin": learns} if by_rollout else {})


def per_step(phases: Phases, often: dict[str, float]) -> Phases:
    """``phases`` of a step in which all happens, each as ``often`` as it does, without physics."""
    found: Phases = {}
    for name, each in phases.items():
        if name != _PHYSICS:
            found.setdefault(name, Counts()).add(each, often.get(name, 1.0))
    return found
