"""What JAX and its neighbours need to work together, in one place."""

import contextlib
from collections.abc import Iterator
from typing import Any

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


def manual_axes() -> frozenset[Any]:
    """The mesh axes of the ``shard_map`` or ``pmap`` around the caller: along them code sees one device's part only."""
    return frozenset(jax.sharding.get_abstract_mesh().manual_axes)


def varying(tree: Any) -> frozenset[Any]:
    """The axes of a ``shard_map`` (``check_vma=True``) along which some leaf is known to differ between devices."""
    axes = frozenset()
    for leaf in jax.tree.leaves(tree):
        kind = jax.typeof(leaf)
        # The attribute moved from the type to its `mat` in jax 0.10.
        axes |= getattr(getattr(kind, "mat", kind), "varying", None) or getattr(kind, "vma", frozenset())
    return axes


def vary(tree: Any, axes: frozenset[Any]) -> Any:
    """``tree`` with every leaf marked as differing along ``axes``: free, and gradients are summed over them."""

    def mark(leaf: Any) -> Any:
        missing = tuple(sorted(axes - varying(leaf)))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(mark, tree) if axes else tree
