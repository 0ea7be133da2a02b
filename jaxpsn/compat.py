"""What JAX and its neighbours need to work together, in one place."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool


@contextlib.contextmanager
def foreign() -> Iterator[None]:
    """Standard type and rank promotion while third-party code is traced.

    Our own code is written for strict promotion; Brax and MJX are not.
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@custom_vmap
def _any(mask: Bool[Array, "..."]) -> Bool[Array, ""]:
    return jnp.any(mask)


@_any.def_vmap
def _any_over_batch(axis_size, in_batched, mask):
    # The batch is folded into the answer, so the answer is the same for all of it.
    return _any(mask), False


def anywhere(mask: Bool[Array, "..."]) -> Bool[Array, ""]:
    """``jnp.any`` that stays one scalar under ``vmap``: true if any batch element has any true entry.

    ``lax.cond`` on it remains a real branch when runs are vmapped. What the branch computes must be
    selected per element afterwards, as it also runs for batch elements whose own mask is false.
    """
    return _any(mask)
