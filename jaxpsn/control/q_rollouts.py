"""The loop of an agent of values without replay: it acts as with replay, and learns from whole rollouts."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control import off_policy, on_policy, paying, replay
from jaxpsn.control.agents import pqn
from jaxpsn.control.state import LearnerState, ProgramState
from jaxpsn.control.types import Hyper, of_agent
from jaxpsn.core.branches import when

Metrics = off_policy.Metrics


@dataclass(frozen=True, eq=False)
class QRollouts(off_policy.Program):
    """Values that are learnt from ``rollout`` vector steps at a time, which are then forgotten.

    All else is the off-policy loop, as what is learnt does not depend on who acted: perturbations are held, redrawn and
    scaled at any step. ``replay`` holds one rollout.
    """

    agent: pqn.RolloutLearner

    @property
    def lower(self) -> dict[str | None, str]:
        """Fields of the config that make parts of the state smaller, as of the program of replay."""
        return {"replay": "agent.rollout", "learner": self.config.agent.widths, None: "env.num_envs"}

    def passing(self, state: ProgramState) -> dict[str, tuple[Any, str]]:
        """A pass through a rollout holds it once more, dealt out."""
        return {"minibatches": (state.replay, self.lower["replay"])}

    def _replay(self, obs: Float[Array, "n o"]) -> Any:
        return replay.init(self.config.agent.rollout, self._example(obs))

    @jax.named_scope("learn")
    def _learn(self, key: PRNGKeyArray, state: ProgramState) -> tuple[LearnerState, Metrics]:
        """Learn from a rollout if it is complete; absent metrics are (0, 0)."""
        own = jax.random.fold_in(key, off_policy._LEARN)

        def learn(learner: LearnerState) -> tuple[LearnerState, Metrics]:
            rows = state.replay.data
            rows = rows.replace(
                obs=self.normalise(state.statistics, rows.obs),
                next_obs=self.normalise(state.statistics, rows.next_obs),
            )
            rows = paying.attach_rollout(self, state, rows)
            looking, passing = jax.random.split(own)
            samples = self.agent.samples(looking, learner, rows)
            return self._passes(passing, learner, samples, self._now(state))

        def skip(learner: LearnerState) -> tuple[LearnerState, Metrics]:
            zero = jnp.zeros((), jnp.float32)
            return learner, {name: (zero, zero) for name in self.learnt}

        return when(self.schedule.learns(state.clock), learn, skip, state.learner)

    def _now(self, state: ProgramState) -> Hyper:
        """The agent's numbers for the rollout that is complete: its rate falls from rollout to rollout."""
        hyper, config = of_agent(state.hyper), self.config.agent
        if not config.lr_steps:
            return hyper
        done = (state.clock - config.rollout).astype(jnp.float32) * (self.steps_per_call / config.lr_steps)
        return hyper | {"lr": hyper["lr"] * jnp.maximum(1.0 - done, 0.0)}

    def _passes(
        self, key: PRNGKeyArray, learner: LearnerState, samples: pqn.Samples, hyper: Hyper
    ) -> tuple[LearnerState, Metrics]:
        """All epochs; metrics are summed over their updates."""
        config = self.config.agent

        def deal(key: PRNGKeyArray) -> pqn.Samples:
            order = jax.random.permutation(key, samples.action.size).reshape(config.minibatches, -1)
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[order], samples)
            return self.place.spread(flat, axis=1)

        def update(learner: LearnerState, item: tuple[Array, pqn.Samples]) -> tuple[LearnerState, Metrics]:
            return self.agent.update(item[0], learner, item[1], hyper)

        return on_policy.passes(key, learner, config, deal, update)
