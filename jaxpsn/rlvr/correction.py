"""Weights that correct a gradient of the clean policy for answers sampled from a perturbed one.

With ``rho = clean old / noisy`` at the sampled tokens, a weight is rho of the token, of the whole answer (the product
of its tokens' rho) or of the answer per token (their geometric mean); either truncated to ``[low, cap]`` or kept within
and dropped outside. The current policy has no part in it: that is the ratio of :mod:`jaxpsn.rlvr.losses`.

At 0.01 nats a token an answer of 1000 tokens has 10 nats: its product is hopeless, the token and the geometric weight
are not. Rows in any layout, tokens on the last axis; log-probs in float32 under one temperature and one support.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxpsn.rlvr.tokens import divide, masked_mean, require_float32

LOG_RATIO_BOUND = 20.0
"""Log-ratios are clamped to +- this before exp, sums over an answer too."""

KL_TARGET = 0.005
"""Nats a token in which the bounds of masks are measured where no rule drives the noise to another."""

Tokens = Float[Array, "*rows T"]
Mask = Bool[Array, "*rows T"]
Scalar = Float[Array, ""]


def log_ratio(level: str, log_clean_old: Tokens, log_noisy: Tokens, mask: Mask) -> Tokens:
    """Log of ``clean old / noisy`` on each position, *not* clamped; 0 beyond the answers.

    ``level``: ``token``; ``sequence``, the sum over the answer; ``geometric``, that sum over the number of tokens
    (length-normalised, as in GSPO); ``none``, 0.
    """
    return _LOG_RATIOS[level](_difference(log_clean_old, log_noisy, mask), mask)


def truncate(ratio: Tokens, low: Any, cap: Any) -> Tokens:
    """Ratios moved into ``[low, cap]``: TIS, Yao et al. 2025; Ionides 2008. The paper has low = 0."""
    return jnp.clip(ratio, low, cap)


def drop(ratio: Tokens, low: Any, cap: Any) -> Tokens:
    """Ratios outside ``[low, cap]`` become 0: those tokens or answers teach nothing (IcePop, arXiv 2510.18855)."""
    return jnp.where((ratio >= low) & (ratio <= cap), ratio, 0.0)


_LOG_RATIOS: dict[str, Callable[..., Array]] = {
    "none": lambda difference, mask: jnp.zeros_like(difference),
    "token": lambda difference, mask: difference,
    "sequence": lambda difference, mask: _of_answers(jnp.sum(difference, axis=-1, keepdims=True), mask),
    "geometric": lambda difference, mask: _of_answers(
        divide(jnp.sum(difference, axis=-1, keepdims=True), _count(mask)), mask
    ),
}
"""Logs of the ratios, not clamped."""


def mask_bounds(level: str, mask: Mask, cap: Any = None, low: Any = None, kl: Any = None) -> tuple[Any, Any]:
    """Lowest and highest ratio that a mask leaves as it is; scalars, or one for each answer ``[..., 1]``.

    What is given counts. What is left out (None) is measured in units of the divergence that the noise is meant to
    have, ``kl`` in nats a token (None: :data:`KL_TARGET`): the log of a ratio summed over m tokens then has a mean of
    about ``m kl`` and a variance of about ``2 m kl`` (of a Gaussian), and ratios further than ``m kl + 2 sqrt(2 m kl)``
    from 1, in logs, are dropped. A token has m = 1, a sequence its length, and the geometric mean the sequence's bound
    over its length.
    """
    kl = KL_TARGET if kl is None else kl
    count = jnp.maximum(_count(mask), 1.0)
    tokens = count if level in ("sequence", "geometric") else jnp.float32(1.0)
    reach = tokens * kl + 2.0 * jnp.sqrt(2.0 * tokens * kl)
    reach = reach / count if level == "geometric" else reach
    return (jnp.exp(-reach) if low is None else low), (jnp.exp(reach) if cap is None else cap)


def weights(correction: Any, log_clean_old: Tokens, log_noisy: Tokens, mask: Mask) -> Tokens:
    """Weight of each token's loss, float32 and gradient-stopped; 0 beyond the answers.

    ``correction``: a :class:`jaxpsn.rlvr.algorithms.Correction`. ``log_clean_old`` is the clean policy's before the
    first update, ``log_noisy`` the sampler's own. Equal log-probs (sigma = 0) give exactly 1. Where the correction
    normalises, weights are divided by their mean, over tokens for token weights and over answers for the others, so
    that noise does not change the size of the step. Source: arXiv 2602.02555, section 4 (token, C = 10).
    """
    require_float32(log_clean_old=log_clean_old, log_noisy=log_noisy)
    ratio = _exp(correction.log_ratio(log_clean_old, log_noisy, mask))
    values = jnp.where(mask, correction.weigh(ratio, mask), 0.0)
    if correction.normalise:
        # Weights of an answer stand on each of its tokens: the first speaks for it.
        units = _answers(mask) if correction.by_answer else mask
        total, count = jnp.sum(jnp.where(units, values, 0.0)), jnp.sum(units.astype(values.dtype))
        values = values * divide(count, total)
    return jax.lax.stop_gradient(values)


def diagnostics(
    correction: Any,
    log_clean_old: Tokens,
    log_noisy: Tokens,
    mask: Mask,
    noisy: Bool[Array, "*rows"] | None = None,
) -> dict[str, Scalar]:
    """How far apart sampler and clean policy are, and what the correction made of it; flat columns, float32.

    Ratios are *raw*, before any truncation: a log of truncated ratios hides the problem it should show.
    ``ratio_min/mean/max``, ``ratio_ess`` and ``ratio_clamped`` over tokens, ``sequence_ratio_*`` over answers
    (products). ``_ess`` is the effective sample size as a share, ``(sum w)^2 / (n sum w^2)``, 1 for equal weights; it
    is worked out from logs that are *not* clamped. ``_clamped`` is the share whose log lies beyond +-20, where
    minimum, mean, maximum and the weights themselves stand still; where all do, no weight tells anything, and the
    effective sample size is NaN. ``weight_mean``, ``weight_ess`` and ``weight_clamped`` over tokens, of the weights
    used (not normalised). ``truncated_share``: tokens whose weight is not their raw ratio (at the correction's
    level); ``masked_share``: tokens of weight 0. ``noise_kl_k1`` and ``noise_kl_k3``: see :func:`noise_kl`,
    over the rows marked ``noisy`` if given, as clean rows would dilute it. What was not measured (no tokens, no noisy
    rows) is NaN.
    """
    raw = correction.log_ratio(log_clean_old, log_noisy, mask)
    weighed = correction.weigh(_exp(raw), mask)
    outside = weighed != _exp(raw)
    used = jnp.where(mask, weighed, 0.0)
    log_used = jnp.where(outside, jnp.log(used), raw)
    columns = _spread("ratio", log_ratio("token", log_clean_old, log_noisy, mask), mask)
    columns |= _spread("sequence_ratio", log_ratio("sequence", log_clean_old, log_noisy, mask), _answers(mask))
    columns |= {
        "weight_mean": masked_mean(used, mask),
        "weight_ess": _effective(log_used, mask),
        "weight_clamped": _clamped(log_used, mask),
        "truncated_share": masked_mean(outside.astype(used.dtype), mask),
        "masked_share": masked_mean((used == 0.0).astype(used.dtype), mask),
    }
    rows = mask if noisy is None else mask & noisy[..., None]
    columns["noise_kl_k1"], columns["noise_kl_k3"] = noise_kl(log_clean_old, log_noisy, rows)
    return jax.lax.stop_gradient(columns)


def noise_kl(
    log_clean_old: Tokens, log_noisy: Tokens, mask: Mask, axis: int | tuple[int, ...] | None = None
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """KL(noisy || clean) in nats a token at the noisy policy's own tokens, by k1 and by k3.

    k1 is the mean of ``log noisy - log clean`` (Variant I of the paper's code; may be negative), k3 that of
    ``rho - 1 - log rho``. All axes are averaged unless ``axis`` names some: ``(1, 2)`` of ``[M, R, T]`` gives one
    number for each member. NaN where there is no token.
    """
    difference = _difference(log_clean_old, log_noisy, mask)
    bounded = jnp.clip(difference, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    return masked_mean(-difference, mask, axis), masked_mean(jnp.expm1(bounded) - bounded, mask, axis)


def effective_share(log_weights: Float[Array, "*shape"], mask: Bool[Array, "*shape"]) -> Scalar:
    """Effective sample size of weights as a share of their number, in (0, 1] (Kong 1992); 0 if all are 0.

    Weights come as logs (``-inf`` for 0), so that none is too large or too small to count.
    """
    log_weights = jnp.where(mask, log_weights, -jnp.inf)
    most = jnp.max(log_weights)
    values = jnp.exp(log_weights - jnp.where(jnp.isfinite(most), most, 0.0))
    share = divide(jnp.square(jnp.sum(values)), jnp.sum(jnp.square(values)))
    return jnp.minimum(share / jnp.sum(mask.astype(values.dtype)), 1.0)  # above it only by rounding


def _beyond(log_weights: Array) -> Array:
    """Weights that only the clamp keeps finite; those of a gate, which are 0, are none of them."""
    return jnp.isfinite(log_weights) & (jnp.abs(log_weights) > LOG_RATIO_BOUND)


def _clamped(log_weights: Array, units: Array) -> Scalar:
    return masked_mean(_beyond(log_weights).astype(log_weights.dtype), units)


def _effective(log_weights: Array, units: Array) -> Scalar:
    return jnp.where(jnp.all(_beyond(log_weights) | ~units), jnp.nan, effective_share(log_weights, units))


def _spread(name: str, log_ratio: Tokens, units: Mask) -> dict[str, Scalar]:
    some, ratio = jnp.any(units), _exp(log_ratio)
    return {
        f"{name}_min": jnp.where(some, jnp.min(jnp.where(units, ratio, jnp.inf)), jnp.nan),
        f"{name}_mean": masked_mean(ratio, units),
        f"{name}_max": jnp.where(some, jnp.max(jnp.where(units, ratio, -jnp.inf)), jnp.nan),
        f"{name}_ess": _effective(log_ratio, units),
        f"{name}_clamped": _clamped(log_ratio, units),
    }


def _count(mask: Mask) -> Float[Array, "*rows 1"]:
    return jnp.sum(mask.astype(jnp.float32), axis=-1, keepdims=True)


def _of_answers(values: Float[Array, "*rows 1"], mask: Mask) -> Tokens:
    return jnp.broadcast_to(values, mask.shape)


def _answers(mask: Mask) -> Mask:
    """The first token under the mask of every answer that has one."""
    return mask & (jnp.cumsum(mask.astype(jnp.int32), axis=-1) == 1)


def _difference(log_clean_old: Tokens, log_noisy: Tokens, mask: Mask) -> Tokens:
    return jnp.where(mask, log_clean_old - log_noisy, 0.0)


def _exp(log_ratio: Array) -> Array:
    return jnp.exp(jnp.clip(log_ratio, -LOG_RATIO_BOUND, LOG_RATIO_BOUND))
