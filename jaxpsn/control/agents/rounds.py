"""A round of updates of an agent that learns from replay, as one program."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, PRNGKeyArray

from jaxpsn.control.agents.learner import Learner, Metrics
from jaxpsn.control.state import LearnerState, Transition

_UNROLLED = 8
"""Updates that may stand one after the other in a program, at most."""


def learn(
    agent: Learner,
    key: PRNGKeyArray,
    learner: LearnerState,
    batches: Transition,
    hyper: Any,
    count: Int[Array, ""],
    lean: bool = False,
) -> tuple[LearnerState, Metrics]:
    """One round: scan ``agent.update`` over ``batches[U, B]``; metrics are summed over its updates.

    ``count``: critic updates done before the round, a multiple of U if ``lean``: then the updates are the same, in
    fewer kernels where U is a multiple of the agent's period.
    """
    updates = jax.tree.leaves(batches)[0].shape[0]
    if lean and agent.period <= _UNROLLED and updates % agent.period == 0:
        return _learn_by_period(agent, key, learner, batches, hyper, count)

    def body(learner, item):
        index, batch = item
        return agent.update(jax.random.fold_in(key, index), learner, batch, hyper, count + index)

    steps = jnp.arange(updates, dtype=jnp.int32)
    learner, metrics = lax.scan(body, learner, (steps, batches))
    return learner, jax.tree.map(lambda x: jnp.sum(x, axis=0), metrics)


def _learn_by_period(
    agent: Learner, key: PRNGKeyArray, learner: LearnerState, batches: Transition, hyper: Any, count: Int[Array, ""]
) -> tuple[LearnerState, Metrics]:
    """A round that scans over whole periods, whose updates stand one after the other: no branch between them."""
    updates = jax.tree.leaves(batches)[0].shape[0]
    periods = updates // agent.period
    places = jnp.arange(updates, dtype=jnp.int32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)

    def body(learner: LearnerState, item: Any) -> tuple[LearnerState, Metrics]:
        told = []
        for place in range(agent.period):
            key, batch, done = jax.tree.map(lambda leaf, place=place: leaf[place], item)
            # Where the period is one, nothing is known of the count.
            learner, metrics = agent.update(key, learner, batch, hyper, place if agent.period > 1 else done)
            told.append(metrics)
        return learner, jax.tree.map(lambda *parts: sum(parts), *told)

    items = jax.tree.map(
        lambda leaf: leaf.reshape(periods, agent.period, *leaf.shape[1:]), (keys, batches, count + places)
    )
    if periods == 1:
        return body(learner, jax.tree.map(lambda leaf: leaf[0], items))
    learner, metrics = lax.scan(body, learner, items)
    return learner, jax.tree.map(lambda x: jnp.sum(x, axis=0), metrics)
