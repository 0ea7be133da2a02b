"""Low-rank perturbations as PEFT LoRA folders, which engines of others load beside one base; needs no ``peft``.

LoRA (Hu et al. 2021, arXiv 2106.09685) adds ``alpha / r * B A`` to a matrix ``[out, in]``. Here alpha = r, and B holds
sigma, which differs from matrix to matrix where it is relative.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from safetensors.numpy import save_file

from jaxpsn.core.components import spec_of
from jaxpsn.core.errors import refuse
from jaxpsn.lm.folders.hf_tensors import entry
from jaxpsn.noise.lazy import effective_sigma
from jaxpsn.noise.spec import taken_apart
from jaxpsn.rlvr.exploration.perturbation import Perturbation

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"


class Pair(NamedTuple):
    """What is added to a leaf ``[layers, in, out]`` (or ``[in, out]``): ``(up @ down)`` transposed."""

    down: Any  # f32[layers, r, in], LoRA's A
    up: Any  # f32[layers, out, r], LoRA's B


def pairs(perturbation: Perturbation, params: Any, draw: Any, sigma: Any, member: int) -> dict[str, Pair]:
    """The perturbation of one member of ``draw`` at ``sigma``, as pairs of factors by the path of the leaf.

    Raises UserError as :func:`check` does.
    """
    check(perturbation)
    weights = dict(zip(*taken_apart(params)[:2], strict=True))
    found = {}
    for leaf in perturbation.spec.leaves:
        own = jax.tree.map(lambda array: array[member], draw.noise[leaf.path])
        size = effective_sigma(leaf, weights[leaf.path], jnp.float32(sigma), perturbation.spec.relative)
        out, into = perturbation.kind.thin(leaf, own)
        found[leaf.path] = Pair(jnp.swapaxes(into, -1, -2), size[..., None, None] * out)
    return found


def check(perturbation: Perturbation) -> None:
    """Refuse, naming structure or leaf, what no adapter can hold.

    That is noise that is drawn anew within answers, vectors, matrices other than linear layers', and noise without a
    low-rank form.
    """
    if perturbation.hold is not None:
        refuse("noise.hold", spec_of(perturbation.hold), "episode, as an adapter stays for the whole answer")
    for leaf in perturbation.spec.leaves:
        if leaf.is_vector or leaf.batch or not leaf.path.endswith("/kernel"):
            refuse(
                "noise.select", leaf.path, "matrices of linear layers alone, such as mlp, as adapters hold no others"
            )
        if not perturbation.kind.factored(leaf):
            allowed = f"a structure with a low-rank form, such as lowrank; {leaf.path} is drawn whole"
            refuse("noise.structure", spec_of(perturbation.kind), allowed)


def trained(adapters: Any, scale: float) -> dict[str, Pair]:
    """Adapters of :mod:`jaxpsn.lm.lora`, which count ``scale`` times, as pairs by the path of the leaf."""
    return {
        f"layers/{part}/{name}/kernel": Pair(
            jnp.swapaxes(one["lora_a"], -1, -2), scale * jnp.swapaxes(one["lora_b"], -1, -2)
        )
        for part, modules in adapters["layers"].items()
        for name, one in modules.items()
    }


def together(first: Mapping[str, Pair], second: Mapping[str, Pair]) -> dict[str, Pair]:
    """The sum of both, their factors side by side; of a leaf that one of them lacks filled with zeros."""

    def beside(path: str) -> Pair:
        some = first.get(path) or second[path]
        sides = []
        for of in (first, second):
            rank = next(iter(of.values())).down.shape[-2]
            shapes = (*some.down.shape[:-2], rank, some.down.shape[-1]), (*some.up.shape[:-1], rank)
            sides.append(of.get(path) or Pair(*map(jnp.zeros, shapes)))
        (down, up), (more_down, more_up) = sides
        return Pair(jnp.concatenate([down, more_down], axis=-2), jnp.concatenate([up, more_up], axis=-1))

    return {path: beside(path) for path in sorted({*first, *second})}


def write(folder: Path, found: Mapping[str, Pair], base: str) -> None:
    """Write ``found`` as a new PEFT folder; ``base`` is the path or name of the model that it belongs to.

    Raises OSError where it cannot be written.
    """
    tensors, modules, ranks = {}, set(), set()
    for path, pair in found.items():
        item = entry(path, (*pair.down.shape[:-2], pair.down.shape[-1], pair.up.shape[-2]))
        for layer, name in enumerate(item.names()):
            module = name.removesuffix(".weight")
            for key, leaf in (("lora_A", pair.down), ("lora_B", pair.up)):
                array = np.asarray(leaf[layer] if item.stacked else leaf, np.float32)
                tensors[f"base_model.model.{module}.{key}.weight"] = np.ascontiguousarray(array)
            modules.add(module.rpartition(".")[2])
        ranks.add(pair.down.shape[-2])
    (rank,) = ranks
    folder.mkdir(parents=True)
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    described = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "inference_mode": True,
        "r": rank, "lora_alpha": rank, "lora_dropout": 0.0, "target_modules": sorted(modules), "bias": "none",
        "fan_in_fan_out": False, "init_lora_weights": True, "modules_to_save": None, "use_rslora": False,
        "use_dora": False, "rank_pattern": {}, "alpha_pattern": {},
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def merged(params: Any, found: Mapping[str, Pair]) -> Any:
    """``params`` with every pair added to its leaf, in float32 and cast back."""
    parts = taken_apart(params)

    def added(path: str, weight: Array) -> Float[Array, "..."]:
        if path not in found:
            return weight
        change = jnp.swapaxes(found[path].up @ found[path].down, -1, -2)
        return (weight.astype(jnp.float32) + change).astype(weight.dtype)

    return parts.whole([added(path, weight) for path, weight in zip(parts.paths, parts.arrays, strict=True)])
