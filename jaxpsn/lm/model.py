"""The decoder as pure functions of plain parameter trees; layers stacked on axis 0 under one scan."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpsn.lm import attention
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.rope import rotate, turns

Params = dict[str, Any]
LAYERS, KERNEL, TURNED = "layers", "kernel", "turned"


@struct.dataclass
class Cache:
    """Keys and values of the slots written so far; of layers side by side (``lm.apart``) a tuple over layers each."""

    k: Any  # [layers, batch, slots, kv_heads, head_dim], or of each layer [batch, kv_heads, head_dim, slots]
    v: Any  # likewise, or of each layer [batch, kv_heads, slots, head_dim]


def empty_cache(config: DecoderConfig, batch: int, slots: int, dtype: Any) -> Cache:
    """A cache of ``slots`` positions for ``batch`` rows, all zero."""
    shape = (config.num_layers, batch, slots, config.num_kv_heads, config.head_dim)
    return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def parameter_shapes(config: DecoderConfig) -> Params:
    """The parameter tree with shapes for leaves; kernels are ``[layers, in, out]``."""
    d, f, n, hd = config.hidden_size, config.intermediate_size, config.num_layers, config.head_dim
    q, kv = config.num_heads * hd, config.num_kv_heads * hd

    def linear(width: int, out: int, bias: bool) -> Params:
        return {"kernel": (n, width, out)} | ({"bias": (n, out)} if bias else {})

    mixer = {
        "q": linear(d, q, config.qkv_bias), "k": linear(d, kv, config.qkv_bias), "v": linear(d, kv, config.qkv_bias),
        "o": linear(q, d, config.o_bias),
    }  # fmt: skip
    if config.qk_norm:
        mixer |= {"q_norm": {"scale": (n, hd)}, "k_norm": {"scale": (n, hd)}}
    mlp = {name: linear(d, f, config.mlp_bias) for name in ("gate", "up")} | {"down": linear(f, d, config.mlp_bias)}
    layers = {"attention_norm": {"scale": (n, d)}, "attention": mixer, "mlp_norm": {"scale": (n, d)}, "mlp": mlp}
    tree = {"embed": {"embedding": (config.vocab_size, d)}, "layers": layers, "final_norm": {"scale": (d,)}}
    return tree if config.tied else tree | {"head": {"kernel": (d, config.vocab_size)}}


@partial(jax.jit, static_argnames=("config", "dtype"))
def init(config: DecoderConfig, key: PRNGKeyArray, dtype: Any = jnp.float32) -> Params:
    """Random parameters: normal of std 0.02, the two projections into the residual scaled by 1/sqrt(2 layers).

    Norms start at one, biases at zero. (GPT-2's initialisation, Radford et al. 2019.)
    """
    shapes = parameter_shapes(config)
    flat, tree = jax.tree_util.tree_flatten_with_path(shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))
    residual = (2 * config.num_layers) ** -0.5
    # One draw cut into pieces compiles ten times faster than a draw per leaf.
    drawn, at, leaves = jax.random.normal(key, (sum(math.prod(shape) for _, shape in flat),)), 0, []
    for path, shape in flat:
        *_, module, name = (part.key for part in path)
        if name in ("scale", "bias"):
            leaves.append(jnp.full(shape, float(name == "scale"), dtype))
        else:
            std = 0.02 * (residual if module in ("o", "down") else 1.0)
            leaves.append((std * drawn[at : at + math.prod(shape)].reshape(shape)).astype(dtype))
        at += math.prod(shape)
    return jax.tree.unflatten(tree, leaves)


def _turned(kernel: Array, x: Array, dtype: Any = None) -> Array:
    """``x`` through a kernel ``[out, in]``, which is the left-hand side: of a thin product the cheap place on a CPU."""
    return jnp.moveaxis(
        lax.dot_general(kernel, x, (((1,), (x.ndim - 1,)), ((), ())), preferred_element_type=dtype), 0, -1
    )


def _linear(params: Params, x: Array) -> Array:
    y = _turned(params[TURNED], x) if TURNED in params else jnp.einsum("...i,io->...o", x, params[KERNEL])
    if "lora_a" in params:  # of lm.lora
        y = y + jnp.einsum("...r,ro->...o", jnp.einsum("...i,ir->...r", x, params["lora_a"]), params["lora_b"])
    return y + jnp.broadcast_to(params["bias"], y.shape) if "bias" in params else y


def _rms_norm(params: Params, x: Array, eps: float) -> Array:
    """Root-mean-square norm in float32 (Zhang and Sennrich 2019)."""
    wide = x.astype(jnp.float32)
    wide = wide * lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return wide.astype(x.dtype) * jnp.broadcast_to(params["scale"], x.shape)


def _heads(config: DecoderConfig, params: Params, x: Array, cos: Array, sin: Array) -> tuple[Array, Array, Array]:
    """Queries, keys and values ``[batch, length, heads, head_dim]``, the first two turned by their positions."""

    def split(name: str) -> Array:
        return _linear(params[name], x).reshape(*x.shape[:2], -1, config.head_dim)

    q, k, v = split("q"), split("k"), split("v")
    if config.qk_norm:
        q, k = (_rms_norm(params[name], y, config.rms_norm_eps) for name, y in (("q_norm", q), ("k_norm", k)))
    return rotate(q, cos, sin), rotate(k, cos, sin), v


def _mlp(params: Params, x: Array) -> Array:
    return _linear(params["down"], jax.nn.silu(_linear(params["gate"], x)) * _linear(params["up"], x))


def rolled(x: Array, shift: Array) -> Array:
    """Row b of ``x[batch, length, ...]`` turned around by ``shift[b]`` places towards the front."""
    length = x.shape[1]
    places = (jnp.arange(length, dtype=jnp.int32)[None] + shift[:, None].astype(jnp.int32)) % length
    # Said to be unique and in bounds, so that the derivative is a plain scatter without collisions.
    return jax.vmap(lambda row, at: row.at[at].get(unique_indices=True, mode="promise_in_bounds"))(x, places)


def _write(cache: Cache, k: Array, v: Array, layer: Any, slot: Any) -> Cache:
    """The cache with one layer's new slots, written in place: it is carried through the scan, never stacked anew."""
    if isinstance(cache.k, tuple):
        return _write_apart(cache, k, v, layer, slot)
    at = (layer, 0, slot, 0, 0)
    return Cache(*(
        lax.dynamic_update_slice(old, new[None].astype(old.dtype), at) for old, new in ((cache.k, k), (cache.v, v))
    ))  # fmt: skip


def _write_apart(cache: Cache, k: Array, v: Array, layer: int, slot: Any) -> Cache:
    keys = lax.dynamic_update_slice(cache.k[layer], jnp.moveaxis(k, 1, 3).astype(cache.k[layer].dtype), (0, 0, 0, slot))
    new = jnp.moveaxis(v, 1, 2).astype(cache.v[layer].dtype)
    values = lax.dynamic_update_slice(cache.v[layer], new, (0, 0, slot, 0))
    return Cache(*(
        (*old[:layer], own, *old[layer + 1 :]) for old, own in ((cache.k, keys), (cache.v, values))
    ))  # fmt: skip


def _over_layers(config: DecoderConfig, params: Params, x: Array, cache: Cache | None, turned: Any, mix: Any, remat):
    """All layers and the final norm; ``mix(q, k, v, cache, layer)`` attends and may write the cache."""

    def layer(carry, xs):
        x, cache = carry
        params, index = xs
        normed = _rms_norm(params["attention_norm"], x, config.rms_norm_eps)
        mixed, cache = mix(*_heads(config, params["attention"], normed, *turned), cache, index)
        x = x + _linear(params["attention"]["o"], mixed.reshape(*x.shape[:2], -1))
        x = x + _mlp(params["mlp"], _rms_norm(params["mlp_norm"], x, config.rms_norm_eps))
        return (x, cache), None

    if isinstance(params[LAYERS], tuple):  # of lm.apart
        for index, own in enumerate(params[LAYERS]):
            (x, cache), _ = layer((x, cache), (own, index))
    else:
        # Inside a scan nothing is there to be eliminated in common, so the barriers against it are left out.
        body = jax.checkpoint(layer, prevent_cse=False) if remat else layer
        indices = jnp.arange(config.num_layers, dtype=jnp.int32)
        (x, cache), _ = lax.scan(body, (x, cache), (params[LAYERS], indices))
    return _rms_norm(params["final_norm"], x, config.rms_norm_eps), cache


def _whole(config: DecoderConfig, params: Params, tokens: Array, start: Array, cache: Cache | None, remat: bool):
    """Texts from their first slot on, moved to the front: causality then hides the padding, which comes last."""
    tokens = rolled(tokens, start)
    positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]

    def mix(q, k, v, cache, layer):
        if cache is not None:
            cache = _write(cache, rolled(k, -start), rolled(v, -start), layer, 0)
        return attention.causal(q, k, v, config.flash, reading=cache is not None), cache

    x = params["embed"]["embedding"][tokens]
    hidden, cache = _over_layers(config, params, x, cache, turns(config.rope, config.head_dim, positions), mix, remat)
    return rolled(hidden, -start), cache


def _continued(config: DecoderConfig, params: Params, tokens: Array, start: Array, cache: Cache, slot: Any, remat):
    """New slots that look at the cache and at each other."""
    rows = slot + jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :, None]
    slots = cache.v[0].shape[2] if isinstance(cache.v, tuple) else cache.v.shape[2]
    columns = jnp.arange(slots, dtype=jnp.int32)[None, None, :]
    seen = (columns <= rows) & (columns >= start[:, None, None])
    # A padding slot sees itself alone: an all-masked softmax would be a division by zero.
    mask = (seen | (columns == rows))[:, None]
    positions = jnp.maximum(rows[:, :, 0] - start[:, None], 0)

    def mix(q, k, v, cache, layer):
        cache = _write(cache, k, v, layer, slot)
        if isinstance(cache.k, tuple):
            return attention.laid_out(q, *(side[layer].astype(q.dtype) for side in (cache.k, cache.v)), mask), cache
        k, v = (lax.dynamic_index_in_dim(side, layer, 0, keepdims=False).astype(q.dtype) for side in (cache.k, cache.v))
        return attention.masked(q, k, v, mask), cache

    x = params["embed"]["embedding"][tokens]
    return _over_layers(config, params, x, cache, turns(config.rope, config.head_dim, positions), mix, remat)


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

    Row b's text begins at slot ``start[b]``: earlier slots are padding, whatever tokens they hold; nothing looks at
    them, and what is returned for them is finite but meaningless. Without a cache, or with the number 0 for ``slot``
    (a prefill), the rows see only ``tokens``; otherwise they see every slot of the cache up to their own, and
    ``slot`` may be traced. The activations have the dtype of the parameters; ``remat`` computes each layer again in
    the backward pass instead of keeping it.
    """
    if cache is None or (isinstance(slot, int) and slot == 0):
        return _whole(config, params, tokens, start, cache, remat)
    return _continued(config, params, tokens, start, cache, slot, remat)


def branch_states(
    config: DecoderConfig,
    params: Params,
    trunk: Int[Array, "batch width"],
    start: Int[Array, " batch"],
    branches: Int[Array, "count batch time"],
    remat: bool = False,
) -> tuple[Float[Array, "batch hidden"], Float[Array, "count batch time hidden"]]:
    """Final hidden states of the trunk's last slot and of ``count`` continuations of each row of ``trunk``.

    As :func:`hidden_states` of every branch behind its trunk, but each trunk, whose text begins at slot ``start``, is
    read once. (Without a flash kernel: for short texts, or where there is none.)
    """
    (count, batch, time), width = branches.shape, trunk.shape[1]
    length = width - start
    trunk_places = jnp.broadcast_to(jnp.arange(width, dtype=jnp.int32)[None], (batch, width))
    places = jnp.tile(length[:, None] + jnp.arange(time, dtype=jnp.int32)[None], (1, count))
    turned = turns(config.rope, config.head_dim, jnp.concatenate([trunk_places, places], axis=1))
    seen = trunk_places < length[:, None]

    def mix(q, k, v, cache, layer):
        mixed = attention.causal(q[:, :width], k[:, :width], v[:, :width], config.flash)
        parts = (side[:, width:].reshape(batch, count, time, *side.shape[2:]) for side in (q, k, v))
        apart = attention.branched(*parts, k[:, :width], v[:, :width], seen)
        return jnp.concatenate([mixed, apart.reshape(batch, count * time, *q.shape[2:])], axis=1), cache

    tokens = jnp.concatenate([rolled(trunk, start), jnp.moveaxis(branches, 0, 1).reshape(batch, -1)], axis=1)
    hidden, _ = _over_layers(config, params, params["embed"]["embedding"][tokens], None, turned, mix, remat)
    last = rolled(hidden[:, :width], -start)[:, -1]
    return last, jnp.moveaxis(hidden[:, width:].reshape(batch, count, time, -1), 1, 0)


def logits(config: DecoderConfig, params: Params, hidden: Float[Array, "*rows hidden"]) -> Float[Array, "*rows vocab"]:
    """Next-token logits in float32, whatever the dtype of the parameters."""
    if isinstance(params[LAYERS], tuple):
        table = params["embed"]["embedding"] if config.tied else params["head"][TURNED]
        return _turned(table, hidden, jnp.float32)
    if config.tied:
        table, form = params["embed"]["embedding"], "...d,vd->...v"
    else:
        table, form = params["head"][KERNEL], "...d,dv->...v"
    return jnp.einsum(form, hidden, table, preferred_element_type=jnp.float32)
