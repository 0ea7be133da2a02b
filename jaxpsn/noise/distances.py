"""How far a perturbed policy acts from the clean one.

The last axis (action dimensions, or logits) is always reduced. ``axis`` names the other axes to average over, all of
them if left out: with inputs ``[members, batch, A]``, ``axis=1`` keeps one distance per member. The two inputs have
equal rank and broadcast against each other (clean ``[1, batch, A]`` against noisy ``[members, batch, A]``).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.core import checks, errors
from jaxpsn.noise import inputs

Axis = Any  # int | tuple[int, ...] | None
Numbers = Any  # arrays of JAX or NumPy, or lists, [..., A]


def rms_action(clean: Numbers, noisy: Numbers, axis: Axis = None) -> Float[Array, "..."]:
    """Root mean square difference of actions over the batch and the action dimensions, in units of the action.

    Equals sigma for additive Gaussian action noise of that standard deviation, which is why sigma_action serves as the
    target. Source: Plappert et al. 2018 (arXiv 1706.01905), adaptive scaling for DDPG.
    """
    clean, noisy = _arrays(clean=clean, noisy=noisy)
    square = jnp.mean(jnp.square(clean - noisy), axis=-1)
    return jnp.sqrt(jnp.mean(square, axis=_others(square.ndim, axis)))


def kl_softmax(clean: Numbers, noisy: Numbers, axis: Axis = None) -> Float[Array, "..."]:
    """Mean KL(clean || noisy) of the softmax policies with these logits, in nats.

    Source: Plappert et al. 2018, adaptive scaling for DQN. Logits of ``-inf`` (masked actions) must be masked in both.
    """
    clean, noisy = _arrays(clean=clean, noisy=noisy)
    log_clean, log_noisy = jax.nn.log_softmax(clean, axis=-1), jax.nn.log_softmax(noisy, axis=-1)
    chance = jnp.exp(log_clean)
    # An action of probability 0 adds 0, also where both logs are -inf.
    terms = jnp.where(chance > 0.0, chance * (log_clean - log_noisy), 0.0)
    divergence = jnp.sum(terms, axis=-1)
    return jnp.mean(divergence, axis=_others(divergence.ndim, axis))


def kl_gaussian(
    clean_mean: Numbers,
    clean_std: Numbers,
    noisy_mean: Numbers,
    noisy_std: Numbers,
    axis: Axis = None,
) -> Float[Array, "..."]:
    """Mean KL(clean || noisy) of Gaussians with diagonal covariance, in nats, summed over the last axis."""
    clean_mean, clean_std, noisy_mean, noisy_std = _arrays(
        clean_mean=clean_mean, clean_std=clean_std, noisy_mean=noisy_mean, noisy_std=noisy_std
    )
    ratio = clean_std / noisy_std
    shift = (clean_mean - noisy_mean) / noisy_std
    divergence = jnp.sum(0.5 * (jnp.square(ratio) + jnp.square(shift) - 1.0) - jnp.log(ratio), axis=-1)
    return jnp.mean(divergence, axis=_others(divergence.ndim, axis))


def argmax_disagreement(clean: Numbers, noisy: Numbers, axis: Axis = None) -> Float[Array, "..."]:
    """Share of states in which the greedy actions differ, in [0, 1].

    Unlike a KL of softmax(Q) it does not depend on the scale of the rewards. Epsilon-greedy disagrees with greedy at a
    rate of ``epsilon * (1 - 1 / |A|)``.
    """
    clean, noisy = _arrays(clean=clean, noisy=noisy)
    differs = (jnp.argmax(clean, axis=-1) != jnp.argmax(noisy, axis=-1)).astype(jnp.float32)
    return jnp.mean(differs, axis=_others(differs.ndim, axis))


def epsilon_greedy_target(epsilon: Numbers, n_actions: int) -> Float[Array, "..."]:
    """KL between greedy and epsilon-greedy, ``-log(1 - epsilon + epsilon / |A|)``, in nats; epsilon may be traced.

    The target at which parameter noise departs from the greedy policy as much as epsilon-greedy does.
    Source: Plappert et al. 2018, adaptive scaling for DQN.
    """
    checks.whole("n_actions", n_actions, 2)
    if isinstance(epsilon, int | float):
        checks.real("epsilon", epsilon, 0.0, 1.0)
    epsilon = inputs.array("epsilon", epsilon, "a number from 0 to 1").astype(jnp.float32)
    return -jnp.log1p(-epsilon * (1.0 - 1.0 / n_actions))


def _arrays(**given: Numbers) -> list[Array]:
    """What is compared, as arrays of equal rank whose shapes go together."""
    allowed = "numbers [..., A]"
    made = {field: inputs.array(field, value, allowed) for field, value in given.items()}
    (first, like), *_ = made.items()
    for field, value in made.items():
        if value.ndim == 0 or value.dtype == jnp.bool_ or not jnp.issubdtype(value.dtype, jnp.number):
            errors.refuse(field, inputs.said(value), allowed)
        sizes = zip(value.shape, like.shape, strict=False)
        if value.ndim != like.ndim or any(a != b and 1 not in (a, b) for a, b in sizes):
            errors.refuse(field, value.shape, f"as many axes as {first} {like.shape}, of equal lengths or 1")
    return [value if jnp.issubdtype(value.dtype, jnp.inexact) else value.astype(jnp.float32) for value in made.values()]


def _others(ndim: int, axis: Axis) -> tuple[int, ...]:
    """The axes to average over once the last one of ``ndim + 1`` has been reduced."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    for one in axes:
        if isinstance(one, bool) or not isinstance(one, int):
            errors.refuse("axis", inputs.said(one), "a whole number, several as a tuple, or None for all")
        if not -ndim - 1 <= one < ndim or one == -1:
            errors.refuse("axis", axis, f"axes from 0 to {ndim - 1} (the last axis is always reduced)")
    return tuple(one if one >= 0 else one + ndim + 1 for one in axes)
