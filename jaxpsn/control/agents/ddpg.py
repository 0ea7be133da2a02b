"""DDPG as in Plappert et al. 2018 (arXiv 1706.01905), after Lillicrap et al. 2016 (arXiv 1509.02971, algorithm 1)."""

from typing import Any

import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpsn.control.agents import learner as shared
from jaxpsn.control.agents import losses
from jaxpsn.control.config import AgentConfig
from jaxpsn.control.state import LearnerState, Transition


def make(config: AgentConfig, observation_size: int, action_size: int, noisy: bool = False) -> shared.Agent:
    """One critic with an L2 penalty on hidden weights; actor and targets follow at every update."""
    nets = shared.networks(config, observation_size, action_size, critics=1, noisy=noisy)
    rule = shared.optimizer(config.weight_decay)

    def init(key: PRNGKeyArray, hyper: Any) -> LearnerState:
        return shared.init(nets, rule, key, hyper)

    def update(
        key: PRNGKeyArray, learner: LearnerState, batch: Transition, hyper: Any, count: Int[Array, ""]
    ) -> tuple[LearnerState, shared.Metrics]:
        return _update(config, nets, rule, learner, batch, hyper, shared.purposes(key, noisy))

    return shared.Agent(init, nets.policy, update)


def critic_target(
    config: AgentConfig,
    nets: shared.Networks,
    learner: LearnerState,
    batch: Transition,
    key: PRNGKeyArray | None = None,
) -> Float[Array, " batch"]:
    """``r + gamma Q'(s', mu'(s'))``, without the second term after a terminal."""
    action = nets.actor(learner.target_actor, batch.next_obs, key)
    value = nets.critics(learner.target_critic, batch.next_obs, action)[0]
    return losses.bootstrap(batch.reward, losses.terminal(batch, config.time_limit_terminal), config.gamma, value)


def _update(
    config: AgentConfig,
    nets: shared.Networks,
    rule: optax.GradientTransformation,
    learner: LearnerState,
    batch: Transition,
    hyper: Any,
    keys: shared.Keys,
) -> tuple[LearnerState, shared.Metrics]:
    target = critic_target(config, nets, learner, batch, keys.target)
    learner, metrics = shared.critic_step(nets, rule, learner, batch, target, hyper.critic_lr, config.critic_l2)
    learner, actor_loss = shared.actor_step(nets, rule, learner, batch.obs, hyper.actor_lr, keys.online)
    return shared.follow(learner, config.tau), metrics | {"actor_loss": actor_loss}
