"""Masks and means over the tokens of answers; rows in any layout, tokens on the last axis."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxpsn.core import errors


def token_mask(lengths: Int[Array, "*rows"], width: int) -> Bool[Array, "*rows {width}"]:
    """True on the first ``lengths`` of ``width`` positions: the answer's own tokens, its end token included."""
    positions = lax.broadcasted_iota(lengths.dtype, (*lengths.shape, width), lengths.ndim)
    return positions < lengths[..., None]


def masked_mean(
    values: Float[Array, "*shape"], mask: Bool[Array, "*shape"], axis: int | tuple[int, ...] | None = None
) -> Float[Array, "*rest"]:
    """Mean of the values under the mask; NaN where there are none (nothing was measured)."""
    total = jnp.sum(jnp.where(mask, values, 0.0), axis=axis)
    return total / jnp.sum(mask.astype(values.dtype), axis=axis)


def divide(top: Float[Array, "*shape"], bottom: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``top / bottom``, and 0 where the bottom is 0, also in the gradient."""
    return top / jnp.where(bottom == 0.0, 1.0, bottom) * (bottom != 0.0).astype(top.dtype)


def require_float32(**log_probs: Array | None) -> None:
    """Refuse log-probabilities narrower than float32.

    Two bfloat16 log-probs of -5 differ by at least 0.03: their ratio says nothing about a perturbation of 0.003 nats.
    """
    for name, values in log_probs.items():
        if values is not None and values.dtype.itemsize < 4:
            errors.refuse(name, values.dtype.name, "float32, as narrower ratios drown the noise they measure")
