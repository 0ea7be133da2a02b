"""What networks that normalise by the batch say of one that they learn from, and what they keep of it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.networks import Policy, ensemble_apply
from jaxpsn.networks.batch_norm import STATISTICS


def of_actor(policy: Policy) -> Callable[..., tuple[Array, Any]]:
    """``train_actor`` of :class:`jaxpsn.control.agents.learner.Networks`, for an actor of such layers."""

    def train(params: Any, obs: Float[Array, "batch o"], key: PRNGKeyArray | None) -> tuple[Array, Any]:
        features, seen = policy.actor.apply(params, obs, True, method="features", mutable=[STATISTICS])
        return policy.told(params, features), seen

    return train


def of_critics(critic: nn.Module) -> Callable[..., tuple[Array, Any]]:
    """``train_critics`` of :class:`jaxpsn.control.agents.learner.Networks`, for critics of such layers."""

    def train_one(params: Any, obs: Array, action: Array) -> Any:
        return critic.apply(params, obs, action, True, mutable=[STATISTICS])

    def train(
        params: Any, obs: Float[Array, "batch o"], action: Float[Array, "batch a"], beside: tuple[Array, Array]
    ) -> tuple[Array, Any]:
        both = (jnp.concatenate(pair) for pair in zip((obs, action), beside, strict=True))
        out, seen = ensemble_apply(train_one)(params, *both)
        return out[:, : obs.shape[0]], seen

    return train
