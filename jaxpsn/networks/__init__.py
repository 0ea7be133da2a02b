"""Actors, critics and values that know nothing of noise, in Flax Linen; :mod:`noisy` gives weights learnt scales."""

from jaxpsn.networks.actor import Actor, Policy
from jaxpsn.networks.critic import Critic, ensemble_apply, ensemble_init
from jaxpsn.networks.diagonal import Diagonal
from jaxpsn.networks.gaussian import Gaussian
from jaxpsn.networks.values import Greedy, Values, Voting

__all__ = [
    "Actor", "Critic", "Diagonal", "Gaussian", "Greedy", "Policy", "Values", "Voting", "ensemble_apply",
    "ensemble_init",
]  # fmt: skip
