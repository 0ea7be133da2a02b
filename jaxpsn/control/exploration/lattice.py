"""Lattice: held noise on the last hidden features, which the head turns into correlated noise of the actions."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.config import ExplorationConfig
from jaxpsn.control.exploration import held
from jaxpsn.control.exploration.rules import Behaviour
from jaxpsn.control.types import Hyper


def lattice(
    config: ExplorationConfig, policy: Any, params: Any, num_envs: int, observation_size: int, action_size: int
) -> Behaviour:
    """``a = tanh(W (z + alpha P_z z) + b + P_a z)``, z the H last hidden features, (W, b) the policy's last layer.

    The entries of P_z and P_a are N(0, ``hyper.action_std ** 2 / H``). Before squashing the covariance is then
    ``v (I + alpha ** 2 W W^T)``, ``v = action_std ** 2 |z| ** 2 / H``; alpha is ``config.lattice_alpha``. Each
    environment holds matrices of its own as the hold rule says, H (H + A) numbers. ``policy`` is a
    :class:`jaxpsn.networks.Policy`.
    The published method learns a standard deviation per entry by the policy's likelihood; a deterministic learner has
    none, so here all are one constant to be tuned. Source: Chiappa et al. 2023, arXiv 2305.20065.
    """
    features = held.width("lattice", policy, params, observation_size)
    maps = held.linear(config, num_envs, features, features + action_size)

    def init(key: PRNGKeyArray, params: Any, hyper: Hyper) -> held.LinearState:
        return maps.init(key, hyper)

    def act(params: Any, state: held.LinearState, obs: Float[Array, "N O"]) -> Float[Array, "N A"]:
        z = policy.features(params, obs)
        latent, action = jnp.split(maps.apply(state, z), (features,), axis=-1)
        return jnp.tanh(policy.outputs(params, z + config.lattice_alpha * latent) + action)

    return Behaviour(init, act, maps.begin, lambda key, params, state, obs: state, lambda state: {})
