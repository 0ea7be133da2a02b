"""GGUF files of the Llama and Qwen families, shown as the small files and the tensors of a Hugging Face folder; no JAX.

Read with ``gguf`` (the extra of that name); block-quantised tensors are dequantised to float32. Llama files hold
queries and keys with the two halves of a head's rotary pairs interleaved; here they are put back. What would change
the computation and is not known is refused by name, as for ``config.json``.
"""

import importlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from jaxpsn.core.errors import UserError, nearest
from jaxpsn.core.foreign import shown

SUFFIX = ".gguf"
_ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_SIZES = {
    "num_hidden_layers": "block_count", "hidden_size": "embedding_length", "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count", "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length", "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon", "rope_theta": "rope.freq_base",
}  # fmt: skip
_NEEDED = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "max_position_embeddings")
_OF_LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_ALONE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


class Stored(NamedTuple):
    """A tensor of the file under its name in a Hugging Face folder."""

    shape: tuple[int, ...]
    kind: Any
    """``gguf.GGMLQuantizationType``."""
    data: np.ndarray
    """Mapped bytes or floats."""
    heads: int
    """Heads whose rotary pairs are interleaved in its rows; 0: none."""


class Opened(NamedTuple):
    """A GGUF file: the texts of the small files that a folder of its model would have, and its tensors by name."""

    texts: Mapping[str, str]
    tensors: Mapping[str, Stored]


def is_one(path: str | Path) -> bool:
    """Whether ``path`` is named as a GGUF file, and is a file."""
    return Path(path).suffix == SUFFIX and Path(path).is_file()


def read(path: str | Path) -> Opened:
    """The file at ``path``; a second reading of the same costs nothing.

    Raises ``UserError`` in one line without the package ``gguf``, and for a damaged or truncated file, one of several
    parts, another architecture or tokenizer, and entries or types of tensors that are not computed.
    """
    path = Path(path)
    found = path.stat()
    return _read(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1)
def _read(path: Path, changed: int, size: int) -> Opened:
    library = _library(path)
    try:
        reader = library.GGUFReader(path)
        entries = {name: field.contents() for name, field in reader.fields.items()}
    # What the reader meets in a file that is cut or is none depends on where: views, indices, text and its own errors.
    except Exception as error:
        raise UserError(f"{path}: a damaged or truncated GGUF file ({' '.join(str(error).split())[:120]})") from None
    try:
        from jaxpsn.lm.folders import gguf_tokens  # which brings tokenizers along

        config = _config(entries, {tensor.name for tensor in reader.tensors})
        tensors = _tensors(config, reader.tensors)
        config |= gguf_tokens.specials(entries)
        texts = {"config.json": json.dumps(config)} | gguf_tokens.texts(entries)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Opened(texts, tensors)


def dequantised(path: str | Path, stored: Stored) -> np.ndarray:
    """The tensor in float32, rows in the order of a Hugging Face folder. Raises UserError for a type without a way."""
    quants = _library(Path(path)).quants
    try:
        found = quants.dequantize(stored.data, stored.kind).reshape(stored.shape)
    except (NotImplementedError, ValueError) as error:
        raise UserError(f"{path}: tensors of type {stored.kind.name} cannot be read ({error})") from None
    found = np.asarray(found, np.float32)
    if stored.heads:
        rows = found.reshape(stored.heads, -1, 2, *stored.shape[1:])
        found = rows.swapaxes(1, 2).reshape(stored.shape)
    return found


def _library(path: Path) -> Any:
    try:
        return importlib.import_module("gguf")
    except ImportError:
        raise UserError(f'{path}: GGUF files are read with the package gguf: pip install "jaxpsn[gguf]"') from None


def _refuse(entry: str, value: Any, allowed: str) -> NoReturn:
    raise UserError(f"{entry} = {shown(value)}: {allowed}")


def _config(entries: Mapping[str, Any], tensors: set[str]) -> dict[str, Any]:
    """The ``config.json`` of the file's model."""
    kind = entries.get("general.architecture")
    if kind not in _ARCHITECTURES:
        _refuse("general.architecture", kind, nearest(str(kind)[:80], _ARCHITECTURES))
    if entries.get("split.count", 1) not in (0, 1):
        _refuse("split.count", entries["split.count"], "1; llama-gguf-split --merge joins the parts")
    if entries.get(f"{kind}.expert_count"):
        _refuse(f"{kind}.expert_count", entries[f"{kind}.expert_count"], "none, as experts are not computed")
    config = {name: entries[f"{kind}.{entry}"] for name, entry in _SIZES.items() if f"{kind}.{entry}" in entries}
    for name in _NEEDED:
        if name not in config:
            raise UserError(f"{kind}.{_SIZES[name]} is missing")
        if not isinstance(config[name], int) or config[name] < 1:
            _refuse(f"{kind}.{_SIZES[name]}", config[name], "a whole number from 1")
    listed = entries.get("tokenizer.ggml.tokens")
    config["vocab_size"] = entries.get(f"{kind}.vocab_size", len(listed) if listed else None)
    scaling = entries.get(f"{kind}.rope.scaling.type", "none")
    if scaling != "none":
        config["rope_scaling"] = {"rope_type": scaling, "factor": entries.get(f"{kind}.rope.scaling.factor")}
    _check_rope(kind, entries, config, tensors)
    return config | {
        "model_type": kind,
        "architectures": [_ARCHITECTURES[kind]],
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
    }


def _check_rope(kind: str, entries: Mapping[str, Any], config: Mapping[str, Any], tensors: set[str]) -> None:
    if "rope_freqs.weight" in tensors:
        raise UserError("rope_freqs.weight: scaled rotary frequencies of Llama 3.1 are not read; take the safetensors")
    entry = f"{kind}.rope.dimension_count"
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    if entries.get(entry, width) != width:
        _refuse(entry, entries[entry], f"{width}, as whole heads are turned")


def _tensors(config: Mapping[str, Any], listed: Any) -> dict[str, Stored]:
    heads = config["num_attention_heads"]
    turned = {"attn_q": heads, "attn_k": config.get("num_key_value_heads", heads)}
    found = {}
    for tensor in listed:
        name, part = _named(tensor.name)
        shape = tuple(int(size) for size in reversed(tensor.shape))
        pairs = turned.get(part, 0) if config["model_type"] == "llama" else 0
        if pairs and shape[0] % (2 * pairs):
            raise UserError(f"{tensor.name}: {shape[0]} rows: a multiple of twice its {pairs} heads")
        found[name] = Stored(shape, tensor.tensor_type, tensor.data, pairs)
    return found


def _named(name: str) -> tuple[str, str]:
    """The tensor's name in a Hugging Face folder, as it is where none is known, and its part (``attn_q``)."""
    module, _, leaf = name.rpartition(".")
    head, _, rest = module.partition(".")
    layer, _, part = rest.partition(".")
    if head == "blk" and part in _OF_LAYER:
        return f"model.layers.{layer}.{_OF_LAYER[part]}.{leaf}", part
    return (f"{_ALONE[module]}.{leaf}", module) if module in _ALONE else (name, "")
