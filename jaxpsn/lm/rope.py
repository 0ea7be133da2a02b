"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864), in the half-split form of Llama and Qwen."""

import numpy as np
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxpsn.lm.config import LinearScaling, Llama3Scaling, Rope


def frequencies(rope: Rope, head_dim: int) -> np.ndarray:
    """Angular frequencies ``[head_dim / 2]`` in float64, scaled as the checkpoint asks."""
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


def rotate(
    rope: Rope, x: Float[Array, "batch length heads dim"], positions: Int[Array, "batch length"]
) -> Float[Array, "batch length heads dim"]:
    """``x`` with each pair (i, i + dim/2) turned by its position's angle, computed in float32."""
    angles = positions.astype(jnp.float32)[..., None, None] * jnp.asarray(
        frequencies(rope, x.shape[-1]), jnp.float32
    ).reshape(1, 1, 1, -1)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x.dtype)
