"""Evolution in the control loop: generations of perturbed policies, each judged by whole episodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control import agents, off_policy, statistics
from jaxpsn.control.agents.learner import once
from jaxpsn.control.state import ProgramState
from jaxpsn.control.types import Hyper, of_agent
from jaxpsn.core import compat

# Purposes folded into the key of a step.
_ACT, _BEGIN, _ADAPT = range(3)

_EVOLVED = ("fitness", "fitness_best", "update_norm")

Metrics = off_policy.Metrics


@struct.dataclass
class Generation:
    """The members that are being judged."""

    running: Any  # [N] bool, the environment's one episode of this generation has not ended
    fitness: Any  # [N] float32, rewards of that episode so far
    gathered: Any  # Statistics of all observations so far; those in use are as the generation found them


@dataclass(frozen=True, eq=False)
class Evolution(off_policy.Program):
    """An evolution strategy on the task, networks, noise and evaluation of the gradient learners.

    A member plays one whole episode in each of its environments (``groups`` of the exploration gives it several). An
    environment that has ended its episode waits at the start of the next until all have, and its steps still count as
    made: the number of environment steps is that of a learner with as many environments. Then the actor moves, and all
    perturbations are drawn anew. Nothing is random but the noise and the starts: no warm-up, no replay.
    """

    agent: agents.Evolver

    ahead: ClassVar[None] = None
    """Noise is measured between generations, not at every step."""

    def init(self, key: PRNGKeyArray, hyper: Hyper, starts: Sequence[Array] | None = None) -> ProgramState:
        """The state of one seed before its first step."""
        state = super().init(key, hyper, starts)
        zeros = jnp.zeros((self.config.env.num_envs,), jnp.float32)
        first = Generation(jnp.ones_like(zeros, bool), zeros, statistics.init(self.episodes.observation_size))
        return state.replace(generation=first)

    def step(self, state: ProgramState) -> tuple[ProgramState, Metrics]:
        """One vector step of all environments, and the next generation where this one is complete."""
        key, before = jax.random.fold_in(state.key, state.clock), state
        running = state.generation.running
        obs = self.normalise(state.statistics, state.envs.obs)
        action, explore = self.explorer.act(jax.random.fold_in(key, _ACT), state.learner.actor, state.explore, obs)
        after, outcome = self.episodes.step(state.envs, action)
        outcome = _of_running(running, outcome, state.envs.obs)
        done = outcome.terminated | outcome.truncated
        tally, metrics = off_policy.count_episodes(state.tally, outcome.reward, done, self.config.env.action_repeat)
        left = running & ~done
        state = state.replace(
            clock=state.clock + 1,
            envs=_waiting(running, after, state.envs),
            explore=explore,
            tally=jax.tree.map(lambda leaf: jnp.where(left, leaf, jnp.zeros_like(leaf)), tally),
            generation=Generation(
                left,
                state.generation.fitness + outcome.reward,
                self._gather(state.generation.gathered, state.envs.obs, running),
            ),
        )
        state, evolved = self._evolve(key, state, obs)
        metrics |= evolved | self.explorer.report(state.explore)
        played = jnp.sum(running, dtype=jnp.float32)
        metrics["reward"] = (jnp.sum(outcome.reward), played)
        metrics["waiting"] = 1.0 - played / running.shape[0]
        metrics |= self.episodes.space.report(action)
        if self.config.diagnose:
            seen, found = self._diagnose(before, action, outcome, state.clock)
            state, metrics = state.replace(diagnosis=seen), metrics | found
        return state, metrics

    def _replay(self, obs: Float[Array, "n o"]) -> Any:
        return None

    @property
    def lower(self) -> dict[str | None, str]:
        """Fields of the config that make parts of the state smaller, as of the program of replay."""
        return {"learner": self.config.agent.widths, None: "env.num_envs"}

    def watch(self, state: ProgramState, metrics: Metrics) -> dict[str, Any]:
        """What must stay finite, by the name that an error message gives it."""
        return {
            "actor": state.learner.actor,
            "optimiser": state.learner.actor_optimizer,
            "fitness": state.generation.fitness,
            "observation statistics": state.generation.gathered,
            "sigma": metrics["sigma"],
        }

    def _gather(
        self, gathered: statistics.Statistics, obs: Float[Array, "n o"], running: Bool[Array, " n"]
    ) -> statistics.Statistics:
        if not self.config.agent.normalize_observations:
            return gathered
        return lax.optimization_barrier(statistics.update(gathered, obs, running))

    def _evolve(self, key: PRNGKeyArray, state: ProgramState, obs: Float[Array, "n o"]) -> tuple[ProgramState, Metrics]:
        """The next generation if no environment of this one still runs; absent metrics are (0, 0)."""
        generation, own, hyper = state.generation, state.explore.behaviour, of_agent(state.hyper)
        over = ~jnp.any(generation.running)
        fitness = jnp.mean(generation.fitness.reshape(self.config.members, -1), axis=1)
        old = (state.learner, own.scale, own.distance, {name: (jnp.float32(0), jnp.float32(0)) for name in _EVOLVED})

        def evolve() -> tuple[Any, ...]:
            learner, metrics = self.agent.update(state.learner, own.draw, own.sigma, fitness, hyper)
            metrics |= {"fitness": once(jnp.mean(fitness)), "fitness_best": once(jnp.max(fitness))}
            # Fresh perturbations of the new weights, on the last observations of those who were there to the end.
            measured = self.explorer.adapt(jax.random.fold_in(key, _ADAPT), learner.actor, state.explore, obs).behaviour
            return learner, measured.scale, measured.distance, metrics

        # Vmapped seeds end their generations at different steps: all run the branch, each takes what is its own.
        new = lax.cond(compat.anywhere(over), evolve, lambda: old)
        learner, scale, distance, metrics = _choose(over, new, old)
        explore = state.explore.replace(behaviour=own.replace(scale=scale, distance=distance))
        everyone = jnp.broadcast_to(over, generation.running.shape)
        state = state.replace(
            updates=state.updates + over.astype(jnp.int32),
            learner=learner,
            explore=self.explorer.begin(jax.random.fold_in(key, _BEGIN), explore, everyone),
            statistics=_choose(over, generation.gathered, state.statistics),
            generation=generation.replace(
                running=generation.running | everyone,
                fitness=jnp.where(over, jnp.zeros_like(generation.fitness), generation.fitness),
            ),
        )
        return state, metrics


def _choose(flag: Bool[Array, ""], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(flag, new, old), new, old)


def _rows(mask: Bool[Array, " n"], new: Array, old: Array) -> Array:
    return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - 1)), new, old)


def _of_running(running: Bool[Array, " n"], outcome: Any, obs: Float[Array, "n o"]) -> Any:
    """The outcome as if those who wait had stood still."""
    return outcome.replace(
        reward=jnp.where(running, outcome.reward, jnp.zeros_like(outcome.reward)),
        terminated=outcome.terminated & running,
        truncated=outcome.truncated & running,
        final_obs=_rows(running, outcome.final_obs, obs),
    )


def _waiting(running: Bool[Array, " n"], after: Any, before: Any) -> Any:
    """The environments after a step; those who wait are where they were, at the start of their next episode."""

    def hold(after: Any) -> Any:
        names = ("obs", "age", "episode", "env")
        kept = jax.tree.map(
            lambda new, old: _rows(running, new, old), *({n: getattr(s, n) for n in names} for s in (after, before))
        )
        return after.replace(**kept)

    return lax.cond(compat.anywhere(~running), hold, lambda after: after, after)
