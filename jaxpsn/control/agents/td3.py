"""TD3 (Fujimoto et al. 2018, arXiv 1802.09477, algorithm 1)."""

from typing import Any

import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpsn.control.agents import learner as shared
from jaxpsn.control.agents import losses
from jaxpsn.control.config import AgentConfig
from jaxpsn.control.state import LearnerState, Transition


def make(config: AgentConfig, observation_size: int, action_size: int, noisy: bool = False) -> shared.Agent:
    """Twin critics, smoothed target actions, actor and targets at every ``policy_delay``-th update."""
    nets = shared.networks(config, observation_size, action_size, critics=2, noisy=noisy)
    rule = shared.optimizer(config.weight_decay)

    def init(key: PRNGKeyArray, hyper: Any) -> LearnerState:
        return shared.init(nets, rule, key, hyper)

    def update(
        key: PRNGKeyArray, learner: LearnerState, batch: Transition, hyper: Any, count: Int[Array, ""]
    ) -> tuple[LearnerState, shared.Metrics]:
        keys = shared.purposes(key, noisy)
        target = critic_target(config, nets, learner, batch, keys.smoothing, keys.target)
        learner, metrics = shared.critic_step(nets, rule, learner, batch, target, hyper.critic_lr, config.critic_l2)
        learner, actor_loss = _delayed(config, nets, rule, learner, batch, hyper, count, keys.online)
        return learner, metrics | {"actor_loss": actor_loss}

    return shared.Agent(init, nets.policy, update)


def critic_target(
    config: AgentConfig,
    nets: shared.Networks,
    learner: LearnerState,
    batch: Transition,
    key: PRNGKeyArray,
    draw: PRNGKeyArray | None = None,
) -> Float[Array, " batch"]:
    """``r + gamma min_i Q'_i(s', mu'(s') + clipped noise)``, without the second term after a terminal.

    ``draw`` is the key of a noisy actor's draw.
    """
    action = nets.actor(learner.target_actor, batch.next_obs, draw)
    action = losses.smooth(key, action, config.target_noise, config.target_noise_clip)
    value = jnp.min(nets.critics(learner.target_critic, batch.next_obs, action), axis=0)
    return losses.bootstrap(batch.reward, losses.terminal(batch, config.time_limit_terminal), config.gamma, value)


def _delayed(
    config: AgentConfig,
    nets: shared.Networks,
    rule: optax.GradientTransformation,
    learner: LearnerState,
    batch: Transition,
    hyper: Any,
    count: Int[Array, ""],
    key: PRNGKeyArray | None,
) -> tuple[LearnerState, tuple[Float[Array, ""], Float[Array, ""]]]:
    def step(learner):
        learner, loss = shared.actor_step(nets, rule, learner, batch.obs, hyper.actor_lr, key)
        return shared.follow(learner, config.tau), loss

    def skip(learner):
        return learner, (jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))

    # The count is shared by vmapped seeds, so this stays a branch and skipped updates cost nothing.
    return lax.cond((count + 1) % config.policy_delay == 0, step, skip, learner)
