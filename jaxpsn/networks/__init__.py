"""Actor and critic as plain Flax Linen modules that know nothing of noise; :mod:`noisy` gives weights learnt scales."""

from jaxpsn.networks.actor import Actor, Policy
from jaxpsn.networks.critic import Critic, ensemble_apply, ensemble_init
from jaxpsn.networks.gaussian import Gaussian

__all__ = ["Actor", "Critic", "Gaussian", "Policy", "ensemble_apply", "ensemble_init"]
