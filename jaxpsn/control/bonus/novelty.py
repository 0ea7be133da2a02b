"""A bonus for what is novel: what all of them share, from its measure to what the critics learn from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control import statistics
from jaxpsn.control.agents.family import AGENTS, Agent, OnPolicy
from jaxpsn.control.bonus.family import Bonus, BonusSpace
from jaxpsn.control.bonus.rules import BonusFunctions
from jaxpsn.core import errors
from jaxpsn.core.components import called, spec_of
from jaxpsn.core.fields import Positive, Real, Traced

_TINY = 1e-8
CLIP = 5.0
"""Whitened observations are clipped to plus or minus this (Burda et al. 2018, section 2.4)."""


class Novelty(NamedTuple):
    """A measure of how novel observations are, which learns from what is seen."""

    init: Callable[..., Any]
    """``init(key, hyper) -> learnt``: nothing seen yet."""
    learn: Callable[..., tuple[Any, dict[str, Any]]]
    """``learn(key, learnt, obs[N, O]) -> (learnt, metrics)``: from new observations, once each."""
    measure: Callable[..., Any]
    """``measure(learnt, obs[..., O]) -> [...]``, not negative, in any unit."""


@struct.dataclass
class NovelState:
    """Of the bonus of one run."""

    sums: Any  # [N] float32, discounted sum of each environment's novelty, over the ends of its episodes
    learnt: Any  # {"novelty": what the measure has learnt, "sums": Statistics of all sums so far, of size 1}


@dataclass(frozen=True)
class Novel(Bonus):
    """A bonus for novel observations, with critics of its own.

    Measured anew whenever a transition is learnt from, never stored; what it learns from is seen once: every vector
    step, or a whole rollout after it was paid for. Its values go on through the ends of episodes, from the observation
    that the next one starts with (Burda et al. 2018, arXiv 1810.12894, section 2.3). Novelty is divided by the running
    deviation of its discounted sum. Under ``dqn`` it explores only: the clean policy, which is evaluated and saved, is
    greedy for the task alone.
    """

    beta: Traced[Positive] = 1.0
    """Weight of the bonus: the actor ascends Q / mean|Q| + beta Q_i / mean|Q_i|; under ppo advantages stand for Q, and
    under dqn, which takes the greatest, Q - mean_a Q in the sizes."""
    ladder: Annotated[float, Real(1.0, 1e6)] = 1.0
    """Greatest beta over the least, of on-policy agents: every group of environments has its own, log-spaced around
    beta, beside a sigma of its own where parameter.ladder is set too (Badia et al. 2020, arXiv 2002.06038)."""
    gamma: Annotated[float, Real(0.0, 0.9999)] = 0.99
    """Discount of the bonus."""
    floor: Traced[Positive] = 0.01
    """Least of the means that values are divided by: critics that have seen no reward say nothing."""

    learnt: ClassVar[tuple[str, ...]] = ("bonus_critic_loss", "bonus_q")

    def check(self, agent: Agent, explore: Any, groups: int) -> None:
        super().check(agent, explore, groups)
        if not agent.intrinsic:
            able = [name for name in AGENTS.names() if AGENTS.get(name).intrinsic]
            allowed = f"none, as {called(type(agent))} has no critics for it; {', '.join(able)} have"
            errors.refuse("bonus", spec_of(self), allowed)
        agent.check_bonus(spec_of(self), explore)
        if self.ladder > 1.0 and not isinstance(agent, OnPolicy):
            allowed = f"1, as {called(type(agent))} has one policy for every environment; on-policy agents take others"
            errors.refuse("bonus.ladder", self.ladder, allowed)
        if self.ladder > 1.0 and groups < 2:
            errors.refuse("bonus.ladder", self.ladder, "1, as all environments are one group")

    def novelty(self, space: BonusSpace) -> Novelty:
        """The measure, of observations as the environment gives them."""
        raise NotImplementedError

    def build(self, space: BonusSpace) -> BonusFunctions:
        return scaled(self.novelty(space), space.num_envs, self.gamma)


def scaled(novelty: Novelty, num_envs: int, gamma: float) -> BonusFunctions:
    """The bonus that pays ``novelty`` over the running deviation of its discounted sum."""

    def init(key: PRNGKeyArray, hyper: Any) -> NovelState:
        learnt = {"novelty": novelty.init(key, hyper), "sums": statistics.init(1)}
        return NovelState(jnp.zeros((num_envs,), jnp.float32), learnt)

    def observe(key: PRNGKeyArray, state: NovelState, row: Any) -> tuple[NovelState, Any, dict[str, Any]]:
        found = novelty.measure(state.learnt["novelty"], row.next_obs)
        sums = gamma * state.sums + found
        seen = statistics.update(state.learnt["sums"], sums[:, None])
        paid = found / deviation(seen)
        metrics = {"bonus": jnp.mean(paid), "bonus_std": jnp.std(paid)}
        return NovelState(sums, state.learnt | {"sums": seen}), row, metrics

    def learn(key: PRNGKeyArray, state: NovelState, reached: Float[Array, "n o"]) -> tuple[NovelState, dict[str, Any]]:
        learnt, told = novelty.learn(key, state.learnt["novelty"], reached)
        return state.replace(learnt=state.learnt | {"novelty": learnt}), told

    def reward(state: NovelState, reached: Float[Array, "*batch o"]) -> Float[Array, "*batch"]:
        return novelty.measure(state.learnt["novelty"], reached) / deviation(state.learnt["sums"])

    return BonusFunctions(init, observe, reward, gamma, learn)


def deviation(sums: statistics.Statistics) -> Float[Array, ""]:
    """What novelty is divided by."""
    return jnp.sqrt(sums.variance[0]) + _TINY
