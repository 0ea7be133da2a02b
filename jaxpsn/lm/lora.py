"""Trained adapters of low rank on a frozen decoder (LoRA, Hu et al. 2021, arXiv 2106.09685).

An adapted linear layer computes ``x W + alpha / r (x A) B``; W stays as it was read, A and B learn. The tree of
adapters has the layers that are adapted alone, each with ``lora_a [layers, in, r]`` and ``lora_b [layers, r, out]``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.model import Params, parameter_shapes

TARGETS = {"attention": ("attention",), "mlp": ("mlp",), "linear": ("attention", "mlp")}
"""Parts of a layer that are adapted, by what a config calls them."""


def as_shapes(config: DecoderConfig, rank: int, targets: str) -> Params:
    """The tree of adapters as float32 shapes."""

    def adapted(kernel: tuple[int, int, int]) -> dict[str, Any]:
        layers, width, out = kernel
        pair = {"lora_a": (layers, width, rank), "lora_b": (layers, rank, out)}
        return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in pair.items()}

    layers = parameter_shapes(config)["layers"]
    linear = {
        part: {name: adapted(one["kernel"]) for name, one in layers[part].items() if "kernel" in one}
        for part in TARGETS[targets]
    }
    return {"layers": linear}


def init(config: DecoderConfig, rank: int, targets: str, key: PRNGKeyArray) -> Params:
    """Adapters that change nothing yet: A uniform within ``1 / sqrt(in)``, B zero (as ``peft`` begins), float32."""
    flat, tree = jax.tree_util.tree_flatten_with_path(as_shapes(config, rank, targets))

    def drawn(index: int, path: Any, shape: tuple[int, ...]) -> Float[Array, "layers width out"]:
        if path[-1].key == "lora_b":
            return jnp.zeros(shape, jnp.float32)
        bound = shape[1] ** -0.5
        return jax.random.uniform(jax.random.fold_in(key, index), shape, minval=-bound, maxval=bound)

    return jax.tree.unflatten(tree, [drawn(index, path, leaf.shape) for index, (path, leaf) in enumerate(flat)])


def joined(params: Params, adapters: Params, scale: float) -> Params:
    """The frozen weights and the adapters, ``lora_b`` times ``scale`` (alpha / r), as one tree that passes take."""

    def with_adapter(module: Params, one: Params) -> Params:
        return module | {"lora_a": one["lora_a"], "lora_b": scale * one["lora_b"]}

    return _changed(params, adapters, with_adapter)


def merged(params: Params, adapters: Params, scale: float) -> Params:
    """Weights without adapters that compute the same: ``W + scale A B``, formed in float32, in the dtype of W."""

    def added(module: Params, one: Params) -> Params:
        kernel = module["kernel"]
        whole = kernel.astype(jnp.float32) + scale * (one["lora_a"] @ one["lora_b"])
        return module | {"kernel": whole.astype(kernel.dtype)}

    return _changed(params, adapters, added)


def _changed(params: Params, adapters: Params, change: Callable[[Params, Params], Params]) -> Params:
    layers = dict(params["layers"])
    for part, modules in adapters["layers"].items():
        layers[part] = layers[part] | {name: change(layers[part][name], one) for name, one in modules.items()}
    return params | {"layers": layers}
