"""What is drawn for each environment and held for a while: the hold rule, the redraw, and a random linear map."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.core import errors
from jaxpsn.core.components import spec_of
from jaxpsn.networks import Policy
from jaxpsn.noise import holds
from jaxpsn.noise.hold_rules import HoldRule

_HOLD, _DRAW = 0, 1


@struct.dataclass
class LinearState:
    """The linear maps held now, one per environment."""

    key: Any  # typed key, constant: maps are functions of (key, draw counter, environment)
    draw: Any  # noise.Draw, leading axis N
    hold: Any  # state of the hold rule
    std: Any  # [] float32


class Linear(NamedTuple):
    """A random linear map for each environment."""

    init: Callable[..., LinearState]
    """``init(key, hyper) -> state``"""
    apply: Callable[..., Array]
    """``apply(state, x[N, I]) -> [N, O]``"""
    begin: Callable[..., LinearState]
    """``begin(key, state, done[N]) -> state``"""


def refuse_several(where: str, rule: HoldRule) -> None:
    """Refuse a hold that blends draws of several times, where a rule holds one. Raises UserError."""
    if not rule.single:
        errors.refuse(where, spec_of(rule), "one that holds a single draw: episode, steps, zeta, geometric")


def start(kind: noise.Structure, hold: holds.Hold, key: PRNGKeyArray, spec: noise.Spec, members: int) -> dict[str, Any]:
    """The fields ``key``, ``draw`` and ``hold`` of a state that :func:`renew` redraws."""
    base = jax.random.fold_in(key, _DRAW)
    return {
        "key": base,
        "draw": kind.init(base, spec, members),
        "hold": hold.init(jax.random.fold_in(key, _HOLD), members),
    }


def renew(kind: noise.Structure, hold: holds.Hold, key: PRNGKeyArray, state: Any, done: Bool[Array, " P"]) -> Any:
    """``state`` after a step: what its hold rule no longer holds is redrawn, the rest is kept bit for bit."""
    after, where = hold.step(key, state.hold, done)
    return state.replace(hold=after, draw=hold.move(kind, state.key, state.draw, where))


def linear(rule: HoldRule, num_envs: int, inputs: int, outputs: int) -> Linear:
    """Maps whose entries are independent N(0, ``hyper["std"] ** 2 / inputs``), held as ``rule`` says.

    Dense noise on a linear layer that is zero: ``num_envs * inputs * outputs`` numbers.
    """
    hold, kind = rule.build(), rule.form(noise.Dense())
    zero = jnp.zeros((inputs, outputs), jnp.float32)
    spec = noise.plan(_product, zero, jax.ShapeDtypeStruct((inputs,), jnp.float32), select=noise.everything)
    maps = noise.fused(_product, spec, kind, exact_zero=False)

    def init(key: PRNGKeyArray, hyper: Any) -> LinearState:
        return LinearState(**start(kind, hold, key, spec, num_envs), std=hyper["std"])

    def apply(state: LinearState, x: Float[Array, "N I"]) -> Float[Array, "N O"]:
        return maps(zero, state.draw, state.std / math.sqrt(inputs), x)

    def begin(key: PRNGKeyArray, state: LinearState, done: Bool[Array, " N"]) -> LinearState:
        return renew(kind, hold, key, state, done)

    return Linear(init, apply, begin)


def width(rule: str, policy: Any, params: Any, observation_size: int) -> int:
    """Number of the policy's last hidden features; refuses a policy that does not say what they are."""
    if not isinstance(policy, Policy):
        errors.refuse("policy_apply", type(policy).__name__, f"a jaxpsn.networks.Policy, as {rule} needs its features")
    obs = jax.ShapeDtypeStruct((observation_size,), jnp.float32)
    return jax.eval_shape(policy.features, params, obs).shape[-1]


def _product(matrix: Float[Array, "I O"], x: Float[Array, "*batch I"]) -> Float[Array, "*batch O"]:
    return x @ matrix
