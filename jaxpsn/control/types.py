"""What the parts of a control program hand to each other."""

from typing import Any

from jaxpsn.control import exploration
from jaxpsn.control.config import ControlConfig

Hyper = dict[str, Any]
"""Hyper-parameters that are data, never static: path -> float32 scalar, vmapped over in a sweep."""
AGENT, EXPLORE, BONUS = "agent", "explore", "bonus"


def hyper(config: ControlConfig) -> Hyper:
    """The traced fields of a config: ``agent.actor_lr``, ``explore.scale.target``, ``explore.gaussian.std``."""
    parts = {AGENT: config.agent, EXPLORE: config.explore, BONUS: config.bonus}
    return {
        f"{name}.{path}": leaf for name, value in parts.items() for path, leaf in exploration.hyper_of(value).items()
    }


def of_agent(hyper: Hyper) -> Hyper:
    """The agent's own, by the rest of their paths."""
    return exploration.part(hyper, AGENT)


def of_explore(hyper: Hyper) -> Hyper:
    """The exploration's own, by the rest of their paths."""
    return exploration.part(hyper, EXPLORE)


def of_bonus(hyper: Hyper) -> Hyper:
    """The bonus's own, by the rest of their paths."""
    return exploration.part(hyper, BONUS)
