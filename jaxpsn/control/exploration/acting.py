"""From a policy to actions: what noise acts on, how far it leads, and what is executed in the end."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.core import errors
from jaxpsn.networks import Gaussian, Policy
from jaxpsn.networks.gaussian import mode
from jaxpsn.noise import distances

STREAM = 1023
"""Folded into the key of a step for a stochastic policy's own samples; no rule has this number."""


def raw(policy: Any) -> Callable[..., Array]:
    """``(params, obs[..., O]) -> [..., K]``: the function that weight noise acts on; of a plain one, itself."""
    return policy.raw if isinstance(policy, Policy) else policy


def added(key: Any, action: Array, noises: Sequence[Array]) -> Array:
    """The action ``[N, A]`` with all noises; a choice ``[N]`` has none."""
    return sum(noises, start=action)


def emitter(policy: Any, behaviour: Any) -> Callable[..., Array]:
    """``emit(key, told, noises) -> action[N, A]``, of what the behaviour's ``act`` gives, before it is clipped."""
    return policy.act if isinstance(policy, Gaussian) and behaviour.samples else added


def distance(policy: Any, kind: str = "action") -> Callable[..., Array]:
    """``(clean, noisy, axis=None) -> distance`` of what :func:`raw` gives; see :mod:`jaxpsn.noise.distances`."""
    if not isinstance(policy, Gaussian):
        if kind == "kl":
            errors.refuse("parameter.distance", kind, "action, as the policy has no distribution")
        return distances.rms_action
    if kind == "action":
        return lambda clean, noisy, axis=None: distances.rms_action(mode(clean), mode(noisy), axis)
    return lambda clean, noisy, axis=None: distances.kl_gaussian(*_moments(clean), *_moments(noisy), axis)


def _moments(told: Float[Array, "*batch k"]) -> tuple[Array, Array]:
    mean, log_std = jnp.split(told, 2, axis=-1)
    return mean, jnp.exp(log_std)
