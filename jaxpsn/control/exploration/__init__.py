"""Exploration as one interface: none, action noises, perturbed weights, state-dependent noise, and sums.

The executed action is what ``act`` returns, and what replay must store. Evaluation does without an explorer: it acts
with the clean policy. What is here is imported when it is first used: the names of rules need no JAX.
"""

from jaxpsn.core.lazily import exports

_HOMES = {
    **dict.fromkeys(("EXPLORATION", "ActionNoise", "Behaviour", "Exploration", "Space"), "family"),
    **dict.fromkeys(("behaviour_of", "prefix"), "family"),
    **dict.fromkeys(("BehaviourFunctions", "Explorer", "Followers", "Heads", "LearntNoise", "NoiseFunctions"), "rules"),
    **dict.fromkeys(("alarms", "alone", "hyper_of", "learnt_noise", "make", "measuring", "silent"), "explorer"),
    **dict.fromkeys(("part", "total"), "sums"),
}

__all__ = [
    "EXPLORATION", "ActionNoise", "Behaviour", "BehaviourFunctions", "Exploration", "Explorer", "Followers", "Heads",
    "LearntNoise", "NoiseFunctions", "Space", "alarms", "alone", "behaviour_of", "hyper_of", "learnt_noise", "make",
    "measuring", "part", "prefix", "silent", "total",
]  # fmt: skip

__getattr__ = exports(__name__, _HOMES)
