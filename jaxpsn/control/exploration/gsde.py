"""Generalised state-dependent exploration: held noise that is linear in the policy's last hidden features."""

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.config import ExplorationConfig
from jaxpsn.control.exploration import held
from jaxpsn.control.exploration.rules import Behaviour
from jaxpsn.control.types import Hyper


def gsde(
    config: ExplorationConfig, policy: Any, params: Any, num_envs: int, observation_size: int, action_size: int
) -> Behaviour:
    """``a = mu(s) + Theta^T z(s)``, z the H last hidden features, Theta_ij ~ N(0, ``hyper.action_std ** 2 / H``).

    Each environment holds a Theta of its own as the hold rule says; before clipping, every action dimension then has
    variance ``action_std ** 2 |z(s)| ** 2 / H``. ``policy`` is a :class:`jaxpsn.networks.Policy`. The published method
    learns the standard deviation by the policy's likelihood; a deterministic learner has none, so here it is a constant
    to be tuned, and nothing is learnt through the noise. Source: Raffin et al. 2021, arXiv 2005.05719.
    """
    maps = held.linear(config, num_envs, held.width("gsde", policy, params, observation_size), action_size)

    def init(key: PRNGKeyArray, params: Any, hyper: Hyper) -> held.LinearState:
        return maps.init(key, hyper)

    def act(params: Any, state: held.LinearState, obs: Float[Array, "N O"]) -> Float[Array, "N A"]:
        return policy(params, obs) + maps.apply(state, policy.features(params, obs))

    return Behaviour(init, act, maps.begin, lambda key, params, state, obs: state, lambda state: {})
