"""Exploration as one interface: none, Gaussian, Ornstein-Uhlenbeck, coloured, mixed scales, parameter noise, and sums.

The executed action is what ``act`` returns, and what replay must store. Evaluation does without an explorer: it acts
with the clean policy.
"""

from typing import Any

from jaxpsn.control.config import ExplorationConfig
from jaxpsn.control.exploration.gaussian import gaussian, mixed
from jaxpsn.control.exploration.ou import ornstein_uhlenbeck
from jaxpsn.control.exploration.parameter import parameter
from jaxpsn.control.exploration.pink import coloured
from jaxpsn.control.exploration.rules import ActionNoise, Behaviour, Explorer
from jaxpsn.control.exploration.sums import clean, total

__all__ = [
    "ActionNoise",
    "Behaviour",
    "Explorer",
    "clean",
    "coloured",
    "gaussian",
    "make",
    "mixed",
    "ornstein_uhlenbeck",
    "parameter",
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

    ``policy_apply(params, obs[..., O]) -> action[..., A]`` takes observations as the explorer gets them; ``params`` may
    be abstract. ``episode_length`` counts decisions (environment steps divided by the action repeat): the horizon of
    coloured noise. ``total_adaptations`` is the number of scale updates of the run, needed by the linear controller.
    """
    behaviour = clean(policy_apply)
    if config.perturbs_weights:
        behaviour = parameter(config, policy_apply, params, num_envs, observation_size, total_adaptations)
    makers = {
        "gaussian": lambda: gaussian(num_envs, action_size),
        "mixed": lambda: mixed(num_envs, action_size, config.mixed_low, config.mixed_high),
        "ou": lambda: ornstein_uhlenbeck(num_envs, action_size, config.ou_theta, config.ou_dt),
        "pink": lambda: coloured(num_envs, action_size, episode_length, config.pink_beta),
    }
    return total(behaviour, {name: makers[name]() for name in config.rules if name in makers})
