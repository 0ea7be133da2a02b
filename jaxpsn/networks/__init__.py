"""Actor and critic as plain Flax Linen modules that know nothing of noise; :mod:`noisy` gives weights learnt scales."""

from jaxpsn.networks.actor import Actor, Policy
from jaxpsn.networks.critic import Critic, ensemble_apply, ensemble_init
from jaxpsn.networks.diagonal import Diagonal
from jaxpsn.networks.gaussian import Gaussian
from jaxpsn.networks.value import Value

__all__ = ["Actor", "Critic", "Diagonal", "Gaussian", "Policy", "Value", "ensemble_apply", "ensemble_init"]
