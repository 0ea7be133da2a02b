"""The family of bonuses, and what the control loop asks of one."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from jaxpsn.control.agents.family import Agent, Generational
from jaxpsn.control.bonus.rules import BonusFunctions
from jaxpsn.core import errors
from jaxpsn.core.components import Component, called, spec_of
from jaxpsn.core.families import Family


class BonusSpace(NamedTuple):
    """What a bonus looks at."""

    num_envs: int
    observation_size: int
    cells: Any
    """:class:`jaxpsn.envs.Cells` of the task."""


class Bonus(Component):
    """What the agent is paid beside the task's reward, which alone is what evaluations report."""

    learnt: ClassVar[tuple[str, ...]] = ()
    """Names of the metrics that it adds to those of an update."""

    def check(self, agent: Agent, explore: Any, groups: int) -> None:
        """Refuse an agent that cannot learn from it beside what explores, in so many groups. Raises UserError."""
        if isinstance(agent, Generational):
            errors.refuse(
                "bonus", spec_of(self), f"none, as {called(type(agent))} learns from returns of whole episodes"
            )

    def build(self, space: BonusSpace) -> BonusFunctions | None:
        """The bonus as pure functions; None if there is none."""
        raise NotImplementedError


BONUSES: Family[Bonus] = Family(
    "bonus",
    Bonus,
    {name: f"jaxpsn.control.bonus.{name}" for name in ("rnd", "drnd", "counts", "reward_noise")},
    doc="What the agent is paid beside the task's reward.",
)


@BONUSES.register("none")
@dataclass(frozen=True)
class NoBonus(Bonus):
    """The reward of the task and nothing else."""

    def check(self, agent: Agent, explore: Any, groups: int) -> None:
        pass

    def build(self, space: BonusSpace) -> BonusFunctions | None:
        return None
