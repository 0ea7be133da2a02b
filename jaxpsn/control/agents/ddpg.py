"""DDPG as in Plappert et al. 2018 (arXiv 1706.01905), after Lillicrap et al. 2016 (arXiv 1509.02971, algorithm 1)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Array, Int, PRNGKeyArray

from jaxpsn.control.agents import learner as shared
from jaxpsn.control.agents.family import AGENTS, ActorCritic
from jaxpsn.control.exploration.rules import LearntNoise
from jaxpsn.control.state import LearnerState, Transition


@AGENTS.register("ddpg")
@dataclass(frozen=True)
class Ddpg(ActorCritic):
    """DDPG as in the paper: one critic; actor and targets follow at every update (arXiv 1509.02971)."""

    intrinsic: ClassVar[bool] = True

    def build(self, observation_size: int, action_size: int, learnt: LearntNoise | None = None) -> shared.Learner:
        return shared.learner(self, (observation_size, action_size), learnt, _update, critics=1)


def critic_target(
    config: ActorCritic,
    nets: shared.Networks,
    learner: LearnerState,
    batch: Transition,
    key: PRNGKeyArray | None = None,
) -> shared.Goal:
    """``r + gamma Q'(s', mu'(s'))``, without the second term after a terminal."""
    action = nets.actor(learner.target_actor, batch.next_obs, key)
    return shared.goal(config, nets, learner.target_critic, batch, action)


def _update(
    parts: shared.Parts,
    key: PRNGKeyArray,
    learner: LearnerState,
    batch: Transition,
    hyper: Any,
    count: Int[Array, ""],
) -> tuple[LearnerState, shared.Metrics]:
    config, nets, rule, noisy = parts
    keys = shared.purposes(key, noisy)

    def target(learner: LearnerState, batch: Transition) -> shared.Goal:
        return critic_target(config, nets, learner, batch, keys.target)

    learner, metrics = shared.critics_step(parts, learner, batch, target, hyper["critic_lr"])
    learner, actor_loss = shared.actor_step(nets, rule, learner, batch.obs, hyper["actor_lr"], keys.online)
    return shared.follow(learner, config.tau), metrics | {"actor_loss": actor_loss}
