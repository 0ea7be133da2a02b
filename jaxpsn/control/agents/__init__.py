"""The learners, one file per algorithm."""

from jaxpsn.control.agents import ddpg, es, td3
from jaxpsn.control.agents.es import Evolver
from jaxpsn.control.agents.learner import Agent, learn
from jaxpsn.control.config import AgentConfig

__all__ = ["Agent", "Evolver", "learn", "make"]


def make(config: AgentConfig, observation_size: int, action_size: int, noisy: bool = False) -> Agent | Evolver:
    """The agent that ``config.algorithm`` names.

    ``noisy``: its actor is a NoisyNet (Fortunato et al. 2018, arXiv 1706.10295) whose noise scales start at
    ``hyper.sigma / sqrt(inputs)`` and are learnt with the weights. The actor's gradient and the target action each take
    one fresh draw per update, shared by the batch; ``policy`` is that of the means.
    """
    if config.algorithm == "es":
        return es.make(config, observation_size, action_size)
    return {"ddpg": ddpg, "td3": td3}[config.algorithm].make(config, observation_size, action_size, noisy)
