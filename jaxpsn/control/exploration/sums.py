"""A policy, clean or perturbed, plus any number of action noises."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control.config import RULES
from jaxpsn.control.exploration.rules import ActionNoise, Behaviour, Explorer
from jaxpsn.control.types import Hyper


@struct.dataclass
class SumState:
    """State of the policy's own perturbation, and of each action noise by the name of its rule."""

    behaviour: Any
    noises: Any  # dict: rule -> state


def clean(policy_apply: Any) -> Behaviour:
    """The clean policy; nothing to keep, nothing to adapt."""
    return Behaviour(
        init=lambda key, params, hyper: (),
        act=lambda params, state, obs: policy_apply(params, obs),
        begin=lambda key, state, done: state,
        adapt=lambda key, params, state, obs: state,
        report=lambda state: {},
    )


def total(behaviour: Behaviour, noises: dict[str, ActionNoise], rule: str = "none") -> Explorer:
    """action = clip(behaviour + sum of noises, -1, 1): what is executed, and what is returned to be stored.

    ``rule`` is the name of the behaviour, as those of the noises are.
    """

    def init(key: PRNGKeyArray, params: Any, hyper: Hyper) -> SumState:
        own = behaviour.init(_for(rule, key), params, hyper)
        return SumState(own, {name: noise.init(_for(name, key), hyper) for name, noise in noises.items()})

    def act(
        key: PRNGKeyArray, params: Any, state: SumState, obs: Float[Array, "N O"]
    ) -> tuple[Float[Array, "N A"], SumState]:
        action, after = behaviour.act(params, state.behaviour, obs), {}
        for name, noise in noises.items():
            sampled, after[name] = noise.sample(_for(name, key), state.noises[name])
            action = action + sampled
        return jnp.clip(action, -1.0, 1.0), state.replace(noises=after)

    def begin(key: PRNGKeyArray, state: SumState, done: Bool[Array, " N"]) -> SumState:
        own = behaviour.begin(_for(rule, key), state.behaviour, done)
        after = {name: noise.begin(_for(name, key), state.noises[name], done) for name, noise in noises.items()}
        return SumState(own, after)

    def adapt(key: PRNGKeyArray, params: Any, state: SumState, obs: Float[Array, "B O"]) -> SumState:
        return state.replace(behaviour=behaviour.adapt(key, params, state.behaviour, obs))

    def judge(
        key: PRNGKeyArray,
        state: SumState,
        reward: Float[Array, " N"],
        done: Bool[Array, " N"],
        obs: Float[Array, "N O"],
    ) -> SumState:
        return state.replace(behaviour=behaviour.judge(_for(rule, key), state.behaviour, reward, done, obs))

    return Explorer(init, act, begin, adapt, lambda state: behaviour.report(state.behaviour), judge)


def _for(rule: str, key: PRNGKeyArray) -> PRNGKeyArray:
    """A summand's own key: that of its name, so that its noise is the same alone and in any sum."""
    return jax.random.fold_in(key, RULES.index(rule))
