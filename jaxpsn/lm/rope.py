"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864), in the half-split form of Llama and Qwen."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpsn.lm.config import LinearScaling, Llama3Scaling, Rope


def frequencies(rope: Rope, head_dim: int) -> np.ndarray:
    """Angular frequencies ``[head_dim / 2]`` in radians per position, float64, scaled as the checkpoint asks."""
    found = rope.theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    if isinstance(rope.scaling, LinearScaling):
        return found / rope.scaling.factor
    if isinstance(rope.scaling, Llama3Scaling):
        return _llama3(found, rope.scaling)
    return found


def _llama3(found: np.ndarray, scaling: Llama3Scaling) -> np.ndarray:
    """Slow frequencies divided by the factor, fast ones kept, a linear blend between (Llama 3.1)."""
    turns = scaling.original_max_positions * found / (2 * np.pi)
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = np.clip(blend, 0.0, 1.0)
    return (1 - blend) * found / scaling.factor + blend * found


def turns(
    rope: Rope, head_dim: int, positions: Int[Array, "rows length"]
) -> tuple[Float[Array, "rows length 1 half"], Float[Array, "rows length 1 half"]]:
    """Cosine and sine of every position's angles, in float32; one row serves a whole batch."""
    scale = jnp.asarray(frequencies(rope, head_dim), jnp.float32).reshape(1, 1, 1, -1)
    angles = positions.astype(jnp.float32)[:, :, None, None] * scale
    return jnp.cos(angles), jnp.sin(angles)


def rotate(
    x: Float[Array, "batch length heads dim"], cos: Float[Array, "rows length 1 half"], sin: Float[Array, "..."]
) -> Float[Array, "batch length heads dim"]:
    """``x`` with each pair (i, i + dim/2) turned by the angles of :func:`turns`, computed in float32."""
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x.dtype)
