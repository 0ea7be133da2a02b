"""A policy, clean or perturbed, plus any number of action noises."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control.exploration import acting
from jaxpsn.control.exploration.family import EXPLORATION, Behaviour, Space
from jaxpsn.control.exploration.rules import BehaviourFunctions, Explorer, Followers, NoiseFunctions
from jaxpsn.envs.spaces import ActionSpace, Box, Discrete


@struct.dataclass
class SumState:
    """State of the policy's own perturbation, and of each action noise by the name of its rule."""

    behaviour: Any
    noises: Any  # dict: rule -> state


@EXPLORATION.register("none", stream=0)
@dataclass(frozen=True)
class Clean(Behaviour):
    """The clean policy: no exploration but what a stochastic policy samples."""

    samples: ClassVar[bool] = True
    followed: ClassVar[bool] = True
    spaces: ClassVar[tuple[type[ActionSpace], ...]] = (Box, Discrete)

    def build(self, policy: Any, params: Any, space: Space) -> BehaviourFunctions:
        clean = acting.raw(policy)
        return BehaviourFunctions(
            init=lambda key, params, hyper: (),
            act=lambda params, state, obs: clean(params, obs),
            begin=lambda key, state, done: state,
            followers=Followers(
                recall=lambda params, state, obs, groups, tags: clean(params, obs),
                tags=lambda state: jnp.zeros((space.num_envs,), jnp.uint32),
            ),
        )


def total(
    behaviour: BehaviourFunctions,
    noises: Mapping[str, NoiseFunctions],
    actions: ActionSpace,
    rule: str = "none",
    alone: bool = False,
    streams: Mapping[str, int] | None = None,
    emit: Callable[..., Array] = acting.added,
) -> Explorer:
    """action = clip(behaviour + sum of noises, -1, 1): what is executed, and what is returned to be stored.

    ``emit(key, behaviour, noises)`` is what is clipped, of a stochastic policy a sample. ``actions``: what they
    are; choices are not clipped.
    ``rule`` is the name of the behaviour, as those of the noises are. ``alone``: ``hyper`` is that of the only rule;
    else paths begin with the names of the rules. ``streams``: what the rules fold into their keys, so that the noise
    of each is the same alone and in any sum; those of the family if left out.
    """

    def _for(name: str, key: PRNGKeyArray) -> PRNGKeyArray:
        return jax.random.fold_in(key, EXPLORATION.stream(name) if streams is None else streams[name])

    def own(hyper: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        return hyper if alone else part(hyper, name)

    def init(key: PRNGKeyArray, params: Any, hyper: Any) -> SumState:
        state = behaviour.init(_for(rule, key), params, own(hyper, rule))
        return SumState(state, {name: noise.init(_for(name, key), own(hyper, name)) for name, noise in noises.items()})

    def act(key: PRNGKeyArray, params: Any, state: SumState, obs: Float[Array, "N O"]) -> tuple[Array, SumState]:
        told, sampled, after = behaviour.act(params, state.behaviour, obs), [], {}
        for name, noise in noises.items():
            one, after[name] = noise.sample(_for(name, key), state.noises[name])
            sampled.append(one)
        action = emit(jax.random.fold_in(key, acting.STREAM), told, sampled)
        return actions.executed(action), state.replace(noises=after)

    def begin(key: PRNGKeyArray, state: SumState, done: Bool[Array, " N"]) -> SumState:
        acting = behaviour.begin(_for(rule, key), state.behaviour, done)
        after = {name: noise.begin(_for(name, key), state.noises[name], done) for name, noise in noises.items()}
        return SumState(acting, after)

    def adapt(key: Any, params: Any, state: SumState, obs: Float[Array, "B O"]) -> SumState:
        return state.replace(behaviour=behaviour.adapt(key, params, state.behaviour, obs))

    def judge(
        key: PRNGKeyArray,
        state: SumState,
        reward: Float[Array, " N"],
        done: Bool[Array, " N"],
        obs: Float[Array, "N O"],
    ) -> SumState:
        return state.replace(behaviour=behaviour.judge(_for(rule, key), state.behaviour, reward, done, obs))

    def report(state: SumState) -> dict[str, Any]:
        told = behaviour.report(state.behaviour)
        for name, noise in noises.items():
            told = told | noise.report(state.noises[name])
        return told

    return Explorer(init, act, begin, behaviour.look, adapt, report, judge, behaviour)


def part(hyper: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The entries of ``hyper`` below ``name``, by the rest of their paths."""
    return {path[len(name) + 1 :]: leaf for path, leaf in hyper.items() if path.startswith(f"{name}.")}
