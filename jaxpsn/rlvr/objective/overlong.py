"""What to do with answers that hit the token limit: leave them out of the loss, or fine them on the way there."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxpsn.core import checks

BUFFER = 16
"""Tokens of the penalty's buffer where none are asked for."""


def drop_truncated(mask: Bool[Array, "*rows T"], ended: Bool[Array, "*rows"]) -> Bool[Array, "*rows T"]:
    """The mask without answers that did not end: an answer cut off says nothing about being right or wrong.

    They still count in their group's mean reward. Source: overlong filtering, DAPO (arXiv 2503.14476), section 3.4.
    """
    return mask & ended[..., None]


def penalty(lengths: Int[Array, "*rows"], limit: int, buffer: int, factor: Any = 1.0) -> Float[Array, "*rows"]:
    """Fine to add to the reward: 0 up to ``limit - buffer`` tokens, then falling linearly to ``-factor`` at the limit.

    Source: soft overlong punishment, DAPO, equation 13 (limit 20480, buffer 4096, factor 1).
    """
    checks.whole("overlong_buffer", buffer, 1, limit)
    excess = (lengths - (limit - buffer)).astype(jnp.float32)
    return -factor * jnp.clip(excess / buffer, 0.0, 1.0)
