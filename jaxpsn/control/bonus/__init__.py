"""What the agent is paid beside the task's reward: novelty, as one of several rules measures it, or noise.

What is here is imported when it is first used: the names of rules need no JAX.
"""

from jaxpsn.core.lazily import exports

_HOMES = {
    **dict.fromkeys(("BONUSES", "Bonus", "BonusSpace"), "family"),
    "BonusFunctions": "rules",
    **dict.fromkeys(("Novel", "Novelty"), "novelty"),
}

__all__ = ["BONUSES", "Bonus", "BonusFunctions", "BonusSpace", "Novel", "Novelty"]

__getattr__ = exports(__name__, _HOMES)
