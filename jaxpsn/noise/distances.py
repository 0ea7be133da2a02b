"""How far a perturbed policy acts from the clean one.

The last axis (action dimensions, or logits) is always reduced. ``axis`` names the other axes to average over, all of
them if left out: with inputs ``[members, batch, A]``, ``axis=1`` keeps one distance per member. The two inputs have
equal rank and broadcast against each other (clean ``[1, batch, A]`` against noisy ``[members, batch, A]``).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn import checks, errors

Axis = int | tuple[int, ...] | None


def rms_action(clean: Float[Array, "... A"], noisy: Float[Array, "... A"], axis: Axis = None) -> Float[Array, "..."]:
    """Root mean square difference of actions over the batch and the action dimensions, in units of the action.

    Equals sigma for additive Gaussian action noise of that standard deviation, which is why sigma_action serves as the
    target. Source: Plappert et al. 2018 (arXiv 1706.01905), adaptive scaling for DDPG.
    """
    square = jnp.mean(jnp.square(clean - noisy), axis=-1)
    return jnp.sqrt(jnp.mean(square, axis=_others(square.ndim, axis)))


def kl_softmax(clean: Float[Array, "... A"], noisy: Float[Array, "... A"], axis: Axis = None) -> Float[Array, "..."]:
    """Mean KL(clean || noisy) of the softmax policies with these logits, in nats.

    Source: Plappert et al. 2018, adaptive scaling for DQN. Logits of ``-inf`` (masked actions) must be masked in both.
    """
    log_clean, log_noisy = jax.nn.log_softmax(clean, axis=-1), jax.nn.log_softmax(noisy, axis=-1)
    chance = jnp.exp(log_clean)
    # An action of probability 0 adds 0, also where both logs are -inf.
    terms = jnp.where(chance > 0.0, chance * (log_clean - log_noisy), 0.0)
    divergence = jnp.sum(terms, axis=-1)
    return jnp.mean(divergence, axis=_others(divergence.ndim, axis))


def kl_gaussian(
    clean_mean: Float[Array, "... A"],
    clean_std: Float[Array, "... A"],
    noisy_mean: Float[Array, "... A"],
    noisy_std: Float[Array, "... A"],
    axis: Axis = None,
) -> Float[Array, "..."]:
    """Mean KL(clean || noisy) of Gaussians with diagonal covariance, in nats, summed over the last axis."""
    ratio = clean_std / noisy_std
    shift = (clean_mean - noisy_mean) / noisy_std
    divergence = jnp.sum(0.5 * (jnp.square(ratio) + jnp.square(shift) - 1.0) - jnp.log(ratio), axis=-1)
    return jnp.mean(divergence, axis=_others(divergence.ndim, axis))


def argmax_disagreement(
    clean: Float[Array, "... A"], noisy: Float[Array, "... A"], axis: Axis = None
) -> Float[Array, "..."]:
    """Share of states in which the greedy actions differ, in [0, 1].

    Unlike a KL of softmax(Q) it does not depend on the scale of the rewards. Epsilon-greedy disagrees with greedy at a
    rate of ``epsilon * (1 - 1 / |A|)``.
    """
    differs = (jnp.argmax(clean, axis=-1) != jnp.argmax(noisy, axis=-1)).astype(jnp.float32)
    return jnp.mean(differs, axis=_others(differs.ndim, axis))


def epsilon_greedy_target(epsilon: float | Float[Array, "..."], n_actions: int) -> Float[Array, "..."]:
    """KL between greedy and epsilon-greedy, ``-log(1 - epsilon + epsilon / |A|)``, in nats; epsilon may be traced.

    The target at which parameter noise departs from the greedy policy as much as epsilon-greedy does.
    Source: Plappert et al. 2018, adaptive scaling for DQN.
    """
    checks.whole("n_actions", n_actions, 2)
    if isinstance(epsilon, int | float):
        checks.real("epsilon", epsilon, 0.0, 1.0)
    return -jnp.log1p(-jnp.asarray(epsilon, jnp.float32) * (1.0 - 1.0 / n_actions))


def _others(ndim: int, axis: Axis) -> tuple[int, ...]:
    """The axes to average over once the last one of ``ndim + 1`` has been reduced."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    for one in axes:
        if not -ndim - 1 <= one < ndim or one == -1:
            errors.refuse("axis", axis, f"axes from 0 to {ndim - 1} (the last axis is always reduced)")
    return tuple(one if one >= 0 else one + ndim + 1 for one in axes)
