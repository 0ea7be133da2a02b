"""What happens when, as functions of the clock alone, so that vmapped seeds share every branch."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jaxpsn.control import exploration
from jaxpsn.control.config import ControlConfig

Flag = bool | Bool[Array, ""]


class Schedule(NamedTuple):
    """Cadences in vector steps. ``clock``: vector steps done.

    What a cadence says is a flag of the traced program; of every step after the warm-up (``warm``) it may be known.
    """

    warmup: int
    learn_every: int
    updates: int
    adapt_every: int
    warm: bool = False

    @classmethod
    def from_config(cls, config: ControlConfig) -> "Schedule":
        """The cadences that a config asks for; the warm-up is rounded up to whole vector steps."""
        measuring = exploration.measuring(config.explore)
        every = 1 if measuring is None else measuring.every
        return cls(*config.agent.cadences(config.steps_per_call, every))

    def since(self, clock: int) -> "Schedule":
        """The same for steps from ``clock`` on."""
        return self._replace(warm=clock >= self.warmup)

    def random(self, clock: Int[Array, ""]) -> Flag:
        """Whether the next actions are uniformly random."""
        return False if self.warm else clock < self.warmup

    def learns(self, clock: Int[Array, ""]) -> Flag:
        """Whether a round of updates follows the step that brought the clock here."""
        return self._due(clock, self.learn_every)

    def adapts(self, clock: Int[Array, ""]) -> Flag:
        """Whether a scale update follows the step that brought the clock here."""
        return self._due(clock, self.adapt_every)

    def _due(self, clock: Int[Array, ""], every: int) -> Flag:
        if self.warm:
            return every == 1 or clock % every == 0
        return (clock > self.warmup) & (clock % every == 0)

    def updates_done(self, clock: Int[Array, ""]) -> Int[Array, ""]:
        """Critic updates done once the step that brought the clock here is complete."""
        rounds = clock // self.learn_every - self.warmup // self.learn_every
        return self.updates * jnp.maximum(rounds, 0)

    def adaptations(self, calls: int) -> int:
        """Scale updates in a run of ``calls`` vector steps."""
        return max(calls // self.adapt_every - self.warmup // self.adapt_every, 0)
