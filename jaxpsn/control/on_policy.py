"""The on-policy loop: rollouts of the present policy or its followers, and the learning between them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt32

from jaxpsn.control import exploration, off_policy, paying, replay
from jaxpsn.control.agents import losses, ppo, surrogate
from jaxpsn.control.agents.family import ByRollouts
from jaxpsn.control.exploration import population
from jaxpsn.control.state import LearnerState, ProgramState
from jaxpsn.control.types import of_agent, of_explore
from jaxpsn.core.branches import when
from jaxpsn.noise import kl_gaussian

# Purposes folded into the key of a step.
_ACT, _BEGIN, _LEARN, _PAY = off_policy._ACT, off_policy._BEGIN, off_policy._LEARN, off_policy._PAY

Metrics = off_policy.Metrics
Recall = Callable[..., Array]
"""As of :class:`jaxpsn.control.exploration.rules.Followers`."""


@struct.dataclass
class Row:
    """One vector step of a rollout, leaves ``[N, ...]``."""

    obs: Any  # raw
    before: Any  # actions before they were squashed
    reward: Any
    terminated: Any
    truncated: Any
    next_obs: Any  # raw, before any reset
    tags: Any  # which perturbation was held; None where there is one in a rollout


@dataclass(frozen=True, eq=False)
class Rollouts(off_policy.Program):
    """An on-policy agent: it gathers ``rollout`` vector steps, learns from all of them, and forgets them.

    Weights, sigma and the statistics of observations stand still within a rollout. After it come, in this order: the
    learning, the statistics, the scale of the noise, and the redraw of all followers. ``replay`` holds one rollout.
    """

    agent: ppo.OnPolicyLearner

    ahead: ClassVar[None] = None
    """Noise is measured between rollouts, not at every step."""

    def step(self, state: ProgramState) -> tuple[ProgramState, Metrics]:
        """One vector step of all environments, and the learning where it completes a rollout."""
        key, before = jax.random.fold_in(state.key, state.clock), state
        drawn, action = self._sample(jax.random.fold_in(key, _ACT), state)
        with jax.named_scope("physics"):
            after, outcome = self.episodes.step(state.envs, action)
        done = outcome.terminated | outcome.truncated
        with jax.named_scope("metrics"):
            tally, metrics = off_policy.count_episodes(state.tally, outcome.reward, done, self.config.env.action_repeat)
        row = Row(state.envs.obs, drawn, outcome.reward, outcome.terminated, outcome.truncated, outcome.final_obs,
                  self._tags(state.explore))  # fmt: skip
        bonus, row, paid = paying.pay(self, jax.random.fold_in(key, _PAY), state.bonus, row)
        with jax.named_scope("store"):
            stored = replay.insert(state.replay, state.clock, row)
        clock = state.clock + 1
        state = state.replace(
            clock=clock, updates=self.schedule.updates_done(clock), envs=after, replay=stored, tally=tally, bonus=bonus
        )
        if self._by_episode:
            state = state.replace(explore=self.explorer.begin(jax.random.fold_in(key, _BEGIN), state.explore, done))
        learner, stats, learnt = self._learn(key, state)
        bonus, told = paying.learn_rollout(self, jax.random.fold_in(key, _PAY), state)
        state = state.replace(learner=learner, statistics=stats, bonus=bonus)
        state = state.replace(explore=self._adapt(key, state))
        if not self._by_episode:
            state = state.replace(explore=self._redraw(key, state))
        with jax.named_scope("metrics"):
            metrics |= learnt | paid | told | self.explorer.report(state.explore)
            metrics["reward"] = jnp.mean(outcome.reward)
            metrics |= self.episodes.space.report(action)
        if self.config.diagnose:
            seen, found = self._diagnose(before, action, outcome, clock)
            state, metrics = state.replace(diagnosis=seen), metrics | found
        return state, metrics

    @property
    def lower(self) -> dict[str | None, str]:
        """Fields of the config that make parts of the state smaller, as of the program of replay."""
        return {"replay": "agent.rollout", "learner": self.config.agent.widths, None: "env.num_envs"}

    def passing(self, state: ProgramState) -> dict[str, tuple[Any, str]]:
        """A pass through a rollout holds it once more, dealt out."""
        obs = jax.ShapeDtypeStruct((self.config.env.num_envs, self.episodes.observation_size), jnp.float32)
        return {"minibatches": (jax.eval_shape(self._replay, obs), self.lower["replay"])}

    @property
    def _by_episode(self) -> bool:
        """Whether followers are redrawn within a rollout."""
        return self.config.agent.redraw == "episode"

    def _tags(self, explore: Any) -> Any:
        return self.explorer.behaviour.followers.tags(explore.behaviour) if self._by_episode else None

    def _replay(self, obs: Float[Array, "n o"]) -> Any:
        count = obs.shape[0]
        zeros, flag = jnp.zeros((count,), jnp.float32), jnp.zeros((count,), bool)
        drawn = jnp.zeros((count, self.episodes.action_size), jnp.float32)
        tags = jnp.zeros((count,), jnp.uint32) if self._by_episode else None
        return replay.init(self.config.agent.rollout, Row(obs, drawn, zeros, flag, flag, obs, tags))

    @jax.named_scope("act")
    def _sample(self, key: PRNGKeyArray, state: ProgramState) -> tuple[Float[Array, "n a"], Float[Array, "n a"]]:
        """A sample of each environment's policy before it is squashed, and the action."""
        # With a border around it the policy is computed alike in all programs, also in the branch of silent noise.
        seen = lax.optimization_barrier((state.learner.actor, self.normalise(state.statistics, state.envs.obs)))
        moments = lax.optimization_barrier(self.explorer.behaviour.act(seen[0], state.explore.behaviour, seen[1]))
        mean, log_std = jnp.split(moments, 2, axis=-1)
        drawn = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype)
        return drawn, jnp.tanh(drawn)

    @jax.named_scope("begin")
    def _redraw(self, key: PRNGKeyArray, state: ProgramState) -> Any:
        """New perturbations for everybody where a rollout is complete."""
        everyone = jnp.ones((self.config.env.num_envs,), bool)
        begin = partial(self.explorer.begin, jax.random.fold_in(key, _BEGIN), done=everyone)
        return when(self.schedule.learns(state.clock), begin, lambda explore: explore, state.explore)

    @jax.named_scope("learn")
    def _learn(self, key: PRNGKeyArray, state: ProgramState) -> tuple[LearnerState, Any, Metrics]:
        """Learn from a rollout if it is complete; absent metrics are (0, 0)."""
        key = jax.random.fold_in(key, _LEARN)

        def learn_from(recall: Recall, learner: LearnerState, stats: Any) -> tuple[LearnerState, Any, Metrics]:
            samples, told = self._samples(state, recall)
            learner, metrics = self._passes(key, learner, samples, state, recall)
            rows = state.replay.data.obs
            return learner, self._observe(stats, rows.reshape(-1, rows.shape[-1])), metrics | told

        def learn(learner: LearnerState, stats: Any) -> tuple[LearnerState, Any, Metrics]:
            followers = self.explorer.behaviour.followers
            perturbed, plain = (partial(learn_from, recall) for recall in (followers.recall, self._led))
            if followers.loud is None or not exploration.silent(self.config.explore, of_explore(self.hyper)):
                return perturbed(learner, stats)
            # Noise of size zero sums in another order: a program of its own is that of plain PPO to the last bit.
            return lax.cond(followers.loud(state.explore.behaviour), perturbed, plain, learner, stats)

        def skip(learner: LearnerState, stats: Any) -> tuple[LearnerState, Any, Metrics]:
            zero = jnp.zeros((), jnp.float32)
            return learner, stats, {name: (zero, zero) for name in (*self.learnt, "divergence", "ess")}

        return when(self.schedule.learns(state.clock), learn, skip, state.learner, state.statistics)

    def _led(
        self, params: Any, state: Any, obs: Float[Array, "G R O"], groups: Any, tags: Any
    ) -> Float[Array, "G R K"]:
        """What followers without noise would do."""
        return self.agent.policy.raw(params, obs)

    def _samples(self, state: ProgramState, recall: Recall) -> tuple[ppo.Samples, Metrics]:
        """The rollout by groups, with advantages, and how far its followers are from the leader."""
        config, rows = self.config.agent, state.replay.data
        obs, following = self.normalise(state.statistics, rows.obs), self.normalise(state.statistics, rows.next_obs)
        value, after = self.agent.value(state.learner.critic, obs), self.agent.value(state.learner.critic, following)
        cut = rows.terminated | rows.truncated
        changes = _changes(rows.tags, self._tags(state.explore)) if self._by_episode else jnp.zeros_like(cut)
        cut = cut | changes
        gain = surrogate.advantages(rows.reward, value, after, rows.terminated, cut, config.gamma, config.gae_lambda)
        obs, before, gain, value, tags = self._by_group((obs, rows.before, gain, value, rows.tags))
        groups = jnp.arange(obs.shape[0], dtype=jnp.int32)
        clean = self.agent.policy.raw(state.learner.actor, obs)
        acted = recall(state.learner.actor, state.explore.behaviour, obs, groups, tags)
        leading, own = surrogate.log_prob(before, clean), surrogate.log_prob(before, acted)
        told = {"divergence": _divergence(clean, acted), "ess": surrogate.sample_size(leading - own)}
        weight, reference = jnp.ones_like(own), own
        if config.estimator == "clean":
            weight, reference = jnp.minimum(jnp.exp(leading - own), config.truncation), leading
        target = gain + value
        gain, paid = self._paid(state, gain, changes)
        if config.advantages in ("rollout", "group"):
            gain = surrogate.normalised(gain, config.advantages, (0, 1) if config.advantages == "rollout" else 1)
        samples = ppo.Samples(obs, before, reference, weight, gain, value, target, groups, tags, paid)
        return samples, {name: (one, jnp.ones((), jnp.float32)) for name, one in told.items()}

    def _paid(
        self, state: ProgramState, gain: Float[Array, "P R"], changes: Bool[Array, "T N"]
    ) -> tuple[Float[Array, "P R"], Any]:
        """Advantages with those of a bonus, at equal sizes times beta, and what its values learn from.

        What the bonus pays goes on through ends of episodes, to the observation that each environment saw next.
        """
        own, rows = state.learner.intrinsic, state.replay.data
        if own is None:
            return gain, None
        value, after = (
            self.agent.value(own.critic, self.normalise(state.statistics, one))
            for one in (rows.obs, paying.seen_next(state))
        )
        paid = self.bonus.reward(state.bonus, rows.next_obs)
        lam = self.config.agent.gae_lambda
        found = surrogate.advantages(paid, value, after, jnp.zeros_like(changes), changes, self.bonus.gamma, lam)
        found, value = self._by_group((found, value))
        beta = own.beta * population.ladder(self.config.bonus.ladder, self.config.members)[:, None]
        return losses.balance(gain, gain, found, beta, own.floor), ppo.Paid(value, found + value)

    def _by_group(self, tree: Any) -> Any:
        """Leaves ``[T, N, ...]`` as ``[P, E T, ...]``: the steps of each group of E environments."""

        def turn(leaf: Array) -> Array:
            turned = jnp.moveaxis(leaf, 0, 1)
            return turned.reshape(self.config.members, -1, *leaf.shape[2:])

        return jax.tree.map(turn, tree)

    def _passes(
        self, key: PRNGKeyArray, learner: LearnerState, samples: ppo.Samples, state: ProgramState, recall: Recall
    ) -> tuple[LearnerState, Metrics]:
        config, hyper = self.config.agent, of_agent(state.hyper)

        def act(samples: ppo.Samples, params: Any) -> Float[Array, "G R K"]:
            if config.estimator == "clean":
                return self.agent.policy.raw(params, samples.obs)
            return recall(params, state.explore.behaviour, samples.obs, samples.groups, samples.tags)

        def update(learner: LearnerState, item: Any) -> tuple[LearnerState, Metrics]:
            key, batch = item
            return self.agent.update(key, learner, batch, partial(act, batch), hyper)

        def deal(key: PRNGKeyArray) -> ppo.Samples:
            return self.place.spread(dealt(key, samples, config.minibatches), axis=1)

        return passes(key, learner, config, deal, update)


def passes(
    key: PRNGKeyArray,
    learner: LearnerState,
    config: ByRollouts,
    deal: Callable[[PRNGKeyArray], Any],
    update: Callable[[LearnerState, Any], tuple[LearnerState, Metrics]],
) -> tuple[LearnerState, Metrics]:
    """All epochs over a rollout; metrics are summed over their updates.

    ``deal(key)``: its minibatches in a new order, leaves ``[minibatches, ...]``; ``update(learner, (key, minibatch))``.
    """

    def epoch(learner: LearnerState, key: PRNGKeyArray) -> tuple[LearnerState, Metrics]:
        mixing, own = jax.random.split(key)
        batches = deal(mixing)
        learner, metrics = lax.scan(update, learner, (jax.random.split(own, config.minibatches), batches))
        return learner, jax.tree.map(lambda x: jnp.sum(x, axis=0), metrics)

    learner, metrics = lax.scan(epoch, learner, jax.random.split(key, config.epochs))
    return learner, jax.tree.map(lambda x: jnp.sum(x, axis=0), metrics)


def dealt(key: PRNGKeyArray, samples: ppo.Samples, count: int) -> ppo.Samples:
    """All samples once, in ``count`` minibatches of equal size: leaves ``[count, G, R', ...]``.

    As many minibatches as can be have an equal number of samples of every group, chosen at random; if there are to be
    more, groups are dealt out too. So a group's perturbation serves all of its samples in a minibatch.
    """
    groups, steps = samples.weight.shape
    parts = gcd(steps, count)
    blocks = count // parts
    mixing, choosing = jax.random.split(key)
    order = jnp.argsort(jax.random.uniform(mixing, (groups, steps), jnp.float32), axis=1)
    who = jax.random.permutation(choosing, groups) if blocks > 1 else jnp.arange(groups)

    def deal(leaf: Array) -> Array:
        mixed = jnp.take_along_axis(leaf, order.reshape(order.shape + (1,) * (leaf.ndim - 2)), axis=1)[who]
        cut = mixed.reshape(blocks, groups // blocks, parts, steps // parts, *leaf.shape[2:])
        return jnp.moveaxis(cut, 2, 0).reshape(count, groups // blocks, steps // parts, *leaf.shape[2:])

    taken = samples.groups[who].reshape(1, blocks, groups // blocks)
    everyone = jnp.broadcast_to(taken, (parts, *taken.shape[1:])).reshape(count, groups // blocks)
    return jax.tree.map(deal, samples.replace(groups=None)).replace(groups=everyone)


def _changes(tags: UInt32[Array, "T N"], now: UInt32[Array, " N"]) -> Bool[Array, "T N"]:
    """Where another perturbation acted at the next step."""
    return jnp.concatenate([tags[1:], now[None]]) != tags


def _divergence(clean: Float[Array, "*batch k"], acted: Float[Array, "*batch k"]) -> Float[Array, ""]:
    """Mean KL(leader || follower), before squashing, in nats."""
    (mean, log_std), (own, own_log) = (jnp.split(moments, 2, axis=-1) for moments in (clean, acted))
    return kl_gaussian(mean, jnp.exp(log_std), own, jnp.exp(own_log))
