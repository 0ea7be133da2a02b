"""Weights that correct a gradient of the clean policy for answers sampled from a perturbed one.

With ``rho = clean old / noisy`` at the sampled tokens, a weight is rho of the token, of the whole answer (the product
of its tokens' rho) or of the answer per token (their geometric mean), truncated to ``[floor, cap]``; a gate beside it
(:mod:`jaxpsn.rlvr.objective.gating`) drops tokens or answers. The current policy has no part in it: that is the ratio
of :mod:`jaxpsn.rlvr.objective.losses`.

At 0.01 nats a token an answer of 1000 tokens has 10 nats: its product is hopeless, the token and the geometric weight
are not. Rows in any layout, tokens on the last axis; log-probs in float32 under one temperature and one support.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxpsn.core.components import terms_of
from jaxpsn.rlvr.objective.gating import LOG_RATIO_BOUND, Seen, count, difference
from jaxpsn.rlvr.objective.tokens import divide, masked_mean, require_float32

Tokens = Float[Array, "*rows T"]
Mask = Bool[Array, "*rows T"]
Rows = Float[Array, "*rows"]
Scalar = Float[Array, ""]


def log_ratio(level: str, log_clean_old: Tokens, log_noisy: Tokens, mask: Mask) -> Tokens:
    """Log of ``clean old / noisy`` on each position, *not* clamped; 0 beyond the answers.

    ``level``: ``token``; ``sequence``, the sum over the answer; ``geometric``, that sum over the number of tokens
    (length-normalised, as in GSPO); ``none``, 0.
    """
    return _LOG_RATIOS[level](difference(Seen(log_clean_old, log_noisy, mask)), mask)


def truncate(ratio: Tokens, low: Any, cap: Any) -> Tokens:
    """Ratios moved into ``[low, cap]``: TIS, Yao et al. 2025; Ionides 2008. The paper has low = 0; cap None: no cap."""
    return jnp.clip(ratio, low, cap)


_LOG_RATIOS: dict[str, Callable[..., Array]] = {
    "none": lambda apart, mask: jnp.zeros_like(apart),
    "token": lambda apart, mask: apart,
    "sequence": lambda apart, mask: _of_answers(jnp.sum(apart, axis=-1, keepdims=True), mask),
    "geometric": lambda apart, mask: _of_answers(divide(jnp.sum(apart, axis=-1, keepdims=True), count(mask)), mask),
}
"""Logs of the ratios, not clamped."""


def weights(
    correction: Any, log_clean_old: Tokens, log_noisy: Tokens, mask: Mask, advantages: Rows | None = None
) -> Tokens:
    """Weight of each token's loss, float32 and gradient-stopped; 0 beyond the answers and where the gate drops.

    ``correction``: a :class:`jaxpsn.rlvr.objective.corrections.Correction`. ``log_clean_old`` is the clean policy's
    before the first update, ``log_noisy`` the sampler's own; ``advantages`` ``[...]`` are read by some gates alone.
    Equal log-probs (sigma = 0) give exactly 1. Where the correction normalises, weights are divided by their mean, over
    tokens for token weights and over answers for the others, so that noise does not change the size of the step.
    Source: arXiv 2602.02555, section 4 (token, C = 10).
    """
    require_float32(log_clean_old=log_clean_old, log_noisy=log_noisy)
    seen = Seen(log_clean_old, log_noisy, mask, advantages)
    ratio = _exp(correction.log_ratio(log_clean_old, log_noisy, mask))
    values = jnp.where(kept(correction, seen), correction.weigh(ratio, mask), 0.0)
    if correction.normalise:
        # Weights of an answer stand on each of its tokens: the first speaks for it.
        units = learnt(correction, seen)
        units = _answers(units) if correction.by_answer else units
        total, number = jnp.sum(jnp.where(units, values, 0.0)), jnp.sum(units.astype(values.dtype))
        values = values * divide(number, total)
    return jax.lax.stop_gradient(values)


def kept(correction: Any, seen: Seen) -> Mask:
    """Tokens of the answers that every gate of the correction lets pass."""
    mask = seen.mask
    for gate in terms_of(correction.gate):
        mask = mask & gate.keep(seen)
    return jax.lax.stop_gradient(mask)


def learnt(correction: Any, seen: Seen) -> Mask:
    """Tokens that count in the loss's mean: all but what gates drop that do not count what they drop."""
    mask = seen.mask
    for gate in terms_of(correction.gate):
        mask = mask if gate.counted else mask & gate.keep(seen)
    return jax.lax.stop_gradient(mask)


def diagnostics(
    correction: Any,
    log_clean_old: Tokens,
    log_noisy: Tokens,
    mask: Mask,
    noisy: Bool[Array, "*rows"] | None = None,
    advantages: Rows | None = None,
) -> dict[str, Scalar]:
    """How far apart sampler and clean policy are, and what the correction made of it; flat columns, float32.

    Ratios are *raw*, before any truncation: a log of truncated ratios hides the problem it should show.
    ``ratio_min/mean/max``, ``ratio_ess``, ``ratio_chi2`` and ``ratio_clamped`` over tokens, ``sequence_ratio_*`` over
    answers (products). ``_ess`` is the effective sample size as a share, ``(sum w)^2 / (n sum w^2)``, 1 for equal
    weights, and ``_chi2`` the mean of ``rho^2`` less 1, an estimate of chi2(clean || noisy); both are worked out from
    logs that are *not* clamped (chi2 up to e^80). ``_clamped`` is the share whose log lies beyond +-20, where minimum,
    mean, maximum and the weights themselves stand still; where all do, no weight tells anything, and the effective
    sample size is NaN. ``weight_mean``, ``weight_ess`` and ``weight_clamped`` over tokens, of the weights used (not
    normalised). ``truncated_share``: tokens whose weight is not their raw ratio (at the correction's level);
    ``masked_share``: tokens of weight 0. ``noise_kl_k1`` and ``noise_kl_k3``: see :func:`noise_kl`, over the rows
    marked ``noisy`` if given, as clean rows would dilute it. What was not measured (no tokens, no noisy rows) is NaN.
    """
    log_used, outside = _used(correction, Seen(log_clean_old, log_noisy, mask, advantages))
    used = jnp.where(jnp.isfinite(log_used), _exp(log_used), 0.0)
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


OF_MEMBERS = ("noise_kl", "weight_ess", "ratio_chi2", "weight_clamped")
"""What is told of each perturbation by itself, by the columns of :func:`diagnostics` (``noise_kl``: k1)."""


def of_member(
    correction: Any, log_clean_old: Tokens, log_noisy: Tokens, mask: Mask, own: Bool[Array, "*rows"], advantages: Any
) -> dict[str, Scalar]:
    """The columns :data:`OF_MEMBERS` over the rows marked ``own`` alone."""
    log_used, _ = _used(correction, Seen(log_clean_old, log_noisy, mask, advantages))
    mask = mask & own[..., None]
    found = noise_kl(log_clean_old, log_noisy, mask)[0], _effective(log_used, mask)
    found += _chi2(log_ratio("token", log_clean_old, log_noisy, mask), mask), _clamped(log_used, mask)
    return jax.lax.stop_gradient(dict(zip(OF_MEMBERS, found, strict=True)))


def _used(correction: Any, seen: Seen) -> tuple[Tokens, Mask]:
    """Logs of the weights used, not clamped where nothing truncates them, -inf for 0; and where they were changed."""
    raw = correction.log_ratio(seen.log_clean_old, seen.log_noisy, seen.mask)
    weighed = jnp.where(kept(correction, seen), correction.weigh(_exp(raw), seen.mask), 0.0)
    outside = seen.mask & (weighed != _exp(raw))
    return jnp.where(outside | ~seen.mask, jnp.log(weighed), raw), outside


def noise_kl(
    log_clean_old: Tokens, log_noisy: Tokens, mask: Mask, axis: int | tuple[int, ...] | None = None
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """KL(noisy || clean) in nats a token at the noisy policy's own tokens, by k1 and by k3.

    k1 is the mean of ``log noisy - log clean`` (Variant I of the paper's code; may be negative), k3 that of
    ``rho - 1 - log rho``. All axes are averaged unless ``axis`` names some: ``(1, 2)`` of ``[M, R, T]`` gives one
    number for each member. NaN where there is no token.
    """
    apart = difference(Seen(log_clean_old, log_noisy, mask))
    bounded = jnp.clip(apart, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    return masked_mean(-apart, mask, axis), masked_mean(jnp.expm1(bounded) - bounded, mask, axis)


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


def _chi2(log_weights: Array, units: Array) -> Scalar:
    """Mean of the squares of weights less 1, by log-sum-exp; at most e^80, as float32 ends at e^88."""
    double = jnp.where(units, 2.0 * log_weights, -jnp.inf)
    mean = jax.nn.logsumexp(double) - jnp.log(jnp.sum(units.astype(double.dtype)))
    return jnp.where(jnp.any(units), jnp.expm1(jnp.minimum(mean, 80.0)), jnp.nan)


def _effective(log_weights: Array, units: Array) -> Scalar:
    return jnp.where(jnp.all(_beyond(log_weights) | ~units), jnp.nan, effective_share(log_weights, units))


def _spread(name: str, log_ratio: Tokens, units: Mask) -> dict[str, Scalar]:
    some, ratio = jnp.any(units), _exp(log_ratio)
    return {
        f"{name}_min": jnp.where(some, jnp.min(jnp.where(units, ratio, jnp.inf)), jnp.nan),
        f"{name}_mean": masked_mean(ratio, units),
        f"{name}_max": jnp.where(some, jnp.max(jnp.where(units, ratio, -jnp.inf)), jnp.nan),
        f"{name}_ess": _effective(log_ratio, units),
        f"{name}_chi2": _chi2(log_ratio, units),
        f"{name}_clamped": _clamped(log_ratio, units),
    }


def _of_answers(values: Float[Array, "*rows 1"], mask: Mask) -> Tokens:
    return jnp.broadcast_to(values, mask.shape)


def _answers(mask: Mask) -> Mask:
    """The first token under the mask of every answer that has one."""
    return mask & (jnp.cumsum(mask.astype(jnp.int32), axis=-1) == 1)


def _exp(log_ratio: Array) -> Array:
    return jnp.exp(jnp.clip(log_ratio, -LOG_RATIO_BOUND, LOG_RATIO_BOUND))
