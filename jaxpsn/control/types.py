"""What the parts of a control program hand to each other."""

from typing import Any

import jax.numpy as jnp
from flax import struct

from jaxpsn.control.config import ControlConfig


@struct.dataclass
class Hyper:
    """Hyper-parameters that are data, never static: float32 scalars, vmapped over in a sweep."""

    actor_lr: Any  # [] Adam rate of the actor
    critic_lr: Any  # [] Adam rate of the critic
    sigma: Any  # [] scale of the weight noise at the start
    target: Any  # [] action distance to which sigma is adapted
    action_std: Any  # [] standard deviation of action noise

    @classmethod
    def from_config(cls, config: ControlConfig) -> "Hyper":
        """The values that a config names."""
        agent, exploration = config.agent, config.exploration
        return cls(
            actor_lr=jnp.asarray(agent.actor_lr, jnp.float32),
            critic_lr=jnp.asarray(agent.critic_lr, jnp.float32),
            sigma=jnp.asarray(exploration.sigma, jnp.float32),
            target=jnp.asarray(exploration.target, jnp.float32),
            action_std=jnp.asarray(exploration.action_std, jnp.float32),
        )
