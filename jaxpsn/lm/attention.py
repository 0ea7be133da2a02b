"""Grouped-query attention, and which kernel computes it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float

from jaxpsn.core.compat import foreign


def fits_cudnn(dtype: Any, head_dim: int) -> bool:
    """Whether cuDNN's flash kernel takes whole texts of this kind, on an NVIDIA GPU.

    It wants bfloat16 or float16, and heads of a multiple of 8 up to 128 wide (256 from Hopper on, which is not made
    use of). Its memory is linear in the length, XLA's quadratic.
    """
    return dtype in (jnp.bfloat16, jnp.float16) and head_dim % 8 == 0 and head_dim <= 128


def causal(
    q: Float[Array, "batch length heads dim"],
    k: Float[Array, "batch length kv_heads dim"],
    v: Float[Array, "batch length kv_heads dim"],
    flash: bool = False,
    reading: bool = False,
) -> Float[Array, "batch length heads dim"]:
    """Attention over whole texts: position t looks at positions up to t; ``flash``: by cuDNN where it fits.

    cuDNN gets neither a mask nor lengths, on purpose: causality is a mode of its kernel, whereas a mask would be
    materialised for it, and its batching rule under ``vmap`` (weights per member) takes no mask shared by the heads.
    ``reading``: no derivative is wanted.
    """
    if flash and fits_cudnn(q.dtype, q.shape[-1]):
        return rows_first(_cudnn)(q, k, v) if reading else _cudnn(q, k, v)
    places = jnp.arange(q.shape[1], dtype=jnp.int32)
    return masked(q, k, v, (places[None, :] <= places[:, None])[None, None])


def _cudnn(q: Array, k: Array, v: Array) -> Array:
    length = q.shape[1]
    # Its derivative wants an even length; nothing looks at a position added behind the last.
    even = [jnp.pad(x, ((0, 0), (0, length % 2), (0, 0), (0, 0))) for x in (q, k, v)]
    with foreign():
        return jax.nn.dot_product_attention(*even, is_causal=True, implementation="cudnn")[:, :length]


def rows_first(attend: Callable[..., Array]) -> Callable[..., Array]:
    """``attend(q, k, v)`` that takes members of a ``vmap`` as further rows, those of one row side by side.

    cuDNN's own batching rule puts the rows of one member side by side. Rows are what a mesh cuts, so that every device
    would then gather the queries, keys and values of all. There is no derivative.
    """

    @custom_vmap
    def call(q: Array, k: Array, v: Array) -> Array:
        return attend(q, k, v)

    @call.def_vmap
    def members(size: int, batched: Any, *given: Array) -> tuple[Array, bool]:
        each = [
            x if own else jnp.broadcast_to(x[None], (size, *x.shape)) for x, own in zip(given, batched, strict=True)
        ]
        out = call(*(jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]) for x in each))
        return jnp.swapaxes(out.reshape(-1, size, *out.shape[1:]), 0, 1), True

    return call


def masked(
    q: Float[Array, "batch length heads dim"],
    k: Float[Array, "batch slots kv_heads dim"],
    v: Float[Array, "batch slots kv_heads dim"],
    mask: Bool[Array, "rows 1 length slots"],
) -> Float[Array, "batch length heads dim"]:
    """Attention where ``mask`` is true (one row of it serves a whole batch); scores and softmax in float32.

    A decoding step always comes here: it reads the cache once whatever the kernel, and its scores are small.
    Written out, as ``jax.nn.dot_product_attention`` mixes dtypes in its bfloat16 derivative.
    """
    batch, length, heads, dim = q.shape
    grouped = q.reshape(batch, length, k.shape[2], -1, dim)
    scores = jnp.einsum("btkgd,bskd->bkgts", grouped, k, preferred_element_type=jnp.float32) * dim**-0.5
    scores = jnp.where(mask[:, :, None], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("bkgts,bskd->btkgd", weights, v).reshape(batch, length, heads, dim)


def laid_out(
    q: Float[Array, "batch length heads dim"],
    k: Float[Array, "batch kv_heads dim slots"],
    v: Float[Array, "batch kv_heads slots dim"],
    mask: Bool[Array, "rows 1 length slots"],
) -> Float[Array, "batch length heads dim"]:
    """As :func:`masked`, of keys and values that lie as the products on a CPU read them: nothing is turned around."""
    batch, length, heads, dim = q.shape
    grouped = jnp.moveaxis(q.reshape(batch, length, k.shape[1], -1, dim), 1, 3)
    scores = jnp.einsum("bkgtd,bkds->bkgts", grouped, k, preferred_element_type=jnp.float32) * dim**-0.5
    scores = jnp.where(mask[:, :, None], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    mixed = jnp.einsum("bkgts,bksd->bkgtd", weights, v)
    return jnp.moveaxis(mixed, 3, 1).reshape(batch, length, heads, dim)


def branched(
    q: Float[Array, "batch branches time heads dim"],
    k: Float[Array, "batch branches time kv_heads dim"],
    v: Float[Array, "batch branches time kv_heads dim"],
    trunk_k: Float[Array, "batch width kv_heads dim"],
    trunk_v: Float[Array, "batch width kv_heads dim"],
    seen: Bool[Array, "batch width"],
) -> Float[Array, "batch branches time heads dim"]:
    """Attention of texts that begin alike: time t of a branch looks at the trunk where ``seen`` and at itself up to t.

    One softmax over both, in float32; the trunk's keys and values are there once for all branches.
    """
    batch, branches, time, heads, dim = q.shape
    width = trunk_k.shape[1]
    grouped = q.reshape(batch, branches, time, k.shape[3], -1, dim)
    lowest = jnp.finfo(jnp.float32).min
    trunk = jnp.einsum("bntkgd,bskd->bkgnts", grouped, trunk_k, preferred_element_type=jnp.float32) * dim**-0.5
    own = jnp.einsum("bntkgd,bnskd->bkgnts", grouped, k, preferred_element_type=jnp.float32) * dim**-0.5
    places = jnp.arange(time, dtype=jnp.int32)
    trunk = jnp.where(seen[:, None, None, None, None], trunk, lowest)
    own = jnp.where((places[None, :] <= places[:, None])[None, None, None, None], own, lowest)
    weights = jax.nn.softmax(jnp.concatenate([trunk, own], axis=-1), axis=-1).astype(v.dtype)
    mixed = jnp.einsum("bkgnts,bskd->bntkgd", weights[..., :width], trunk_v)
    mixed = mixed + jnp.einsum("bkgnts,bnskd->bntkgd", weights[..., width:], v)
    return mixed.reshape(batch, branches, time, heads, dim)
