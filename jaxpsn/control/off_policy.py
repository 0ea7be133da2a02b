"""The off-policy loop as one pure step: act, step the environments, store, learn, adapt the noise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn import envs
from jaxpsn.control import agents, diagnosis, evaluation, exploration, gauge, paying, replay, returns, statistics
from jaxpsn.control.bonus import BonusFunctions
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.placement import ONE_DEVICE, Placement
from jaxpsn.control.schedule import Schedule
from jaxpsn.control.state import LearnerState, Look, ProgramState, Tally, Transition
from jaxpsn.control.types import Hyper, of_agent, of_explore
from jaxpsn.core import platforms
from jaxpsn.core.branches import when
from jaxpsn.core.components import terms_of
from jaxpsn.noise import formed

# Purposes folded into the key of a seed, and into the key of a step.
_ENVS, _LEARNER, _EXPLORER, _STEPS, _BONUS = range(5)
_WARMUP, _ACT, _BEGIN, _BATCHES, _LEARN, _STATES, _ADAPT, _JUDGE, _MARK, _PAY = range(10)

SCOPES = (
    "observe", "act", "physics", "pay", "judge", "begin", "store", "learn", "adapt", "metrics", "diagnose", "checks",
)  # fmt: skip
"""Names of a step's phases, in profiles and in compiled programs; the last is that of a chunk."""

Metrics = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Program:
    """One control experiment as pure functions of one seed; see :mod:`jaxpsn.run.program` for the interface."""

    config: ControlConfig
    env: Any  # brax.envs.Env, one environment
    episodes: Any  # Episodes that are learnt from
    trials: Any  # Episodes of an evaluation
    agent: agents.Learner
    explorer: exploration.Explorer
    schedule: Schedule
    hyper: Hyper
    cells: envs.Cells
    place: Placement = ONE_DEVICE
    loud: exploration.Explorer | None = None  # the same for runs whose noise is never zero
    bonus: BonusFunctions | None = None

    @property
    def steps_per_call(self) -> int:
        """Environment steps of one :meth:`step`."""
        return self.config.steps_per_call

    @property
    def compiler_options(self) -> dict[str, str]:
        """What XLA is told of every program made of this one."""
        return self.episodes.compiler_options

    @property
    def lean(self) -> bool:
        """Whether the device pays for every kernel that it starts; a CPU does not."""
        return self.place.platform != platforms.CPU

    def since(self, clock: int, hyper: Hyper | None = None) -> "Program":
        """The same program for steps from ``clock`` on: without branches that they all take alike.

        ``hyper``: the numbers of all runs, its own if left out. A CPU has one program for the whole run: there a branch
        costs nothing, and compiling another one much.
        """
        if not self.lean or (self.schedule.warm or clock < self.schedule.warmup):
            return self
        numbers = of_explore(self.hyper if hyper is None else hyper)
        kept = exploration.silent(self.config.explore, numbers) or self.loud is None
        return replace(self, schedule=self.schedule.since(clock), explorer=self.explorer if kept else self.loud)

    @property
    def learnt(self) -> tuple[str, ...]:
        """Names of the metrics of an update."""
        return (*self.config.agent.learnt, *self.config.bonus.learnt)

    @property
    def silences(self) -> dict[str, Callable[[Mapping[str, Any]], bool]]:
        """Under which condition on a row nothing can be learnt, by what is said of it."""
        return {"no reward but 0 was seen": lambda row: row.get("reward") == 0.0}

    @property
    def starts(self) -> Callable[[PRNGKeyArray, Array], list[Array]] | None:
        """``starts(key, judging)``: where the episodes of :meth:`init`, or of :meth:`evaluate`, on ``key`` begin.

        Resetting the physics takes a compiler as long as a step of it, and both need it. None where they cannot share.
        """
        make = envs.together(self.episodes, self.trials) if self.place.mesh is None else None

        def starts(key: PRNGKeyArray, judging: Bool[Array, ""]) -> list[Array]:
            ours = self.episodes.keys(jax.random.fold_in(key, _ENVS))
            return make(judging.astype(jnp.int32), ours, self.trials.keys(key))

        return starts if make else None

    def init(self, key: PRNGKeyArray, hyper: Hyper, starts: Sequence[Array] | None = None) -> ProgramState:
        """The state of one seed before its first step; ``starts``: of :attr:`starts`, if they are there already."""
        learner = self.agent.init(jax.random.fold_in(key, _LEARNER), of_agent(hyper), of_explore(hyper))
        own = jax.random.fold_in(key, _BONUS)
        learner, bonus = paying.begin(self.agent, self.config.bonus, self.bonus, own, hyper, learner)
        states = self.episodes.reset(jax.random.fold_in(key, _ENVS), starts)
        count = self.config.env.num_envs
        return ProgramState(
            clock=jnp.int32(0),
            updates=jnp.int32(0),
            key=jax.random.fold_in(key, _STEPS),
            hyper=hyper,
            envs=states,
            explore=self.explorer.init(jax.random.fold_in(key, _EXPLORER), learner.actor, of_explore(hyper)),
            learner=learner,
            statistics=statistics.init(self.episodes.observation_size),
            replay=self._replay(states.obs),
            tally=Tally(jnp.zeros((count,), jnp.float32), jnp.zeros((count,), jnp.float32)),
            diagnosis=diagnosis.init(self.cells) if self.config.diagnose else None,
            bonus=bonus,
            gauge=gauge.init(count) if self.config.agent.scale_rewards else None,
        )

    @property
    def ahead(self) -> Callable[[ProgramState, Array], Look] | None:
        """``ahead(state, clock)``: what the step at ``clock`` draws to measure the noise. None: it does so itself.

        For all steps of a chunk at once, where every kernel has its price: one after the other, keys cost as many as
        the measurement.
        """
        if not self.lean or exploration.measuring(self.config.explore) is None:
            return None

        def look(state: ProgramState, clock: Array) -> Look:
            key = jax.random.fold_in(state.key, clock)
            places = self._places(key, state.replay, clock + 1)
            return Look(places, self.explorer.look(jax.random.fold_in(key, _ADAPT)))

        return look

    def _places(self, key: PRNGKeyArray, stored: replay.Replay, clock: Array) -> replay.Places:
        """Of the states that a step measures the noise on, ``clock`` being that after it."""
        probed = exploration.measuring(self.config.explore).probed_states(self.config.env.num_envs)
        return replay.places(jax.random.fold_in(key, _STATES), stored, clock, (probed,))

    def step(self, state: ProgramState, ahead: Look | None = None) -> tuple[ProgramState, Metrics]:
        """One vector step of all environments and the learning that follows it; ``ahead``: of :attr:`ahead`."""
        key = jax.random.fold_in(state.key, state.clock)
        state = state.replace(statistics=self._observe(state.statistics, state.envs.obs))
        before = state
        action, explore = self._act(key, state)
        with jax.named_scope("physics"):
            after, outcome = self.episodes.step(state.envs, action)
        done = outcome.terminated | outcome.truncated
        row = Transition(
            obs=state.envs.obs,
            action=action,
            reward=outcome.reward,
            terminated=outcome.terminated,
            truncated=outcome.truncated,
            next_obs=outcome.final_obs,
            mask=self._mark(jax.random.fold_in(key, _MARK), done.shape[0]),
        )
        with jax.named_scope("metrics"):
            tally, metrics = count_episodes(state.tally, outcome.reward, done, self.config.env.action_repeat)
        bonus, row, paid = paying.pay(self, jax.random.fold_in(key, _PAY), state.bonus, row)
        measured = self._gauge(state.gauge, row.reward, done)
        explore = self._judge(jax.random.fold_in(key, _JUDGE), state, explore, outcome)
        clock = state.clock + 1
        with jax.named_scope("begin"):
            # So that the physics is not cut into more kernels because something else reads who is done.
            ended = lax.optimization_barrier(done) if self.lean else done
            explore = self.explorer.begin(jax.random.fold_in(key, _BEGIN), explore, ended)
        with jax.named_scope("store"):
            stored = replay.insert(state.replay, state.clock, row)
        state = state.replace(
            clock=clock,
            updates=self.schedule.updates_done(clock),
            envs=after,
            explore=explore,
            replay=stored,
            tally=tally,
            bonus=bonus,
            gauge=measured,
        )
        learner, learnt = self._learn(key, state)
        bonus, told = paying.learn_rollout(self, jax.random.fold_in(key, _PAY), state)
        state = state.replace(learner=learner, bonus=bonus)
        state = state.replace(explore=self._adapt(key, state, ahead))
        with jax.named_scope("metrics"):
            metrics |= learnt | paid | told | self.explorer.report(state.explore)
            metrics["reward"] = jnp.mean(outcome.reward)
            metrics |= self.episodes.space.report(action)
            metrics |= {} if measured is None else {"reward_scale": self._size(measured)}
        if self.config.diagnose:
            seen, found = self._diagnose(before, action, outcome, clock)
            state, metrics = state.replace(diagnosis=seen), metrics | found
        return state, metrics

    def evaluate(self, key: PRNGKeyArray, state: ProgramState, starts: Sequence[Array] | None = None) -> Metrics:
        """Episodes of the clean policy, side by side; ``starts`` as of :meth:`init`."""

        def act(obs: Float[Array, "n o"]) -> Array:
            return self.agent.policy(state.learner.actor, self.normalise(state.statistics, obs))

        limit, repeat = episode_length(self.config), self.config.env.action_repeat
        return evaluation.evaluate(key, self.trials, act, repeat, limit, self.place.spread, starts)

    @property
    def lower(self) -> dict[str | None, str]:
        """Fields of the config that make parts of the state smaller, by the names of the parts; None for all others."""
        return {
            "replay": "agent.replay_capacity",
            "learner": self.config.agent.widths,
            "batches": "agent.batch_size, agent.updates",
            None: "env.num_envs",
        }

    def passing(self, state: ProgramState) -> dict[str, tuple[Any, str]]:
        """The largest of what one seed holds for a while beside its state: as shapes, with the fields that set it."""
        if state.replay is None:
            return {}
        shape = (self.schedule.updates, self.config.agent.batch_size)
        obs = jax.ShapeDtypeStruct((1, self.episodes.observation_size), jnp.float32)
        row = jax.eval_shape(self._example, obs)
        batches = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*shape, *leaf.shape[1:]), leaf.dtype), row)
        return {"batches": (batches, self.lower["batches"])}

    def watch(self, state: ProgramState, metrics: Metrics) -> dict[str, Any]:
        """What must stay finite, by the name that an error message gives it."""
        learner = state.learner
        trees = {
            "actor": learner.actor,
            "critic": learner.critic,
            "targets": (learner.target_actor, learner.target_critic),
            "optimiser": (learner.actor_optimizer, learner.critic_optimizer, learner.temperature_optimizer),
            **{name: metrics[name] for name in self.learnt if name.endswith("loss")},
            "observation statistics": state.statistics,
        }
        if state.gauge is not None:
            trees["reward statistics"] = state.gauge
        if state.bonus is not None:
            trees["bonus"] = (learner.intrinsic, state.bonus)
        return trees | {name: metrics[name] for name in ("sigma", "temperature") if name in metrics}

    def alarms(self) -> list[Any]:
        """What is told once if the rows of metrics show it (:mod:`jaxpsn.run.alarms`)."""
        return list(exploration.alarms(self.config.explore, "explore"))

    def remarks(self) -> list[str]:
        """What is worth knowing before a run: the weights that have to be formed for every perturbation."""
        explore = jax.eval_shape(self.init, jax.random.key(0), self.hyper).explore
        draw = getattr(explore.behaviour, "draw", None)
        told = "" if draw is None else formed(draw.spec, draw.members)
        return [f"weights {told}"] if told else []

    def axes(self, state: ProgramState) -> ProgramState:
        """Axes of ``jax.vmap`` over seeds: the clock is shared, all else has a leading axis."""
        return jax.tree.map(lambda _: 0, state).replace(clock=None)

    def normalise(self, stats: statistics.Statistics, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch o"]:
        """Observations as the networks see them."""
        if not self.config.agent.normalize_observations:
            return obs
        return statistics.normalise(stats, obs, self.config.agent.observation_clip)

    @jax.named_scope("observe")
    def _observe(self, stats: statistics.Statistics, obs: Float[Array, "n o"]) -> statistics.Statistics:
        if not self.config.agent.normalize_observations:
            return stats
        # What is stored is then what is used, bit for bit, whatever XLA fuses in one program and not in another.
        return lax.optimization_barrier(statistics.update(stats, obs))

    @jax.named_scope("metrics")
    def _gauge(self, seen: Any, reward: Float[Array, " n"], done: Bool[Array, " n"]) -> Any:
        """What is known of the size of rewards after a step, if the agent scales them."""
        return None if seen is None else gauge.observe(seen, reward, done, self.config.agent.gamma)

    def _size(self, seen: gauge.Gauge) -> Float[Array, ""]:
        return gauge.size(seen, self.config.agent.return_bound)

    @jax.named_scope("diagnose")
    def _diagnose(
        self, before: ProgramState, action: Array, outcome: Any, clock: Any
    ) -> tuple[diagnosis.Diagnosis, Metrics]:
        """What the step from ``before`` with ``action`` adds to what was seen."""
        seen = diagnosis.observe(before.diagnosis, self.cells, outcome.final_obs, outcome.reward, clock)
        clean = self.agent.policy(before.learner.actor, self.normalise(before.statistics, before.envs.obs))
        chosen = jnp.logical_not(self.schedule.random(before.clock))
        distance = diagnosis.distance(self.episodes.space, action, clean, chosen)
        return seen, diagnosis.report(seen, self.steps_per_call) | {"action_distance": distance}

    @jax.named_scope("judge")
    def _judge(self, key: PRNGKeyArray, state: ProgramState, explore: Any, outcome: Any) -> Any:
        """What the step brought, for a rule that selects scales by it; random actions say nothing about them."""
        if not any(term.judges for term in terms_of(self.config.explore)):
            return explore

        def judge(explore: Any) -> Any:
            done = outcome.terminated | outcome.truncated
            seen = self.normalise(state.statistics, outcome.final_obs)
            return self.explorer.judge(key, explore, outcome.reward, done, seen)

        return when(self.schedule.random(state.clock), lambda explore: explore, judge, explore)

    def _replay(self, obs: Float[Array, "n o"]) -> Any:
        """The replay of a seed that starts with ``obs``, empty."""
        return replay.init(self.config.agent.replay_capacity // obs.shape[0], self._example(obs))

    def _example(self, obs: Float[Array, "n o"]) -> Transition:
        count = obs.shape[0]
        action = self.episodes.space.zeros(count)
        flag = jnp.zeros((count,), bool)
        mask = self._mark(jax.random.key(0), count)
        return Transition(obs, action, jnp.zeros((count,), jnp.float32), flag, flag, obs, mask=mask)

    def _mark(self, key: PRNGKeyArray, count: int) -> Any:
        """What the agent stores beside each of ``count`` transitions, if anything."""
        return None if self.agent.mark is None else self.agent.mark(key, count)

    @jax.named_scope("act")
    def _act(self, key: PRNGKeyArray, state: ProgramState) -> tuple[Array, Any]:
        """The action to execute and to store, and the exploration state after it."""
        obs = self.normalise(state.statistics, state.envs.obs)

        def uniform(explore: Any) -> tuple[Array, Any]:
            return self.episodes.space.uniform(jax.random.fold_in(key, _WARMUP), obs.shape[0]), explore

        def behave(explore: Any) -> tuple[Array, Any]:
            return self.explorer.act(jax.random.fold_in(key, _ACT), state.learner.actor, explore, obs)

        return when(self.schedule.random(state.clock), uniform, behave, state.explore)

    @jax.named_scope("learn")
    def _learn(self, key: PRNGKeyArray, state: ProgramState) -> tuple[LearnerState, Metrics]:
        """A round of updates if the clock says so; absent metrics are (0, 0)."""
        shape, hyper = (self.schedule.updates, self.config.agent.batch_size), of_agent(state.hyper)

        def learn(learner: LearnerState) -> tuple[LearnerState, Metrics]:
            batches = self._batches(jax.random.fold_in(key, _BATCHES), state, shape)
            batches = self.place.spread(batches, axis=1)
            batches = batches.replace(
                obs=self.normalise(state.statistics, batches.obs),
                next_obs=self.normalise(state.statistics, batches.next_obs),
            )
            done_before = self.schedule.updates_done(state.clock) - self.schedule.updates
            own = jax.random.fold_in(key, _LEARN)
            return agents.learn(self.agent, own, learner, batches, hyper, done_before, self.lean)

        def skip(learner: LearnerState) -> tuple[LearnerState, Metrics]:
            zero = jnp.zeros((), jnp.float32)
            return learner, {name: (zero, zero) for name in self.learnt}

        return when(self.schedule.learns(state.clock), learn, skip, state.learner)

    def _batches(self, key: PRNGKeyArray, state: ProgramState, shape: tuple[int, ...]) -> Transition:
        agent, drawn = self.config.agent, replay.places(key, state.replay, state.clock, shape)
        if agent.n_step == 1:
            batches = replay.take(state.replay, drawn)
        else:
            batches = returns.take(state.replay, state.clock, drawn, agent.n_step, agent.gamma)
        if state.gauge is not None:
            batches = batches.replace(reward=batches.reward / self._size(state.gauge))
        return paying.attach(self, state, drawn, batches)

    @jax.named_scope("adapt")
    def _adapt(self, key: PRNGKeyArray, state: ProgramState, ahead: Look | None = None) -> Any:
        """A scale update, or a look at a learnt scale, on replayed observations if the clock says so."""
        if exploration.measuring(self.config.explore) is None:
            return state.explore

        def adapt(explore: Any) -> Any:
            places = self._places(key, state.replay, state.clock) if ahead is None else ahead.places
            own = jax.random.fold_in(key, _ADAPT) if ahead is None else ahead.drawn
            obs = self.normalise(state.statistics, replay.take(replay.Replay(state.replay.data.obs), places))
            return self.explorer.adapt(own, state.learner.actor, explore, obs)

        return when(self.schedule.adapts(state.clock), adapt, lambda explore: explore, state.explore)


def count_episodes(
    tally: Tally, reward: Float[Array, " n"], done: Bool[Array, " n"], action_repeat: int
) -> tuple[Tally, Metrics]:
    """Add one step; ``return`` and ``length`` of the episodes that ended with it as (total, count)."""
    returns, length = tally.returns + reward, tally.length + action_repeat
    zeros, ended = jnp.zeros_like(returns), jnp.sum(done, dtype=jnp.float32)
    metrics = {
        "return": (jnp.sum(jnp.where(done, returns, zeros)), ended),
        "length": (jnp.sum(jnp.where(done, length, zeros)), ended),
    }
    return Tally(jnp.where(done, zeros, returns), jnp.where(done, zeros, length)), metrics


def episode_length(config: ControlConfig) -> int:
    """Time limit in environment steps: the config's, or the task's own."""
    return config.env.episode_length or envs.default_episode_length(config.env.name)
