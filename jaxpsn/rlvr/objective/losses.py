"""Policy losses of the GRPO family, built from small functions; rows in any layout, tokens on the last axis.

Three policies are kept apart. The *noisy sampler* gave the answers: it appears only in the correction weights (see
:mod:`jaxpsn.rlvr.objective.correction`), which come in as ``weights``. The *clean old* policy is the anchor of the
ratio ``r = current / clean old``. The *current* policy is the one that is differentiated. No loss takes the sampler's
log-probs, so that no ratio can be clipped against them by mistake.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxpsn.core import checks
from jaxpsn.rlvr.objective import gating
from jaxpsn.rlvr.objective.tokens import divide, require_float32

LOG_RATIO_BOUND = 20.0
"""Log-ratios are clamped to +- this before exp; 20 is a ratio of 5e8."""

CLIPS = ("clip_low", "clip_high", "clip_dual")
"""Bounds of a loss, and the columns with the shares of tokens at which they took effect."""

Tokens = Float[Array, "*rows T"]
Rows = Float[Array, "*rows"]
Mask = Bool[Array, "*rows T"]
Scalar = Float[Array, ""]
Metrics = dict[str, Scalar]


@dataclass(frozen=True)
class Settings:
    """What a loss is made of. Names are static; numbers may be Python numbers or traced scalars."""

    loss: Any
    """A :class:`jaxpsn.rlvr.objective.algorithms.Loss`."""
    length: Any = None
    """Tokens by which aggregation = constant divides each row: the longest answer possible (Dr. GRPO)."""
    kl_estimator: str = "k3"
    kl_coefficient: Any = 0.0
    kl_weight: str = "none"
    """What the KL of a token is multiplied by: none, ratio, correction or both."""
    entropy_coefficient: Any = 0.0
    entropy_target: Any = None
    """Mean entropy, nats a token, below which alone the bonus counts; None: always."""
    top_entropy: float = 1.0
    """Share of the tokens, those of highest entropy, that the policy's loss learns from."""

    def __post_init__(self) -> None:
        checks.choice("kl_estimator", self.kl_estimator, tuple(KL_ESTIMATORS))
        checks.choice("kl_weight", self.kl_weight, KL_WEIGHTS)
        if self.loss.aggregation == "constant":
            checks.whole("length", self.length, 1)


def aggregate(values: Tokens, mask: Mask, mode: str, length: Any = None) -> Scalar:
    """One number from the values of all tokens; 0 for an empty mask.

    ``token_mean``: sum over tokens by their number, long answers weigh more (DAPO). ``sequence_mean``: mean over rows
    that have tokens of the mean over their tokens (GRPO). ``constant``: sum over tokens by rows times ``length``, so
    that no row's length changes the weight of its tokens (Dr. GRPO). ``sequence_sum``: mean over rows that have tokens
    of the sum over their tokens (verl's seq-mean-token-sum; LUSPO).
    """
    values, ones = jnp.where(mask, values, 0.0), mask.astype(values.dtype)
    if mode == "token_mean":
        return divide(jnp.sum(values), jnp.sum(ones))
    if mode in ("sequence_mean", "sequence_sum"):
        counts, each = jnp.sum(ones, axis=-1), jnp.sum(values, axis=-1)
        each = divide(each, counts) if mode == "sequence_mean" else each
        return divide(jnp.sum(each), jnp.sum((counts > 0.0).astype(values.dtype)))
    return jnp.sum(values) / (mask.size // mask.shape[-1] * length)


def log_ratio(log_probs: Tokens, log_clean_old: Tokens, mask: Mask) -> Tokens:
    """Log of current over clean old for each token, clamped to +-20; 0 beyond the answers."""
    difference = jnp.where(mask, log_probs - log_clean_old, 0.0)
    return jnp.clip(difference, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)


def sequence_log_ratio(log_probs: Tokens, log_clean_old: Tokens, mask: Mask) -> Tokens:
    """Length-normalised log-ratio of the whole answer on each of its tokens.

    The value is the sequence's, the gradient each token's own: summed over an answer both have the gradient of
    GSPO, and token weights stay token weights. Source: GSPO, Zheng et al. 2025 (arXiv 2507.18071), equations 7, 13-15.
    """
    own = jnp.where(mask, log_probs - log_clean_old, 0.0)
    count = jnp.sum(mask.astype(own.dtype), axis=-1, keepdims=True)
    mean = divide(jnp.sum(own, axis=-1, keepdims=True), count)
    mean = jnp.clip(mean, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    return jnp.where(mask, jax.lax.stop_gradient(mean - own) + own, 0.0)


def clipped(
    log_ratio: Tokens, advantages: Rows, clip_low: Any, clip_high: Any, dual_clip: Any
) -> tuple[Tokens, dict[str, Mask]]:
    """Clipped surrogate ``max(-A r, -A clip(r, 1 - low, 1 + high))``, for A < 0 at most ``-A c`` (dual clip).

    Also where each bound took effect: low and dual for negative advantages, high for positive ones.
    Source: PPO, Schulman et al. 2017 (arXiv 1707.06347), equation 7; dual clip, arXiv 1912.09729, equation 5.
    """
    ratio, advantage = jnp.exp(log_ratio), jnp.broadcast_to(advantages[..., None], log_ratio.shape)
    low, high = 1.0 - clip_low, 1.0 + clip_high
    loss = jnp.maximum(-advantage * ratio, -advantage * jnp.clip(ratio, low, high))
    negative, positive = advantage < 0.0, advantage > 0.0
    where = {"clip_low": negative & (ratio < low), "clip_high": positive & (ratio > high)}
    if dual_clip is not None:
        where["clip_dual"] = negative & (ratio > dual_clip)
        loss = jnp.where(where["clip_dual"], -advantage * dual_clip, loss)
    return loss, where


def cispo(
    log_probs: Tokens, log_clean_old: Tokens, advantages: Rows, mask: Mask, clip_low: Any, clip_high: Any
) -> tuple[Tokens, dict[str, Mask]]:
    """CISPO: ``-sg(clip(r)) A log p``, so that clipped tokens keep a gradient (arXiv 2506.13585, equation 4)."""
    ratio = jnp.exp(log_ratio(log_probs, log_clean_old, mask))
    low, high = 1.0 - clip_low, 1.0 + clip_high
    where = {"clip_low": ratio < low, "clip_high": ratio > high}
    weight = jax.lax.stop_gradient(jnp.clip(ratio, low, high))
    return -weight * advantages[..., None] * jnp.where(mask, log_probs, 0.0), where


def reinforce(log_probs: Tokens, advantages: Rows, mask: Mask) -> Tokens:
    """REINFORCE: ``-A log p``, without ratio or clip; meant for one update on each batch."""
    return -advantages[..., None] * jnp.where(mask, log_probs, 0.0)


def dppo(
    log_probs: Tokens, log_clean_old: Tokens, advantages: Rows, mask: Mask, of: str, low: Any, high: Any, cap: Any
) -> tuple[Tokens, dict[str, Mask]]:
    """``-sg(min(r, cap)) A log p`` of the tokens whose probability has not moved too far where A pulls it.

    Dropped: A > 0 and p above its old value by more than ``high``, A < 0 and below it by more than ``low``; ``of``
    says whether that is measured by the difference of probabilities (tv) or by the KL of drawing the token or not
    (kl). Source: DPPO, arXiv 2602.04879; the cap of section 5.4 as in verl.
    """
    log_old = jnp.where(mask, log_clean_old, 0.0)
    log_new = jax.lax.stop_gradient(jnp.where(mask, log_probs, 0.0))
    risen = jnp.exp(log_new) - jnp.exp(log_old)
    far = jnp.abs(risen) if of == "tv" else gating.binary_kl(log_old, log_new)
    positive = jnp.broadcast_to(advantages[..., None] > 0.0, mask.shape)
    up, down = positive & (risen > 0.0) & (far > high), ~positive & (risen < 0.0) & (far > low)
    ratio = jnp.exp(log_ratio(log_new, log_old, mask))
    loss = -jnp.minimum(ratio, cap) * advantages[..., None] * jnp.where(mask, log_probs, 0.0)
    where = {"clip_low": down, "clip_high": up, "clip_dual": (ratio > cap) & ~up & ~down}
    return jnp.where(up | down, 0.0, loss), where


def sapo(log_ratio: Tokens, advantages: Rows, positive: Any, negative: Any) -> Tokens:
    """``-A sigmoid(tau (r - 1)) 4 / tau``: a soft gate around r = 1; tau by the sign of A (SAPO, arXiv 2511.20347)."""
    advantage = advantages[..., None]
    tau = jnp.where(advantage > 0.0, positive, negative)
    return -advantage * jax.nn.sigmoid(tau * (jnp.exp(log_ratio) - 1.0)) * 4.0 / tau


def gmpo(
    log_ratio: Tokens, advantages: Rows, mask: Mask, clip_low: Any, clip_high: Any
) -> tuple[Tokens, dict[str, Mask]]:
    """``-A`` times the geometric mean of an answer's ratios, each clipped in logs, on each of its tokens.

    Source: GMPO, arXiv 2507.20673; with the mean over answers of the mean over tokens.
    """
    sign = jnp.sign(advantages)[..., None]
    bounded = sign * jnp.minimum(sign * log_ratio, sign * jnp.clip(log_ratio, -clip_low, clip_high))
    counts = jnp.sum(mask.astype(log_ratio.dtype), axis=-1, keepdims=True)
    mean = divide(jnp.sum(jnp.where(mask, bounded, 0.0), axis=-1, keepdims=True), counts)
    loss = jnp.broadcast_to(-advantages[..., None] * jnp.exp(mean), mask.shape)
    return loss, {
        "clip_low": (sign < 0.0) & (log_ratio < -clip_low),
        "clip_high": (sign > 0.0) & (log_ratio > clip_high),
    }


def vespo(
    log_probs: Tokens, log_clean_old: Tokens, advantages: Rows, mask: Mask, positive: Any, negative: Any
) -> Tokens:
    """``-sg(phi(w)) A log p`` with w the whole answer's ratio and ``phi(w) = e^l w^k e^(-l w)``, so ``phi(1) = 1``.

    ``positive`` and ``negative`` are (k, l) of either sign of A. Source: VESPO, as in TRL, where the sampler's ratio
    is part of w; here it multiplies the loss, as for all losses.
    """
    log_w = jnp.sum(log_ratio(log_probs, log_clean_old, mask), axis=-1, keepdims=True)
    log_w = jnp.clip(log_w, math.log(1e-8), LOG_RATIO_BOUND)
    advantage = advantages[..., None]
    power, rate = (jnp.where(advantage >= 0.0, one, other) for one, other in zip(positive, negative, strict=True))
    phi = jax.lax.stop_gradient(jnp.exp(rate + power * log_w - rate * jnp.exp(log_w)))
    return -phi * advantage * jnp.where(mask, log_probs, 0.0)


def covariance(log_probs: Tokens, advantages: Rows, mask: Mask) -> Tokens:
    """``(A - mean A) (log p - mean log p)`` of each token, means over all of them; a constant. -inf beyond the answers.

    Where it is large entropy falls fastest. Source: arXiv 2505.22617.
    """
    known = jax.lax.stop_gradient(jnp.where(mask, log_probs, 0.0))
    gained = jnp.broadcast_to(advantages[..., None], mask.shape)
    mean_gain, mean_log = (aggregate(side, mask, "token_mean") for side in (gained, known))
    return jnp.where(mask, (gained - mean_gain) * (known - mean_log), -jnp.inf)


def largest(values: Tokens, mask: Mask, share: Any) -> Mask:
    """Tokens of the largest values: ``share`` of the masked ones, rounded down, and at least one; -inf is never one."""
    ordered = jnp.sort(values.reshape(-1))[::-1]
    number = jnp.maximum(jnp.floor(share * jnp.sum(mask.astype(jnp.float32))), 1.0).astype(jnp.int32)
    return mask & (values >= ordered[number - 1]) & jnp.isfinite(values)


def k1(log_probs: Tokens, log_reference: Tokens, mask: Mask) -> Tokens:
    """KL estimate ``log p - log ref``: unbiased as a number, but as a loss its gradient has mean zero."""
    return log_ratio(log_probs, log_reference, mask)


def k2(log_probs: Tokens, log_reference: Tokens, mask: Mask) -> Tokens:
    """KL estimate ``(log p - log ref)^2 / 2``: biased, with the gradient of KL(p || ref)."""
    return 0.5 * jnp.square(log_ratio(log_probs, log_reference, mask))


def k3(log_probs: Tokens, log_reference: Tokens, mask: Mask) -> Tokens:
    """KL estimate ``ref / p - log(ref / p) - 1``: unbiased and never negative (GRPO, arXiv 2402.03300, equation 4)."""
    difference = -log_ratio(log_probs, log_reference, mask)
    return jnp.expm1(difference) - difference


def _through(value: Callable[..., Tokens]) -> Callable[..., Tokens]:
    """An estimator with the value of one and the gradient of k2, which is that of KL(p || ref)."""

    def estimate(log_probs: Tokens, log_reference: Tokens, mask: Mask) -> Tokens:
        slope = k2(log_probs, log_reference, mask)
        return jax.lax.stop_gradient(value(log_probs, log_reference, mask) - slope) + slope

    return estimate


KL_ESTIMATORS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "k1": k1, "k2": k2, "k3": k3, "k1+": _through(k1), "k3+": _through(k3),
}  # fmt: skip
"""Estimators of KL(current || reference) at the sampled tokens (Schulman 2020, "Approximating KL divergence").

Those with a plus are straight-through: their value, and the gradient of k2 (verl's names). verl clips k3 at 10; here
its log-ratio alone is clamped, to +-20."""

KL_WEIGHTS = ("none", "ratio", "correction", "both")
"""What the KL of a token may be multiplied by: the ratio current / clean old, which makes the gradient of k3 that of
the KL (DeepSeek-V3.2; TRL's use_bias_correction_kl), the correction's weights, as the noisy policy drew the tokens, or
both."""


def policy_loss(
    log_probs: Tokens,
    log_clean_old: Tokens,
    advantages: Rows,
    mask: Mask,
    weights: Tokens,
    settings: Settings,
    log_reference: Tokens | None = None,
    entropy: Tokens | None = None,
) -> tuple[Scalar, Metrics]:
    """Loss of the current policy and its metrics; 0 for an empty mask, whatever stands beyond the answers.

    ``log_probs`` and ``entropy`` are the current clean policy's, ``log_clean_old`` the clean policy's before the first
    update on this batch; ``advantages`` have one number for each row. ``weights`` correct for the noisy sampler and
    multiply each token's loss after clipping and dual clip: a weight inside the ratio would be clipped away. All but
    ``log_probs`` and ``entropy`` are constants here. Without ``log_reference`` there is no KL term; an entropy
    coefficient of 0 only reports the entropy.

    Metrics: ``loss``, ``policy_loss``, ``ppo_kl`` (k1 of KL(clean old || current) at the sampled tokens),
    ``ratio_mean``, ``clip_low``, ``clip_high``, ``clip_dual`` (shares of tokens), and, where given, ``reference_kl``
    and ``entropy`` (means over tokens).
    """
    require_float32(log_probs=log_probs, log_clean_old=log_clean_old, log_reference=log_reference)
    constants = (log_clean_old, advantages, weights, log_reference)
    log_clean_old, advantages, weights, log_reference = jax.lax.stop_gradient(constants)

    # Not only the values beyond the answers but also what multiplies them must be finite: 0 * NaN is a NaN gradient.
    weights = jnp.where(mask, weights, 0.0)
    advantages = jnp.where(jnp.any(mask, axis=-1), advantages, 0.0)

    def over_tokens(values: Tokens) -> Scalar:
        return aggregate(values, mask, "token_mean")

    def over(values: Tokens) -> Scalar:
        return aggregate(values, mask, settings.loss.aggregation, settings.length)

    per_token, where = settings.loss.tokens(log_probs, log_clean_old, advantages, mask)
    if settings.top_entropy < 1.0:
        per_token = jnp.where(_uncertain(entropy, mask, settings.top_entropy), per_token, 0.0)
    loss = policy = over(per_token * weights)
    change = log_ratio(log_probs, log_clean_old, mask)
    metrics = {"policy_loss": policy, "ppo_kl": over_tokens(-change), "ratio_mean": over_tokens(jnp.exp(change))}
    where = {name: where.get(name, jnp.zeros_like(mask)) for name in CLIPS}
    metrics |= {name: over_tokens(flag.astype(change.dtype)) for name, flag in where.items()}
    if log_reference is not None:
        divergence = KL_ESTIMATORS[settings.kl_estimator](log_probs, log_reference, mask)
        divergence = divergence if settings.kl_weight in ("none", "correction") else divergence * jnp.exp(change)
        divergence = divergence if settings.kl_weight in ("none", "ratio") else divergence * weights
        loss = loss + settings.kl_coefficient * over(divergence)
        metrics["reference_kl"] = over_tokens(divergence)
    if entropy is not None:
        metrics["entropy"] = over_tokens(entropy)
        if isinstance(settings.entropy_coefficient, Array) or settings.entropy_coefficient != 0.0:
            bonus = settings.entropy_coefficient * over(entropy)
            low = None if settings.entropy_target is None else metrics["entropy"] < settings.entropy_target
            loss = loss - (bonus if low is None else jnp.where(low, bonus, 0.0))
    return loss, jax.lax.stop_gradient(metrics | {"loss": loss})


def _uncertain(entropy: Tokens, mask: Mask, share: float) -> Mask:
    """The ``share`` of all tokens that have the highest entropy (arXiv 2506.01939)."""
    known = jnp.where(mask, jax.lax.stop_gradient(entropy), jnp.nan)
    return mask & (known >= jnp.nanquantile(known, 1.0 - share))
