"""Tensors of a model: their names, and strict access to them slice by slice; imports no JAX."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxpsn.core.errors import UserError
from jaxpsn.lm.folders import gguf_file
from jaxpsn.lm.folders.places import INDEX as INDEX
from jaxpsn.lm.folders.places import SINGLE as SINGLE
from jaxpsn.lm.folders.places import weight_files, weight_index

DTYPES = ("F32", "BF16", "F16")
_OF_LAYER = {
    "attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm",
    "attention/q": "self_attn.q_proj", "attention/k": "self_attn.k_proj", "attention/v": "self_attn.v_proj",
    "attention/o": "self_attn.o_proj", "attention/q_norm": "self_attn.q_norm", "attention/k_norm": "self_attn.k_norm",
    "mlp/gate": "mlp.gate_proj", "mlp/up": "mlp.up_proj", "mlp/down": "mlp.down_proj",
}  # fmt: skip
_ALONE = {"embed": "model.embed_tokens", "final_norm": "model.norm", "head": "lm_head"}
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Entry:
    """Where a parameter leaf lives: one tensor, or one per layer; kernels are stored transposed."""

    name: str
    """Tensor name, with ``{}`` for the layer of a stacked leaf."""
    shape: tuple[int, ...]
    """Shape of the leaf in the parameter tree."""
    kernel: bool
    """Whether the leaf is ``[in, out]`` where the file holds ``[out, in]``."""

    @property
    def stacked(self) -> bool:
        """Whether the leaf has a leading axis of layers."""
        return "{}" in self.name

    def names(self) -> list[str]:
        """The tensors' names, by layer."""
        return [self.name.format(layer) for layer in range(self.shape[0])] if self.stacked else [self.name]

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of each tensor in the file."""
        inner = self.shape[1:] if self.stacked else self.shape
        return inner[::-1] if self.kernel else inner


def entry(path: str, shape: tuple[int, ...]) -> Entry:
    """The tensors of the parameter leaf at ``path`` (``"layers/mlp/up/kernel"``) of ``shape``."""
    module, _, leaf = path.rpartition("/")
    end = "bias" if leaf == "bias" else "weight"
    if module.startswith("layers/"):
        name = f"model.layers.{{}}.{_OF_LAYER[module.removeprefix('layers/')]}.{end}"
    else:
        name = f"{_ALONE[module]}.{end}"
    return Entry(name, shape, leaf == "kernel")


def listing(names: Any, most: int = 4) -> str:
    """A few of ``names`` in words, and how many more there are."""
    names = sorted(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


class Tensors:
    """Named tensors of a model, read slice by slice; how they are stored is for a subclass to know.

    Raises ``UserError`` for dtypes other than float32, bfloat16 and float16, and values that are not finite.
    """

    folder: Path
    names: Iterable[str]
    """Of all tensors, as a Hugging Face folder calls them."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor ``name``."""
        raise NotImplementedError

    def dtype(self, name: str) -> str:
        """Dtype in the words of safetensors, such as ``BF16``."""
        raise NotImplementedError

    def piece(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """``tensor[index]``."""
        raise NotImplementedError

    def check(self, entries: list[Entry], tied: bool) -> None:
        """Refuse missing, extra and mis-shaped tensors, by name.

        A tied head may be there too, if it equals the embedding; so may the rotary frequencies of old Llama files.
        """
        wanted = {name: item.stored for item in entries for name in item.names()}
        if missing := set(wanted) - set(self.names):
            hint = "; tie_word_embeddings is false" if HEAD in missing else ""
            raise UserError(f"{self.folder}: missing tensors: {listing(missing)}{hint}")
        extra = {name for name in set(self.names) - set(wanted) if not name.endswith("rotary_emb.inv_freq")}
        if tied and HEAD in extra:
            self._check_tied(wanted[f"{_ALONE['embed']}.weight"])
            extra -= {HEAD}
        if extra:
            raise UserError(f"{self.folder}: tensors not known: {listing(extra)}")
        for name, shape in wanted.items():
            found = self.shape(name)
            if found != shape:
                raise UserError(f"{self.folder}: {name} has shape {found}, config.json asks for {shape}")
            if (dtype := self.dtype(name)) not in DTYPES:
                raise UserError(f"{self.folder}: {name} is {dtype}: one of {', '.join(DTYPES)}")

    def _check_tied(self, shape: tuple[int, ...], rows: int = 4096) -> None:
        sides = (HEAD, f"{_ALONE['embed']}.weight")
        blocks = (slice(at, min(at + rows, shape[0])) for at in range(0, shape[0], rows))
        alike = all(self.shape(side) == shape for side in sides)
        same = alike and all(np.array_equal(*(self.piece(side, (block,)) for side in sides)) for block in blocks)
        if not same:
            raise UserError(f"{self.folder}: {HEAD} differs from the embedding, but tie_word_embeddings is true")

    def read(self, item: Entry, index: tuple[slice, ...], dtype: Any) -> np.ndarray:
        """``leaf[index]`` of the leaf ``item``, as ``dtype``; nothing else is read."""
        spans = [range(*part.indices(size)) for part, size in zip(index, item.shape, strict=True)]
        layers, inner = (spans[0], spans[1:]) if item.stacked else ((None,), spans)
        out = np.empty([len(span) for span in spans], dtype)
        stored = tuple(slice(span.start, span.stop) for span in (inner[::-1] if item.kernel else inner))
        for place, layer in enumerate(layers):
            name = item.name if layer is None else item.name.format(layer)
            piece = self.piece(name, stored).astype(dtype, copy=False)
            if not finite(piece):
                as_what = f" as {np.dtype(dtype).name}" if finite(self.piece(name, stored)) else ""
                raise UserError(f"{self.folder}: {name} holds values that are not finite{as_what} (NaN or infinity)")
            into = out if layer is None else out[place]
            if item.kernel:
                transpose(into, piece)
            else:
                into[...] = piece
        return out


class Checkpoint(Tensors):
    """The safetensors files of a folder, opened and mapped; tensors are read slice by slice.

    Raises ``UserError`` for a folder without safetensors, an index that names a missing file or tensor, tensors that
    it does not name, and a damaged file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.index = weight_index(self.folder)
        self._files = {name: self._open(name) for name in weight_files(self.folder)}
        self._home: dict[str, str] = {}
        for name, opened in self._files.items():
            for tensor in opened.keys():
                if self._home.setdefault(tensor, name) != name:
                    raise UserError(f"{self.folder}: {tensor} is both in {self._home[tensor]} and in {name}")
        if self.index:
            self._check_index()

    def _open(self, name: str) -> Any:
        path = self.folder / name
        if not path.is_file():
            raise UserError(f"{self.folder / INDEX}: names {name}, which is not there")
        try:
            return safe_open(path, framework="numpy")
        except (SafetensorError, OSError) as error:
            with path.open("rb") as file:
                if file.read(32).startswith(b"version https://git-lfs"):
                    raise UserError(f"{path}: a Git LFS pointer, not the weights: git lfs pull fetches them") from None
            raise UserError(f"{path}: damaged or truncated ({error})") from None

    def _check_index(self) -> None:
        wrong = [tensor for tensor, file in self.index.items() if self._home.get(tensor) != file]
        if wrong:
            raise UserError(f"{self.folder / INDEX}: its files lack {listing(wrong)}")
        if unnamed := set(self._home) - set(self.index):
            raise UserError(f"{self.folder / INDEX}: does not name {listing(unnamed)}, which its files hold")

    @property
    def names(self) -> Iterable[str]:
        """Of all tensors."""
        return self._home

    def slices(self, name: str) -> Any:
        """The tensor ``name``, read where it is indexed."""
        return self._files[self._home[name]].get_slice(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor ``name``."""
        return tuple(self.slices(name).get_shape())

    def dtype(self, name: str) -> str:
        """The file's word for the tensor's dtype, such as ``BF16``."""
        return self.slices(name).get_dtype()

    def piece(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """``tensor[index]``; nothing else is read."""
        return self.slices(name)[index]


class Quantised(Tensors):
    """The tensors of a GGUF file, in float32: each is dequantised whole wherever a part of it is asked for."""

    def __init__(self, path: Path) -> None:
        self.folder, self._stored = path, gguf_file.read(path).tensors
        self.names = self._stored

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor ``name``."""
        return self._stored[name].shape

    def dtype(self, name: str) -> str:
        """That of what ``piece`` gives."""
        return "F32"

    def piece(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """``tensor[index]``."""
        return gguf_file.dequantised(self.folder, self._stored[name])[index]


def opened(folder: str | Path) -> Tensors:
    """The tensors of a Hugging Face folder, or of a GGUF file. Raises UserError."""
    return Quantised(Path(folder)) if gguf_file.is_one(folder) else Checkpoint(folder)


def finite(array: np.ndarray) -> bool:
    """Whether float32, bfloat16 or float16 values are all finite, by their bits: three times as fast as asking NumPy.

    A value is not finite if all bits of its exponent are set; such patterns are the largest of either sign.
    """
    if not array.size:
        return True
    bits, exponent = 8 * array.itemsize, {"float16": 5}.get(array.dtype.name, 8)
    least = ((1 << exponent) - 1) << (bits - 1 - exponent)
    positive, negative = array.view(f"i{array.itemsize}").max(), array.view(f"u{array.itemsize}").max()
    return bool(positive < least and negative < least + (1 << (bits - 1)))


def transpose(into: np.ndarray, source: np.ndarray, rows: int = 128) -> None:
    """``into[...] = source.T``, a block of rows at a time, which caches like three times better."""
    for at in range(0, source.shape[0], rows):
        into[:, at : at + rows] = source[at : at + rows].T


def shards(sizes: dict[str, int], limit: float | int) -> Iterator[list[str]]:
    """The tensors in order, cut into files of at most ``limit`` bytes (or of one larger tensor)."""
    here: list[str] = []
    total = 0
    for name, size in sizes.items():
        if here and total + size > limit:
            yield here
            here, total = [], 0
        here.append(name)
        total += size
    yield here


def index_text(files: dict[str, list[str]], total: int) -> str:
    """The JSON of an index that maps every tensor to its file."""
    weights = {name: file for file, names in files.items() for name in names}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weights}, indent=2) + "\n"
