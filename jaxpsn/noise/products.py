"""Products of activations with matrices, as accelerators take them: fewer kernels, and fewer bytes between them."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

THIN = 8
"""Numbers of an activation, at most, whose product with a matrix is a sum that fuses with what follows."""


def thin_product(x: Float[Array, "f n"], matrix: Float[Array, "n m"]) -> Float[Array, "f m"]:
    """``x @ matrix`` as a sum of products: where n is small, nothing is written that a kernel behind it would read."""
    return jnp.sum(x[:, :, None] * matrix[None], axis=1)


def at_default_precision(x: Float[Array, "f n"], matrix: Any) -> Float[Array, "f m"]:
    """``x @ matrix`` for entries +-1; of float32 with x and result rounded to bfloat16, as TPUs round by default.

    GPUs keep three bits more. What stands between kernels is then half as large; the rounding is of noise alone. Where
    JAX's configuration names a precision (``jax_default_matmul_precision``) nothing is rounded here.
    """
    if x.shape[-1] <= THIN:
        return thin_product(x, jnp.asarray(matrix, x.dtype))
    rounded = x.dtype == jnp.float32 and jax.config.jax_default_matmul_precision is None
    dtype = jnp.bfloat16 if rounded else x.dtype
    return (x.astype(dtype) @ jnp.asarray(matrix, dtype)).astype(x.dtype)
