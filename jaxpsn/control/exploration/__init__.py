"""Exploration as one interface: none, action noises, perturbed weights, state-dependent noise, and sums.

The executed action is what ``act`` returns, and what replay must store. Evaluation does without an explorer: it acts
with the clean policy.
"""

from typing import Any

from jaxpsn.control.config import ExplorationConfig
from jaxpsn.control.exploration.gaussian import gaussian, mixed
from jaxpsn.control.exploration.gsde import gsde
from jaxpsn.control.exploration.lattice import lattice
from jaxpsn.control.exploration.noisynet import noisynet
from jaxpsn.control.exploration.ou import ornstein_uhlenbeck
from jaxpsn.control.exploration.parameter import layout, parameter
from jaxpsn.control.exploration.pink import coloured
from jaxpsn.control.exploration.rules import ActionNoise, Behaviour, Explorer
from jaxpsn.control.exploration.sums import clean, total
from jaxpsn.control.exploration.zeta import repeated

__all__ = [
    "ActionNoise",
    "Behaviour",
    "Explorer",
    "clean",
    "coloured",
    "gaussian",
    "gsde",
    "lattice",
    "layout",
    "make",
    "mixed",
    "noisynet",
    "ornstein_uhlenbeck",
    "parameter",
    "repeated",
    "total",
]


def make(
    config: ExplorationConfig,
    policy_apply: Any,
    params: Any,
    num_envs: int,
    observation_size: int,
    action_size: int,
    episode_length: int,
    total_adaptations: int | None = None,
) -> Explorer:
    """The explorer that a config asks for.

    ``policy_apply(params, obs[..., O]) -> action[..., A]`` takes observations as the explorer gets them; gsde and
    lattice need a :class:`jaxpsn.networks.Policy`, whose features they know. ``params`` may be abstract; for noisynet
    they hold scales too. ``episode_length`` counts decisions (environment steps divided by the action repeat): the
    horizon of coloured noise. ``total_adaptations`` is the number of scale updates of the run, needed by the linear
    controller.
    """
    policy = (config, policy_apply, params, num_envs, observation_size)
    behaviours = {
        "none": lambda: clean(policy_apply),
        "parameter": lambda: parameter(*policy, total_adaptations),
        "gsde": lambda: gsde(*policy, action_size),
        "lattice": lambda: lattice(*policy, action_size),
        "noisynet": lambda: noisynet(*policy),
    }
    noises = {
        "gaussian": lambda: gaussian(num_envs, action_size),
        "mixed": lambda: mixed(num_envs, action_size, config.mixed_low, config.mixed_high),
        "ou": lambda: ornstein_uhlenbeck(num_envs, action_size, config.ou_theta, config.ou_dt),
        "pink": lambda: coloured(num_envs, action_size, episode_length, config.pink_beta),
        "zeta": lambda: repeated(num_envs, action_size, config.zeta_exponent, config.repeat_max),
    }
    behaviour = config.behaviour
    return total(behaviours[behaviour](), {name: noises[name]() for name in config.rules if name in noises}, behaviour)
