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

from jaxpsn import checks
from jaxpsn.rlvr import names
from jaxpsn.rlvr.tokens import divide, masked_mean, require_float32

LOG_RATIO_BOUND = 20.0
"""Log-ratios are clamped to +- this before exp, sums over an answer too."""

CAP = 10.0
"""The paper's truncation (arXiv 2602.02555, appendix B); verl and TRL start from 2 and 3."""

Tokens = Float[Array, "*rows T"]
Mask = Bool[Array, "*rows T"]
Scalar = Float[Array, ""]


def token_ratio(log_clean_old: Tokens, log_noisy: Tokens, mask: Mask) -> Tokens:
    """``clean old / noisy`` of each token; 1 beyond the answers."""
    return _exp(_difference(log_clean_old, log_noisy, mask))


def sequence_ratio(log_clean_old: Tokens, log_noisy: Tokens, mask: Mask) -> Tokens:
    """``clean old / noisy`` of the whole answer, on each of its positions."""
    difference = _difference(log_clean_old, log_noisy, mask)
    return jnp.broadcast_to(_exp(jnp.sum(difference, axis=-1, keepdims=True)), mask.shape)


def geometric_ratio(log_clean_old: Tokens, log_noisy: Tokens, mask: Mask) -> Tokens:
    """Geometric mean of the answer's token ratios (length-normalised, as in GSPO), on each of its positions."""
    difference = _difference(log_clean_old, log_noisy, mask)
    count = jnp.sum(mask.astype(difference.dtype), axis=-1, keepdims=True)
    return jnp.broadcast_to(_exp(divide(jnp.sum(difference, axis=-1, keepdims=True), count)), mask.shape)


def truncate(ratio: Tokens, low: Any, cap: Any) -> Tokens:
    """Ratios moved into ``[low, cap]``: TIS, Yao et al. 2025; Ionides 2008. The paper has low = 0."""
    return jnp.clip(ratio, low, cap)


def drop(ratio: Tokens, low: Any, cap: Any) -> Tokens:
    """Ratios outside ``[low, cap]`` become 0: those tokens or answers teach nothing (IcePop, arXiv 2510.18855)."""
    return jnp.where((ratio >= low) & (ratio <= cap), ratio, 0.0)


_RATIOS: dict[str, Callable[..., Array]] = {
    "none": lambda log_clean_old, log_noisy, mask: jnp.ones_like(log_noisy),
    "token": token_ratio,
    "sequence": sequence_ratio,
    "geometric": geometric_ratio,
}

CORRECTIONS: dict[str, tuple[str, Callable[..., Array]]] = {
    "none": ("none", lambda ratio, low, cap: ratio),
    "token": ("token", truncate),
    "token_mask": ("token", drop),
    "sequence": ("sequence", truncate),
    "sequence_mask": ("sequence", drop),
    "geometric": ("geometric", truncate),
    "geometric_mask": ("geometric", drop),
}
"""Every correction by its name: the level of its ratio, and what happens to ratios outside the caps."""


def weights(
    name: str,
    log_clean_old: Tokens,
    log_noisy: Tokens,
    mask: Mask,
    cap: Any = CAP,
    low: Any = 0.0,
    normalise: bool = False,
) -> Tokens:
    """Weight of each token's loss, float32 and gradient-stopped; 0 beyond the answers.

    ``log_clean_old`` is the clean policy's before the first update, ``log_noisy`` the sampler's own. Equal log-probs
    (sigma = 0) give exactly 1. ``normalise`` divides by the mean, over tokens for token weights and over answers for
    the others, so that noise does not change the size of the step. Source: arXiv 2602.02555, section 4 (token, C = 10).
    """
    checks.choice("correction", name, names.CORRECTIONS)
    require_float32(log_clean_old=log_clean_old, log_noisy=log_noisy)
    level, bound = CORRECTIONS[name]
    values = jnp.where(mask, bound(_RATIOS[level](log_clean_old, log_noisy, mask), low, cap), 0.0)
    if normalise:
        # Weights of an answer stand on each of its tokens: the first speaks for it.
        units = mask if level == "token" else _answers(mask)
        total, count = jnp.sum(jnp.where(units, values, 0.0)), jnp.sum(units.astype(values.dtype))
        values = values * divide(count, total)
    return jax.lax.stop_gradient(values)


def diagnostics(
    name: str,
    log_clean_old: Tokens,
    log_noisy: Tokens,
    mask: Mask,
    cap: Any = CAP,
    low: Any = 0.0,
    noisy: Bool[Array, "*rows"] | None = None,
) -> dict[str, Scalar]:
    """How far apart sampler and clean policy are, and what the correction made of it; flat columns, float32.

    Ratios are *raw*, before any truncation: a log of truncated ratios hides the problem it should show.
    ``ratio_min/mean/max`` and ``ratio_ess`` over tokens, ``sequence_ratio_*`` over answers (products); ``_ess`` is the
    effective sample size as a share, ``(sum w)^2 / (n sum w^2)``, 1 for equal weights. ``weight_mean`` and
    ``weight_ess`` over tokens, of the weights used (not normalised). ``truncated_share``: tokens whose raw ratio (at
    the correction's level) lies outside ``[low, cap]``; ``masked_share``: tokens of weight 0. ``noise_kl_k1`` and
    ``noise_kl_k3``: see :func:`noise_kl`, over the rows marked ``noisy`` if given, as clean rows would dilute it.
    What was not measured (no tokens, no noisy rows) is NaN.
    """
    level, _ = CORRECTIONS[name]
    raw = _RATIOS[level](log_clean_old, log_noisy, mask)
    used = weights(name, log_clean_old, log_noisy, mask, cap, low)
    columns = _spread("ratio", token_ratio(log_clean_old, log_noisy, mask), mask)
    columns |= _spread("sequence_ratio", sequence_ratio(log_clean_old, log_noisy, mask), _answers(mask))
    outside = ((raw < low) | (raw > cap)) if level != "none" else jnp.zeros_like(mask)
    columns |= {
        "weight_mean": masked_mean(used, mask),
        "weight_ess": effective_share(used, mask),
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


def effective_share(values: Float[Array, "*shape"], mask: Bool[Array, "*shape"]) -> Scalar:
    """Effective sample size of weights as a share of their number, in (0, 1] (Kong 1992); 0 if all are 0."""
    values = jnp.where(mask, values, 0.0)
    # By the largest first: squares of raw ratios up to e^20 must not overflow.
    values = divide(values, jnp.broadcast_to(jnp.max(values), values.shape))
    count = jnp.sum(mask.astype(values.dtype))
    share = divide(jnp.square(jnp.sum(values)), jnp.sum(jnp.square(values)))
    return share / count


def _spread(name: str, ratio: Tokens, units: Mask) -> dict[str, Scalar]:
    some = jnp.any(units)
    return {
        f"{name}_min": jnp.where(some, jnp.min(jnp.where(units, ratio, jnp.inf)), jnp.nan),
        f"{name}_mean": masked_mean(ratio, units),
        f"{name}_max": jnp.where(some, jnp.max(jnp.where(units, ratio, -jnp.inf)), jnp.nan),
        f"{name}_ess": effective_share(ratio, units),
    }


def _answers(mask: Mask) -> Mask:
    """The first token under the mask of every answer that has one."""
    return mask & (jnp.cumsum(mask.astype(jnp.int32), axis=-1) == 1)


def _difference(log_clean_old: Tokens, log_noisy: Tokens, mask: Mask) -> Tokens:
    return jnp.where(mask, log_clean_old - log_noisy, 0.0)


def _exp(log_ratio: Array) -> Array:
    return jnp.exp(jnp.clip(log_ratio, -LOG_RATIO_BOUND, LOG_RATIO_BOUND))
