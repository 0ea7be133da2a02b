"""What the loop does with a bonus: it observes every step, pays what is sampled, and gives the agent critics for it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from jaxpsn.control import replay, returns
from jaxpsn.control.agents.family import ByRollouts
from jaxpsn.control.bonus.family import BONUSES
from jaxpsn.control.state import LearnerState, ProgramState, Transition
from jaxpsn.control.types import Hyper, of_bonus
from jaxpsn.core.branches import when

_CRITICS, _STATE = range(2)
_ROLLOUT = 0  # folded into the key that a step pays with


def begin(
    agent: Any, told: Any, bonus: Any, key: PRNGKeyArray, hyper: Hyper, learner: LearnerState
) -> tuple[LearnerState, Any]:
    """The learner, with critics for the bonus if it pays apart, and the state of the bonus; None without one.

    ``told``: the component that ``bonus`` was built from.
    """
    own = of_bonus(hyper)
    if bonus is None:
        return learner, None
    key = jax.random.fold_in(key, BONUSES.stream(told))
    if bonus.reward is not None:
        learner = agent.intrinsic(jax.random.fold_in(key, _CRITICS), learner, own["beta"], own["floor"])
    return learner, bonus.init(jax.random.fold_in(key, _STATE), own)


@jax.named_scope("pay")
def pay(program: Any, key: PRNGKeyArray, state: Any, row: Any) -> tuple[Any, Any, dict[str, Any]]:
    """The state of the bonus after a vector step, the row to store, and what there is to report.

    ``row``: a Transition, or a row of a rollout with rewards and what they led to.
    """
    if program.bonus is None:
        return state, row, {}
    bonus = program.bonus
    state, row, metrics = bonus.observe(key, state, row)
    if bonus.learn is not None and not _by_rollouts(program):
        state, told = bonus.learn(key, state, row.next_obs)
        metrics |= told
    # As with statistics of observations: what is stored is what is used, bit for bit.
    return lax.optimization_barrier(state), row, metrics


@jax.named_scope("pay")
def learn_rollout(program: Any, key: PRNGKeyArray, state: ProgramState) -> tuple[Any, dict[str, Any]]:
    """The state of the bonus, which has learnt from a rollout if one is complete; absent metrics are (0, 0).

    After the agent, in as many minibatches as a pass of it, each row once (Burda et al. 2018, algorithm 1): a measure
    that has learnt a rollout already pays nothing for what was new in it. With replay :func:`pay` has learnt.
    """
    bonus = program.bonus
    if bonus is None or bonus.learn is None or not _by_rollouts(program):
        return state.bonus, {}
    count, mixing = program.config.agent.minibatches, jax.random.fold_in(key, _ROLLOUT)

    def learn(own: Any) -> tuple[Any, dict[str, Any]]:
        rows = state.replay.data.next_obs
        rows = rows.reshape(-1, rows.shape[-1])
        order = jax.random.permutation(mixing, rows.shape[0]).reshape(count, -1)
        keys = jax.random.split(jax.random.fold_in(mixing, 0), count)
        own, told = lax.scan(
            lambda own, item: bonus.learn(item[0], own, item[1]), own, (keys, program.place.spread(rows[order], axis=1))
        )
        return own, {name: (jnp.sum(one), jnp.float32(count)) for name, one in told.items()}

    def skip(own: Any) -> tuple[Any, dict[str, Any]]:
        return own, jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), jax.eval_shape(learn, own)[1])

    return when(program.schedule.learns(state.clock), learn, skip, state.bonus)


def _by_rollouts(program: Any) -> bool:
    return isinstance(program.config.agent, ByRollouts)


@jax.named_scope("pay")
def attach(program: Any, state: ProgramState, drawn: replay.Places, batches: Transition) -> Transition:
    """``batches``, taken from the places ``drawn``, with what the bonus pays for them now.

    Of each first row: the bonus for what it reached, and the observation that its environment saw next, which after an
    end is that of the next episode. One step, whatever ``n_step`` is, and no end.
    """
    bonus = program.bonus
    if bonus is None or bonus.reward is None:
        return batches
    ring, clock = state.replay, state.clock
    row, env, held = drawn
    if program.config.agent.n_step > 1:
        row = returns.row(ring, clock, held, row)
    reached = ring.data.next_obs.at[row, env].get(mode="promise_in_bounds")
    follows = replay.successors(ring, clock, row, env, state.envs.obs)
    return batches.replace(intrinsic=_endless(program, state, reached, follows))


@jax.named_scope("pay")
def attach_rollout(program: Any, state: ProgramState, rows: Transition) -> Transition:
    """``rows`` of a whole rollout [T, N], with what the bonus pays for them now, as :func:`attach` does."""
    if state.learner.intrinsic is None:
        return rows
    kept = state.replay.data
    return rows.replace(intrinsic=_endless(program, state, kept.next_obs, seen_next(state)))


def seen_next(state: ProgramState) -> Array:
    """What each environment saw next after each row of a rollout [T, N, O]: after an end, the start of an episode."""
    return jnp.concatenate([state.replay.data.obs[1:], state.envs.obs[None]])


def _endless(program: Any, state: ProgramState, reached: Array, follows: Array) -> Transition:
    """One step without an end, paid for what it ``reached``, to what ``follows``."""
    paid = program.bonus.reward(state.bonus, reached)
    never, discount = jnp.zeros(paid.shape, bool), jnp.full(paid.shape, program.bonus.gamma, jnp.float32)
    return Transition(None, None, paid, never, never, program.normalise(state.statistics, follows), discount)
