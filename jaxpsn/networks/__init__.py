"""Actors, critics and values that know nothing of noise, in Flax Linen; :mod:`noisy` gives weights learnt scales.

What is here is imported when it is first used: the names of torsos (:mod:`torso`) need no JAX.
"""

from jaxpsn.core.lazily import exports

_HOMES = {
    **dict.fromkeys(("Actor", "Policy"), "actor"),
    **dict.fromkeys(("Critic", "ensemble_apply", "ensemble_init"), "critic"),
    "Diagonal": "diagonal",
    "Gaussian": "gaussian",
    **dict.fromkeys(("Greedy", "Values", "Voting"), "values"),
}

__all__ = [
    "Actor", "Critic", "Diagonal", "Gaussian", "Greedy", "Policy", "Values", "Voting", "ensemble_apply",
    "ensemble_init",
]  # fmt: skip

__getattr__ = exports(__name__, _HOMES)
