"""From a policy to actions: what noise acts on, how far it leads, and what is executed in the end."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.core import errors
from jaxpsn.networks import Policy
from jaxpsn.networks.actor import added
from jaxpsn.noise import distances

STREAM = 1023
"""Folded into the key of a step for a stochastic policy's own samples; no rule has this number."""


def raw(policy: Any) -> Callable[..., Array]:
    """``(params, obs[..., O]) -> [..., K]``: the function that weight noise acts on; of a plain one, itself."""
    return policy.raw if isinstance(policy, Policy) else policy


def emitter(policy: Any, behaviour: Any) -> Callable[..., Array]:
    """``emit(key, told, noises) -> action``: what is executed, of what the behaviour's ``act`` gives."""
    return policy.act if isinstance(policy, Policy) and behaviour.samples else added


def distance(policy: Any, kind: str = "action") -> Callable[..., Array]:
    """``(clean, noisy, axis=None) -> distance`` of what :func:`raw` gives; see :mod:`jaxpsn.noise.distances`."""
    known = policy.distances if isinstance(policy, Policy) else {"action": distances.rms_action}
    if kind not in known:
        errors.refuse("parameter.distance", kind, f"{', '.join(known)}, as the policy has no distribution")
    return known[kind]


def in_one_pass(
    perturbed: Callable[..., Array], params: Any, draw: Any, sigma: Any, slices: Float[Array, "P B O"]
) -> tuple[Array, Array]:
    """What the clean policy and the perturbed ones say, ``[P, B, ...]`` each, from one pass of twice as many members.

    The clean half is that of members whose sigma is 0. On a GPU each kernel has its price.
    """
    count = slices.shape[0]
    both, seen = jax.tree.map(_twice, (draw.replace(base={}), slices))
    sigmas = jnp.where(jnp.arange(2 * count) < count, _twice(jnp.broadcast_to(sigma, (count,))), 0.0)
    found = perturbed(params, both.replace(base=draw.base), sigmas, seen)
    return found[count:], found[:count]


def _twice(leaf: Array) -> Array:
    """Of members, and the same members again."""
    return jnp.broadcast_to(leaf[None], (2, *leaf.shape)).reshape(-1, *leaf.shape[1:])


def sliced(obs: Float[Array, "B O"], count: int) -> Float[Array, "count rows O"]:
    """A batch as one slice for each of ``count`` perturbations; what is left over is left out."""
    rows = obs.shape[0] // count
    if rows == 0:
        errors.refuse("batch", obs.shape[0], f"at least the {count} perturbations that measure the distance")
    return obs[: count * rows].reshape(count, rows, obs.shape[-1])
