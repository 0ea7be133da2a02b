"""TD3 (Fujimoto et al. 2018, arXiv 1802.09477, algorithm 1)."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from jaxpsn.control.agents import learner as shared
from jaxpsn.control.agents import losses
from jaxpsn.control.agents.family import AGENTS, ActorCritic
from jaxpsn.control.exploration.rules import LearntNoise
from jaxpsn.control.state import LearnerState, Transition
from jaxpsn.core import branches, errors
from jaxpsn.core.fields import Real, Whole

_CLIP = 0.5


@AGENTS.register("td3")
@dataclass(frozen=True)
class Td3(ActorCritic):
    """TD3: twin critics, smoothed target actions, actor and targets at every ``policy_delay``-th update.

    Source: Fujimoto et al. 2018 (arXiv 1802.09477, algorithm 1).
    """

    intrinsic: ClassVar[bool] = True
    rare: ClassVar[dict[str, str]] = {"policy_delay": "the actor is never trained"}

    policy_delay: Annotated[int, Whole(1, 1 << 10)] = 2
    """Critic updates for one actor and target update."""
    target_noise: Annotated[float, Real(0.0, 10.0)] = 0.2
    """Target policy smoothing: standard deviation."""
    target_noise_clip: Annotated[float, Real(0.0, 10.0)] = _CLIP
    """Target policy smoothing: clip."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.target_noise and self.target_noise_clip != _CLIP:
            allowed = f"{_CLIP:g}, the default, as target_noise is 0"
            errors.refuse("agent.target_noise_clip", self.target_noise_clip, allowed)

    def build(self, observation_size: int, action_size: int, learnt: LearntNoise | None = None) -> shared.Learner:
        return shared.learner(self, (observation_size, action_size), learnt, _update, period=self.policy_delay)


def critic_target(
    config: Td3,
    nets: shared.Networks,
    learner: LearnerState,
    batch: Transition,
    key: PRNGKeyArray,
    draw: PRNGKeyArray | None = None,
) -> shared.Goal:
    """``r + gamma min_i Q'_i(s', mu'(s') + clipped noise)``, without the second term after a terminal.

    ``draw`` is the key of a noisy actor's draw.
    """
    action = nets.actor(learner.target_actor, batch.next_obs, draw)
    action = losses.smooth(key, action, config.target_noise, config.target_noise_clip)
    return shared.goal(config, nets, learner.target_critic, batch, action)


def _update(
    parts: shared.Parts,
    key: PRNGKeyArray,
    learner: LearnerState,
    batch: Transition,
    hyper: Any,
    count: Int[Array, ""] | int,
) -> tuple[LearnerState, shared.Metrics]:
    config, nets, rule, noisy = parts
    keys = shared.purposes(key, noisy)

    def target(learner: LearnerState, batch: Transition) -> shared.Goal:
        return critic_target(config, nets, learner, batch, keys.smoothing, keys.target)

    learner, metrics = shared.critics_step(parts, learner, batch, target, hyper["critic_lr"])

    def step(learner: LearnerState) -> tuple[LearnerState, Any]:
        learner, loss = shared.actor_step(nets, rule, learner, batch.obs, hyper["actor_lr"], keys.online)
        return shared.follow(learner, config.tau), loss

    def skip(learner: LearnerState) -> tuple[LearnerState, Any]:
        return learner, (jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))

    # The count is shared by vmapped seeds, so this stays a branch and skipped updates cost nothing.
    learner, actor_loss = branches.when((count + 1) % config.policy_delay == 0, step, skip, learner)
    return learner, metrics | {"actor_loss": actor_loss}
