"""The learners, one file per algorithm."""

from jaxpsn.control.agents import ddpg, td3
from jaxpsn.control.agents.learner import Agent, learn
from jaxpsn.control.config import AgentConfig

__all__ = ["Agent", "learn", "make"]


def make(config: AgentConfig, observation_size: int, action_size: int) -> Agent:
    """The agent that ``config.algorithm`` names."""
    return {"ddpg": ddpg, "td3": td3}[config.algorithm].make(config, observation_size, action_size)
