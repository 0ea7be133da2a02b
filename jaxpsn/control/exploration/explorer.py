"""From a component or sum of exploration to pure functions, and what a learner and a loop ask of the whole."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp

from jaxpsn.control.exploration import acting
from jaxpsn.control.exploration.family import EXPLORATION, ActionNoise, Space, behaviour_of, prefix
from jaxpsn.control.exploration.rules import Explorer, Heads, LearntNoise
from jaxpsn.control.exploration.sums import Clean, part, total
from jaxpsn.core.components import Sum, called, terms_of, traced


def make(explore: Any, policy: Any, params: Any, space: Space) -> Explorer:
    """The explorer of a component or sum (or its text).

    ``policy(params, obs[..., O]) -> action[..., A]`` takes observations as the explorer gets them; gsde and lattice
    need a :class:`jaxpsn.networks.Policy`, whose features they know. ``params`` may be abstract; for noisynet they hold
    scales too. ``init`` of what is returned takes ``hyper`` as :func:`hyper_of` gives it.
    """
    explore = EXPLORATION.make(explore, "explore")
    behaviour = behaviour_of(explore) or Clean()
    noises = {called(type(term)): term.build(space) for term in terms_of(explore) if isinstance(term, ActionNoise)}
    streams = {called(type(term)): EXPLORATION.stream(term) for term in (behaviour, *terms_of(explore))}
    alone = len(terms_of(explore)) == 1
    emit = acting.emitter(policy, behaviour)
    acted = behaviour.build(policy, params, space)
    return total(acted, noises, space.actions, called(type(behaviour)), alone, streams, emit)


def alone(explore: Any) -> Any:
    """A component or sum for environments that share nothing (:meth:`Exploration.alone`)."""
    terms = tuple(term.alone() for term in terms_of(explore))
    return Sum(terms) if isinstance(explore, Sum) else terms[0]


def hyper_of(explore: Any) -> dict[str, Any]:
    """The traced fields of a component or sum: path -> float32."""
    return {path: jnp.asarray(value, jnp.float32) for path, value in traced(explore).items()}


def measuring(explore: Any) -> Any:
    """The behaviour, if it takes replayed states; else None."""
    behaviour = behaviour_of(explore)
    return behaviour if behaviour is not None and behaviour.probed_states(2) else None


def learnt_noise(explore: Any) -> LearntNoise | Heads | None:
    """What a rule makes the learner learn: heads, or noise in the actor; ``widen`` takes the ``hyper`` of the whole."""
    behaviour = behaviour_of(explore)
    own = None if behaviour is None else behaviour.learnt_noise()
    if not isinstance(own, LearntNoise):
        return own
    before, rule = prefix(explore, behaviour).rstrip("."), own.optimizer

    def of(hyper: Mapping[str, Any]) -> Mapping[str, Any]:
        return part(hyper, before) if before else hyper

    if rule is not None:
        rule = rule._replace(init=lambda key, params, hyper: own.optimizer.init(key, params, of(hyper)))
    return LearntNoise(lambda params, hyper: own.widen(params, of(hyper)), own.sample, rule)


def silent(explore: Any, hyper: Mapping[str, Any]) -> bool:
    """Whether the behaviour of runs with these numbers (as of :func:`hyper_of`) may be the clean policy's somewhere."""
    behaviour = behaviour_of(explore)
    if behaviour is None:
        return True
    before = prefix(explore, behaviour).rstrip(".")
    return behaviour.silent(part(hyper, before) if before else hyper)


def alarms(explore: Any, where: str) -> Iterable[Any]:
    """What is told once if the rows of metrics show it; ``where``: what the user calls the whole."""
    return [
        alarm for term in terms_of(explore) for alarm in term.alarms(f"{where}.{prefix(explore, term)}".rstrip("."))
    ]
