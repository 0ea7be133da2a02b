"""The programs of a control run: acting, a chunk of vector steps, an evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.compile_options import ACTING, EVALUATION, STEP, Compile
from benchmarks.compiler import counts
from benchmarks.compiler.compiling import Compiled, Compiler, bytes_of
from benchmarks.compiler.counts import Phases
from jaxpsn.control import off_policy
from jaxpsn.control import program as programs
from jaxpsn.control.agents.family import COUNTED
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.exploration.family import EXPLORATION
from jaxpsn.control.placement import Placement
from jaxpsn.core import errors, override, paths_of, spec_of
from jaxpsn.run import chunk
from jaxpsn.run.jobs.control import ControlJob
from jaxpsn.run.program import since

CLEAN = "none"


class Programs:
    """One arm's programs as shapes, as they are after the warm-up; ``calls``: vector steps of a chunk."""

    def __init__(self, compiler: Compiler, job: ControlJob, calls: int):
        self._compiler, self._job, self._calls = compiler, job, calls
        place = Placement(job.mesh, compiler.devices)
        total = -(-job.run.steps // job.control.steps_per_call)
        self.program = since(programs.make(job.control, total, place=place), COUNTED)
        self._seeds = job.run.seeds
        init = chunk.make_init(self.program, self._seeds)
        self._keys = jax.eval_shape(lambda: chunk.seed_keys(0, self._seeds))
        self.state = jax.eval_shape(init, self._keys)
        self._layout = chunk.layout(self.program, self._seeds)
        self._whole = None if place.mesh is None else NamedSharding(place.mesh, PartitionSpec())

    def _compile(self, name: str, function: Callable[..., Any], given: Any, ins: Any, outs: Any = None, **more: Any):
        ins = None if self._layout is None else ins
        fields = ", ".join(dict.fromkeys(self.program.lower.values()))
        return self._compiler.compile(name, function, given, ins, outs, fields, **more)

    def chunk(self) -> tuple[Compiled, Phases]:
        """A chunk, and one vector step of it by phase."""
        made = chunk.make_chunk(self.program, self._seeds, self._calls)
        outs = (self._layout, self._whole)
        found = self._compile("a chunk", made, (self.state,), (self._layout,), outs, donate_argnums=0)
        step = counts.count(found.text, off_policy.SCOPES).loop(self._calls)
        return found, counts.count(found.text, off_policy.SCOPES).entry() if step is None else step

    def acting(self) -> tuple[Compiled, Phases]:
        """Acting alone: observations to actions, what is held given up to what is held next."""

        def act(key: Any, actor: Any, explore: Any, obs: Any) -> Any:
            return self.program.explorer.act(key, actor, explore, obs)

        state, key = self.state, jax.eval_shape(lambda: jax.random.key(0))
        given = key, state.learner.actor, state.explore, state.envs.obs
        layout = self._layout
        ins = None if layout is None else (self._whole, layout.learner.actor, layout.explore, layout.envs.obs)
        found = self._compile("acting", act, given, ins, donate_argnums=2)
        return found, counts.count(found.text).entry()

    def evaluation(self) -> tuple[Compiled, Phases]:
        """Whole episodes of the clean policy."""
        made = chunk.make_evaluate(self.program, self._seeds)
        given, ins = (self._keys, self.state), (self._whole, self._layout)
        found = self._compile("an evaluation", made, given, ins, self._whole)
        return found, counts.count(found.text).entry()


def arms(config: ControlConfig, against: Sequence[str], structures: Sequence[str], clean: bool) -> dict[str, Any]:
    """The explorations that are compiled: none if ``clean``, the one that was asked for, others, and its structures."""
    found = {spec_of(explore): explore for explore in map(EXPLORATION.make, (*clean * (CLEAN,), *against))}
    found.setdefault(spec_of(config.explore), config.explore)
    weights = config.explore if "structure" in paths_of(config.explore) else EXPLORATION.make("parameter")
    for name in structures:
        found[name] = override(weights, {"structure": name})
    return found


def compile_all(compiler: Compiler, options: Compile) -> None:
    """Rows of everything."""
    job, structures, calls = options.job(), options.structures, options.calls
    found = arms(job.control, options.against, structures, options.clean)
    for name, explore in found.items():
        try:
            config = replace(job.control, explore=explore)
            made = Programs(compiler, replace(job, control=config), calls)
        except errors.UserError as error:  # an agent that cannot be without noise
            if name != CLEAN:
                raise
            compiler.rows.append({"arm": name, "left_out": str(error)})
            continue
        if ACTING in options.chosen and job.run.seeds == 1:
            compiler.add("acting", name, *made.acting())
        if name in structures:
            continue
        if STEP in options.chosen:
            step, phases = made.chunk()
            more = bound(compiler, replace(job, control=config), made, step) if options.bound else {}
            compiler.add("vector step", name, step, phases, environment_steps=config.steps_per_call, **more)
        if EVALUATION in options.chosen and name == next(iter(found)):  # the clean policy's, whatever the noise
            compiler.add("evaluation", CLEAN, *made.evaluation())
        if options.largest and name != CLEAN:
            fits(compiler, replace(job, control=config), calls, name)


def bound(compiler: Compiler, job: ControlJob, programs: Programs, made: Compiled) -> dict[str, Any]:
    """How many environments fit a device if temporaries grow as they do: the state by its shapes, nothing compiled.

    Part of the temporaries is an update's, which does not grow, so that more than this may fit. Replay has the size
    that the config names, and needs a row of every environment.
    """
    env = job.control.env
    twice = replace(job, control=replace(job.control, env=replace(env, num_envs=2 * env.num_envs)))
    state = bytes_of(programs.state)
    each = (bytes_of(Programs(compiler, twice, 2).state) - state) / env.num_envs
    grows = max(each + (made.needed - made.arguments) / env.num_envs, 1.0)
    most = int((compiler.target.memory - (state - env.num_envs * each)) / grows)
    most = min(most, getattr(job.control.agent, "replay_capacity", most))
    return {"num_envs": env.num_envs, "largest_num_envs": max(most, 0), "bytes_an_environment": grows}


def fits(compiler: Compiler, job: ControlJob, calls: int, name: str) -> None:
    """A row of the largest number of environments that fits: a line through two sizes, looked at where it ends."""

    def needed(count: int) -> int:
        env = replace(job.control.env, num_envs=count)
        return Programs(compiler, replace(job, control=replace(job.control, env=env)), calls).chunk()[0].needed

    count = job.control.env.num_envs
    one, two = needed(count), needed(2 * count)
    each = max((two - one) / count, 1)
    most = int(count + (compiler.target.memory - one) / each)
    most = max(min(most // count * count, getattr(job.control.agent, "replay_capacity", most)), 0)
    row = {"program": "vector step", "arm": name, "phase": "largest num_envs", "num_envs": most}
    while most >= count and (row := row | {"num_envs": most, "needed_bytes": needed(most)}):
        if row["needed_bytes"] <= compiler.target.memory:
            break
        most = int(most * 0.9) // count * count
    compiler.rows.append(row | {"bytes_an_environment": each, "fits": most >= count})
