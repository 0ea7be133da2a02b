"""The learners, one file per algorithm; what is here is imported when it is first used."""

from jaxpsn.core.lazily import exports

_HOMES = {
    **dict.fromkeys(("AGENTS", "ActorCritic", "Agent", "Generational", "OffPolicy"), "family"),
    "Learner": "learner",
    "learn": "rounds",
    "Evolver": "es",
}

__all__ = ["AGENTS", "ActorCritic", "Agent", "Evolver", "Generational", "Learner", "OffPolicy", "learn"]

__getattr__ = exports(__name__, _HOMES)
