"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864), in the half-split form of Llama and Qwen."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpsn.lm.config import LinearScaling, Llama3Scaling, Rope


def frequencies(rope: Rope, head_dim: int) -> np.ndarray:
    """Angular frequencies ``[head_dim / 2]`` in radians per position, scaled as the checkpoint asks.

    Rounded to float32 at the places where the code that checkpoints were trained with rounds: one last bit of a
    frequency is 6e-5 radians at position 1000.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    found = np.float32(1) / (rope.theta ** exponents.astype(np.float64)).astype(np.float32)
    if isinstance(rope.scaling, LinearScaling):
        return found / np.float32(rope.scaling.factor)
    if isinstance(rope.scaling, Llama3Scaling):
        return _llama3(found, rope.scaling)
    return found


def _llama3(found: np.ndarray, scaling: Llama3Scaling) -> np.ndarray:
    """Slow frequencies divided by the factor, fast ones kept, a linear blend between (Llama 3.1)."""
    rounds = scaling.original_max_positions / (np.float32(2 * np.pi) / found)
    blend = (rounds - np.float32(scaling.low_freq_factor)) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = np.clip(blend, np.float32(0), np.float32(1)).astype(np.float32)
    return (1 - blend) * found / np.float32(scaling.factor) + blend * found


def turns(
    rope: Rope, head_dim: int, positions: Int[Array, "rows length"]
) -> tuple[Float[Array, "rows length 1 half"], Float[Array, "rows length 1 half"]]:
    """Cosine and sine of every position's angles, in float32; one row serves a whole batch."""
    scale = jnp.asarray(frequencies(rope, head_dim)).reshape(1, 1, 1, -1)
    angles = positions.astype(jnp.float32)[:, :, None, None] * scale
    return jnp.cos(angles), jnp.sin(angles)


def rotate(
    x: Float[Array, "batch length heads dim"], cos: Float[Array, "rows length 1 half"], sin: Float[Array, "..."]
) -> Float[Array, "batch length heads dim"]:
    """``x`` with each pair (i, i + dim/2) turned by the angles of :func:`turns`, computed in float32."""
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x.dtype)
