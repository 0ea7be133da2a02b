"""Hugging Face folders: a decoder's parameters read from safetensors, whole or a shard per device, and written back."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec
from safetensors import SafetensorError
from safetensors.numpy import save_file

from jaxpsn.core.errors import UserError, refuse
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.folders import gguf_file
from jaxpsn.lm.folders.hf_config import read_config as read_config
from jaxpsn.lm.folders.hf_config import special_tokens, to_json
from jaxpsn.lm.folders.hf_tensors import INDEX, SINGLE, Entry, Tensors, entry, index_text, opened, shards, transpose
from jaxpsn.lm.model import Params, parameter_shapes

_NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_COPIED = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json",
)  # fmt: skip


def _entries(config: DecoderConfig) -> Params:
    """The parameter tree with :class:`Entry` for leaves."""

    def named(path: Any, shape: tuple[int, ...]) -> Entry:
        return entry("/".join(part.key for part in path), shape)

    shapes = parameter_shapes(config)
    return jax.tree_util.tree_map_with_path(named, shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))


def _dtype(checkpoint: Tensors, entries: list[Entry], dtype: Any) -> np.dtype:
    if dtype is not None:
        found = jnp.dtype(dtype)
        return found if found.name in _NAMES else refuse("dtype", found.name, f"one of {', '.join(_NAMES)}")
    stored = {checkpoint.dtype(name): name for item in entries for name in item.names()}
    if len(stored) > 1:
        some = ", ".join(f"{name} is {word}" for word, name in sorted(stored.items()))
        raise UserError(f"{checkpoint.folder}: mixed dtypes ({some}): say which dtype to load")
    return jnp.dtype({word: name for name, word in _NAMES.items()}[stored.popitem()[0]])


def _sharded(read: Callable[[tuple[slice, ...]], np.ndarray], shape: tuple[int, ...], sharding: Any) -> jax.Array:
    """An array whose shards are read one by one; devices that hold the same shard share one reading."""
    held: dict[tuple[range, ...], np.ndarray] = {}

    def shard(index: tuple[slice, ...]) -> np.ndarray:
        place = tuple(range(*part.indices(size)) for part, size in zip(index, shape, strict=True))
        if place not in held:
            held[place] = read(index)
        return held[place]

    return jax.make_array_from_callback(shape, sharding, shard)


def load(folder: str | Path, config: DecoderConfig | None = None, dtype: Any = None, shardings: Any = None) -> Params:
    """The parameters of a folder or of a GGUF file, as :func:`jaxpsn.lm.model.parameter_shapes` lays them out.

    ``config``: as :func:`read_config` gave it, read anew by default. ``dtype``: float32, bfloat16 or float16, as
    stored by default. ``shardings``: a tree like the parameters (:func:`jaxpsn.lm.sharding.shardings`); then each
    device's part is read from the file as a slice, and the host never holds more of a stacked leaf than the parts of
    its own devices. Raises ``UserError`` in one line, naming the tensors, where files and config do not fit exactly.
    """
    config = read_config(folder) if config is None else config
    checkpoint, tree = opened(folder), _entries(config)
    entries = jax.tree.leaves(tree)
    checkpoint.check(entries, config.tied)
    into = _dtype(checkpoint, entries, dtype)

    def leaf(item: Entry, sharding: Any = None) -> jax.Array:
        if sharding is None:
            return jnp.asarray(checkpoint.read(item, (slice(None),) * len(item.shape), into))
        return _sharded(lambda index: checkpoint.read(item, index, into), item.shape, sharding)

    return jax.tree.map(leaf, tree) if shardings is None else jax.tree.map(leaf, tree, shardings)


@lru_cache(maxsize=2)
def _to_every_process(mesh: Any) -> Callable[..., jax.Array]:
    return jax.jit(lambda leaf, layer: leaf[layer], out_shardings=NamedSharding(mesh, PartitionSpec()))


def _tensor(item: Entry, leaf: Any, layer: int | None) -> np.ndarray:
    """One tensor as the file holds it; a leaf spread over several processes is gathered, by all of them."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        found = np.asarray(leaf if layer is None else leaf[layer])
    elif layer is None:
        found = np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    else:
        found = np.asarray(_to_every_process(leaf.sharding.mesh)(leaf, layer).addressable_data(0))
    if not item.kernel:
        return np.ascontiguousarray(found)
    out = np.empty(item.stored, found.dtype)
    transpose(out, found)
    return out


def _checked(config: DecoderConfig, params: Params) -> list[tuple[str, Entry, Any, int | None]]:
    """Every tensor to be written, in the order of the layers: name, entry, leaf, layer."""
    shapes = parameter_shapes(config)
    want = jax.tree.structure(shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))
    if jax.tree.structure(params) != want:
        refuse("params", str(jax.tree.structure(params)), "the tree of parameter_shapes(config)")
    found = []
    for item, leaf in zip(jax.tree.leaves(_entries(config)), jax.tree.leaves(params), strict=True):
        if leaf.shape != item.shape or leaf.dtype.name not in _NAMES:
            refuse("params", f"{leaf.dtype.name}{leaf.shape}", f"{item.name} wants a float of {item.shape}")
        found += [(name, item, leaf, layer if item.stacked else None) for layer, name in enumerate(item.names())]
    last = {"model.embed_tokens.weight": -1}
    return sorted(found, key=lambda one: last.get(one[0], config.num_layers) if one[3] is None else one[3])


def _write_tensors(folder: Path, tensors: list[Any], shard_bytes: float | int, writes: bool) -> None:
    sizes = {name: leaf.dtype.itemsize * int(np.prod(item.shape[1:] if item.stacked else item.shape))
             for name, item, leaf, _ in tensors}  # fmt: skip
    cut = list(shards(sizes, shard_bytes))
    files = [SINGLE] if len(cut) == 1 else [f"model-{i + 1:05}-of-{len(cut):05}.safetensors" for i in range(len(cut))]
    by_name = {name: parts for name, *parts in tensors}
    for file, names in zip(files, cut, strict=True):
        held = {name: _tensor(*by_name[name]) for name in names}
        if writes:
            # transformers refuses files that do not say which framework they are of.
            save_file(held, folder / file, metadata={"format": "pt"})
    if writes and len(cut) > 1:
        text = index_text(dict(zip(files, cut, strict=True)), sum(sizes.values()))
        (folder / INDEX).write_text(text, encoding="utf-8")


def _flush(*paths: Path) -> None:
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _take_over(like: Path | None, folder: Path) -> None:
    """Put the tokenizer files of the model ``like`` into ``folder``."""
    if like is None:
        return
    texts = gguf_file.read(like).texts if gguf_file.is_one(like) else {}
    for name in _COPIED:
        if name in texts:
            (folder / name).write_text(texts[name], encoding="utf-8")
        elif (like / name).is_file():
            shutil.copyfile(like / name, folder / name)


def save(
    folder: str | Path,
    config: DecoderConfig,
    params: Params,
    like: str | Path | None = None,
    shard_bytes: float | int = 5e9,
    alone: bool = False,
    own: Mapping[str, str] | None = None,
    specials: Mapping[str, Any] | None = None,
) -> None:
    """A new folder that transformers (and :func:`load`) reads: config, weights in their dtype, an index if sharded.

    ``like``: the folder or GGUF file the model came from, whose tokenizer files, generation config and special token
    ids are taken over; ``own``: texts of further files by name, before those of ``like``; ``specials``: special token
    ids for ``config.json`` instead. ``shard_bytes``: largest size of a file. Everything is written and flushed beside
    ``folder`` under a hidden name and then moved there in one step, so that a crash leaves either no folder or a whole
    one. With several processes all of them call this, and the first writes; ``alone``: this one does, whatever the
    others do. Raises ``UserError`` if ``folder`` holds anything already (nothing is overwritten), ``like`` is no
    model, the config is none its family computes, or the disk is full.
    """
    folder, like = Path(folder), None if like is None else Path(like)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists already, and is not overwritten")
    if like is not None and not like.is_dir() and not gguf_file.is_one(like):
        raise UserError(f"{like}: not a folder to take the tokenizer from")
    tensors = _checked(config, params)
    if specials is None:
        specials = special_tokens(like) if like is not None else {}
    described = to_json(config, params["embed"]["embedding"].dtype.name, dict(specials))
    writes = alone or jax.process_index() == 0
    partial = folder.absolute().with_name(f".{folder.absolute().name}.partial")
    try:
        if writes:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        _write_tensors(partial, tensors, shard_bytes, writes)
        if writes:
            _take_over(like, partial)
            for name, text in (own or {}).items():
                (partial / name).write_text(text, encoding="utf-8")
            (partial / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
            for path in partial.glob("*.safetensors"):
                # safetensors lets nobody but its writer read.
                shutil.copymode(partial / "config.json", path)
            _flush(*partial.iterdir(), partial)
            os.replace(partial, folder)
            _flush(folder.absolute().parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"{folder}: not written ({getattr(error, 'strerror', None) or error})") from None
    if jax.process_count() > 1 and not alone:
        multihost_utils.sync_global_devices("jaxpsn export")
