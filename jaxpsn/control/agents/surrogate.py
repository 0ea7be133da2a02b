"""What on-policy agents share: advantages, likelihood ratios and the clipped objective, as pure functions."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


def advantages(
    reward: Float[Array, "T N"],
    value: Float[Array, "T N"],
    next_value: Float[Array, "T N"],
    terminated: Bool[Array, "T N"],
    cut: Bool[Array, "T N"],
    gamma: float,
    lam: float,
) -> Float[Array, "T N"]:
    """Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438, equation 16), backwards in time.

    ``A_t = d_t + gamma lam (1 - cut_t) A_{t+1}``, ``d_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)``.
    ``next_value`` is of the true next observation, before any reset. ``cut``: nothing later belongs to this step, as
    the episode ended or another policy acted from there on; unless it terminated, its value stands for what follows.
    """
    zero = jnp.zeros_like(value)
    delta = reward + gamma * jnp.where(terminated, zero, next_value) - value
    carried = jnp.where(cut | terminated, zero, zero + gamma * lam)

    def back(later: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        found = now[0] + now[1] * later
        return found, found

    return lax.scan(back, zero[0], (delta, carried), reverse=True)[1]


def lambda_returns(
    reward: Float[Array, "T N"],
    next_value: Float[Array, "T N"],
    terminated: Bool[Array, "T N"],
    cut: Bool[Array, "T N"],
    gamma: float | Float[Array, ""],
    lam: float,
) -> Float[Array, "T N"]:
    """Mixtures of the returns of 1, 2, ... steps, with weights that fall by ``lam``, backwards in time.

    ``G_t = r_t + gamma (1 - terminated_t) ((1 - lam_t) V(s'_t) + lam_t G_{t+1})``, ``lam_t`` is ``lam``, or 0 where
    the trace is ``cut`` and at the newest step. ``next_value`` is of the true next observation, before any reset: with
    the greatest value of all actions it is Q(lambda) (Peng and Williams 1996), where the actions that follow stand as
    they were, greedy or not.
    """
    zero = jnp.zeros_like(reward)
    follows = jnp.where(cut, zero, zero + lam).at[-1].set(0.0)

    def back(later: Array, now: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        reward, value, end, mixed = now
        found = reward + gamma * jnp.where(end, 0.0, (1.0 - mixed) * value + mixed * later)
        return found, found

    return lax.scan(back, zero[0], (reward, next_value, terminated, follows), reverse=True)[1]


def normalised(advantage: Float[Array, "G R"], over: str, axis: int | tuple[int, ...]) -> Float[Array, "G R"]:
    """Mean 0 along ``axis``, and mean square 1 over all; ``over`` raw: as they are."""
    if over == "raw":
        return advantage
    centred = advantage - jnp.mean(advantage, axis=axis, keepdims=True)
    return centred / (jnp.sqrt(jnp.mean(jnp.square(centred))) + 1e-8)


def log_prob(before: Float[Array, "*batch a"], moments: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    """Log density of ``before`` squashing, under a diagonal Gaussian of these moments, summed over action dimensions.

    What squashing adds to it depends on the action alone and cancels in every ratio.
    """
    mean, log_std = jnp.split(moments, 2, axis=-1)
    scaled = (before - mean) * jnp.exp(-log_std)
    return jnp.sum(-0.5 * jnp.square(scaled) - log_std - 0.5 * math.log(2.0 * math.pi), axis=-1)


def clipped_loss(
    log_ratio: Float[Array, "*batch"], advantage: Float[Array, "*batch"], weight: Float[Array, "*batch"], clip: float
) -> Float[Array, ""]:
    """``-mean(weight min(ratio A, clip(ratio, 1 - clip, 1 + clip) A))``.

    Schulman et al. 2017 (arXiv 1707.06347), equation 7; with the weight as the decoupled objective of Hilton et al.
    2022 (arXiv 2110.00641), whose data are of another policy than the one that the ratio is held near.
    """
    ratio = jnp.exp(log_ratio)
    bounded = jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
    return -jnp.mean(weight * jnp.minimum(ratio * advantage, bounded * advantage))


def value_loss(
    value: Float[Array, "*batch"], old: Float[Array, "*batch"], target: Float[Array, "*batch"], clip: float
) -> Float[Array, ""]:
    """Half the mean squared error; with ``clip`` the greater of it and that of a value within ``clip`` of the old."""
    error = jnp.square(value - target)
    if clip:
        error = jnp.maximum(error, jnp.square(old + jnp.clip(value - old, -clip, clip) - target))
    return 0.5 * jnp.mean(error)


def sample_size(log_weight: Float[Array, "*batch"]) -> Float[Array, ""]:
    """Effective sample size of these weights as a share of the samples: ``mean(w)^2 / mean(w^2)``, 1 if all are equal.

    Source: Kish 1965.
    """
    flat = log_weight.reshape(-1)
    one, two = (jax.nn.logsumexp(power * flat) for power in (1.0, 2.0))
    return jnp.exp(2.0 * one - two) / flat.shape[0]


def kl_estimate(log_ratio: Float[Array, "*batch"]) -> Float[Array, ""]:
    """KL(old || new) from samples of the old policy, ``mean(ratio - 1 - log ratio)``: unbiased, never below 0."""
    return jnp.mean(jnp.expm1(log_ratio) - log_ratio)
