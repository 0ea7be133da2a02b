"""The decoder as pure functions of plain parameter trees; layers stacked on axis 0 under one scan."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.rope import rotate

Params = dict[str, Any]


@struct.dataclass
class Cache:
    """Keys and values of the slots written so far."""

    k: Any  # [layers, batch, slots, kv_heads, head_dim]
    v: Any  # likewise


def empty_cache(config: DecoderConfig, batch: int, slots: int, dtype: Any) -> Cache:
    """A cache of ``slots`` positions for ``batch`` rows, all zero."""
    shape = (config.num_layers, batch, slots, config.num_kv_heads, config.head_dim)
    return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def init(config: DecoderConfig, key: PRNGKeyArray, dtype: Any = jnp.float32) -> Params:
    """Random parameters: normal of std 0.02, the two projections into the residual scaled by 1/sqrt(2 layers).

    (GPT-2's initialisation, Radford et al. 2019.)
    """
    shapes = parameter_shapes(config)
    flat, tree = jax.tree_util.tree_flatten_with_path(shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))
    residual = (2 * config.num_layers) ** -0.5

    def draw(index: int, path: Any, shape: tuple[int, ...]) -> Array:
        names = [part.key for part in path]
        if names[-1] == "scale":
            return jnp.ones(shape, dtype)
        if names[-1] == "bias":
            return jnp.zeros(shape, dtype)
        std = 0.02 * (residual if names[-2] in ("o", "down") else 1.0)
        return (std * jax.random.normal(jax.random.fold_in(key, index), shape)).astype(dtype)

    return jax.tree.unflatten(tree, [draw(index, path, shape) for index, (path, shape) in enumerate(flat)])


def parameter_shapes(config: DecoderConfig) -> Params:
    """The parameter tree with shapes for leaves; kernels are ``[layers, in, out]``."""
    d, f, n, hd = config.hidden_size, config.intermediate_size, config.num_layers, config.head_dim
    q, kv = config.num_heads * hd, config.num_kv_heads * hd

    def linear(width: int, out: int, bias: bool) -> Params:
        return {"kernel": (n, width, out)} | ({"bias": (n, out)} if bias else {})

    attention = {
        "q": linear(d, q, config.qkv_bias), "k": linear(d, kv, config.qkv_bias), "v": linear(d, kv, config.qkv_bias),
        "o": linear(q, d, config.o_bias),
    }  # fmt: skip
    if config.qk_norm:
        attention |= {"q_norm": {"scale": (n, hd)}, "k_norm": {"scale": (n, hd)}}
    mlp = {name: linear(d, f, config.mlp_bias) for name in ("gate", "up")} | {"down": linear(f, d, config.mlp_bias)}
    layers = {
        "attention_norm": {"scale": (n, d)}, "attention": attention, "mlp_norm": {"scale": (n, d)}, "mlp": mlp,
    }  # fmt: skip
    tree = {"embed": {"embedding": (config.vocab_size, d)}, "layers": layers, "final_norm": {"scale": (d,)}}
    return tree if config.tied else tree | {"head": {"kernel": (d, config.vocab_size)}}


def _linear(params: Params, x: Array) -> Array:
    y = jnp.einsum("...i,io->...o", x, params["kernel"])
    return y + jnp.broadcast_to(params["bias"], y.shape) if "bias" in params else y


def _rms_norm(params: Params, x: Array, eps: float) -> Array:
    """Root-mean-square norm in float32 (Zhang and Sennrich 2019)."""
    wide = x.astype(jnp.float32)
    wide = wide * lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return wide.astype(x.dtype) * jnp.broadcast_to(params["scale"], x.shape)


def _attend(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """Grouped-query attention; the cuDNN kernel where the device and the dtype allow it."""
    fits = jax.default_backend() == "gpu" and q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] % 8 == 0
    return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="cudnn" if fits else "xla")


def _attention(config, params, x, positions, mask, cache, layer, slot):
    batch, length = x.shape[:2]

    def heads(name: str, count: int) -> Array:
        return _linear(params[name], x).reshape(batch, length, count, config.head_dim)

    q, k, v = heads("q", config.num_heads), heads("k", config.num_kv_heads), heads("v", config.num_kv_heads)
    if config.qk_norm:
        q, k = (_rms_norm(params[name], y, config.rms_norm_eps) for name, y in (("q_norm", q), ("k_norm", k)))
    q, k = rotate(config.rope, q, positions), rotate(config.rope, k, positions)
    if cache is not None:
        # Written in place: the cache is carried through the scan, never stacked anew by it.
        cache = Cache(*(
            lax.dynamic_update_slice(old, new[None].astype(old.dtype), (layer, 0, slot, 0, 0))
            for old, new in ((cache.k, k), (cache.v, v))
        ))  # fmt: skip
        k, v = (lax.dynamic_index_in_dim(side, layer, 0, keepdims=False).astype(x.dtype) for side in (cache.k, cache.v))
    out = _attend(q, k, v, mask).reshape(batch, length, -1)
    return _linear(params["o"], out), cache


def _mlp(params: Params, x: Array) -> Array:
    return _linear(params["down"], jax.nn.silu(_linear(params["gate"], x)) * _linear(params["up"], x))


def hidden_states(
    config: DecoderConfig,
    params: Params,
    tokens: Int[Array, "batch length"],
    start: Int[Array, " batch"],
    cache: Cache | None = None,
    slot: Any = 0,
    remat: bool = False,
) -> tuple[Float[Array, "batch length hidden"], Cache | None]:
    """Final hidden states (after the last norm) of ``tokens``, which fill the slots from ``slot`` on.

    Row b's text begins at slot ``start[b]``: earlier slots are padding, never looked at, whatever they hold.
    Without a cache ``slot`` is 0 and the rows see only ``tokens``; with one they see every slot up to their own.
    """
    length = tokens.shape[1]
    slots = cache.k.shape[2] if cache is not None else length
    rows = slot + jnp.arange(length, dtype=jnp.int32)
    columns = jnp.arange(slots, dtype=jnp.int32)
    positions = jnp.maximum(rows[None, :] - start[:, None], 0)
    seen = (columns[None, None, :] <= rows[None, :, None]) & (columns[None, None, :] >= start[:, None, None])
    # A padding row sees itself alone: an all-masked softmax would be a division by zero.
    mask = (seen | (columns[None, None, :] == rows[None, :, None]))[:, None]

    def layer(carry, xs):
        x, cache = carry
        params, index = xs
        normed = _rms_norm(params["attention_norm"], x, config.rms_norm_eps)
        mixed, cache = _attention(config, params["attention"], normed, positions, mask, cache, index, slot)
        x = x + mixed
        x = x + _mlp(params["mlp"], _rms_norm(params["mlp_norm"], x, config.rms_norm_eps))
        return (x, cache), None

    x = params["embed"]["embedding"][tokens]
    indices = jnp.arange(config.num_layers, dtype=jnp.int32)
    body = jax.checkpoint(layer) if remat else layer
    (x, cache), _ = lax.scan(body, (x, cache), (params["layers"], indices))
    return _rms_norm(params["final_norm"], x, config.rms_norm_eps), cache


def logits(config: DecoderConfig, params: Params, hidden: Float[Array, "*rows hidden"]) -> Float[Array, "*rows vocab"]:
    """Next-token logits in float32."""
    if config.tied:
        table, form = params["embed"]["embedding"], "...d,vd->...v"
    else:
        table, form = params["head"]["kernel"], "...d,dv->...v"
    return jnp.einsum(form, hidden, table, preferred_element_type=jnp.float32)
