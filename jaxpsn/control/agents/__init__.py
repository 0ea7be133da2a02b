"""The learners, one file per algorithm."""

from jaxpsn.control.agents.es import Evolver
from jaxpsn.control.agents.family import AGENTS, Agent, Generational, OffPolicy
from jaxpsn.control.agents.learner import Learner, learn

__all__ = ["AGENTS", "Agent", "Evolver", "Generational", "Learner", "OffPolicy", "learn"]
