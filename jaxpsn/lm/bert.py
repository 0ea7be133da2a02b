"""Sentence embeddings from a BERT encoder of the user's own (MiniLM and its like): a folder in, vectors out.

Reads ``config.json``, ``model.safetensors``, ``tokenizer.json`` and ``sentence_bert_config.json``, if it is there, for
the longest text; computes in float32. Anything that is not a plain BERT encoder with absolute positions is refused by
name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from jaxpsn.core import errors
from jaxpsn.core.foreign import exists, read_json
from jaxpsn.lm.folders.hf_config import Source
from jaxpsn.lm.folders.hf_text import TOKENIZER, read_tokenizer

Params = dict[str, Any]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}
ROWS = 128
"""Texts encoded side by side."""
_SIZES = {
    "vocab_size": "vocab_size", "hidden_size": "hidden_size", "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads", "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings", "types": "type_vocab_size",
}  # fmt: skip
_LAYER = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "o": "attention.output.dense", "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "mlp_norm": "output.LayerNorm",
}  # fmt: skip
_HEADS = ("pooler.", "cls.", "classifier.", "embeddings.position_ids")
"""Tensors beside the encoder, which embeddings do without."""


@dataclass(frozen=True)
class BertConfig:
    """A post-norm encoder with absolute positions (Devlin et al. 2018, arXiv 1810.04805)."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    max_positions: int
    types: int
    eps: float = 1e-12
    activation: str = "gelu"
    longest: int | None = None
    """Tokens of a text that are read, special ones included; None: all positions."""
    lower: bool = False
    """Whether texts are put into lower case first."""


def read_config(folder: str | Path) -> BertConfig:
    """The encoder that a folder's ``config.json`` describes; ``UserError`` for any other architecture."""
    path = Path(folder) / "config.json"
    source = Source(path, read_json(path))
    raw = source.raw
    fixed = {
        "model_type": ("bert", None), "position_embedding_type": ("absolute", "absolute"),
        "is_decoder": (False, False), "add_cross_attention": (False, False), "quantization_config": (None, None),
    }  # fmt: skip
    for key, (wanted, default) in fixed.items():
        found = raw.get(key, default)
        if found != wanted:
            source.refuse(key, found, "absent" if wanted is None else f"{wanted!r}, nothing else is known")
    sizes = {ours: source.whole(theirs) for ours, theirs in _SIZES.items()}
    activation = raw.get("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        source.refuse("hidden_act", activation, errors.nearest(str(activation)[:80], ACTIVATIONS))
    if sizes["hidden_size"] % sizes["num_heads"]:
        source.refuse("num_attention_heads", sizes["num_heads"], "a divisor of hidden_size")
    eps = source.real("layer_norm_eps", default=1e-12)
    return BertConfig(**sizes, eps=eps, activation=activation, **_sentences(Path(folder), sizes["max_positions"]))


def _sentences(folder: Path, positions: int) -> dict[str, Any]:
    """What ``sentence_bert_config.json`` adds, where there is one: the length that the encoder was trained on."""
    path = folder / "sentence_bert_config.json"
    if not exists(path):
        return {}
    source = Source(path, read_json(path))
    longest = source.raw.get("max_seq_length")
    longest = None if longest is None else source.whole("max_seq_length", most=positions)
    return {"longest": longest, "lower": source.flag("do_lower_case")}


def read_params(folder: str | Path, config: BertConfig) -> Params:
    """The encoder's weights, float32, layers stacked; refuses missing, unknown and mis-shaped tensors by name."""
    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise errors.UserError(f"{path}: not there; an encoder is read from one safetensors file")
    try:
        with safe_open(path, framework="numpy") as opened:
            found = {name.removeprefix("bert."): opened.get_tensor(name) for name in opened.keys()}
    except (SafetensorError, OSError) as error:
        raise errors.UserError(f"{path}: damaged or truncated ({error})") from None
    found = {name: tensor for name, tensor in found.items() if not name.startswith(_HEADS)}
    wanted = _shapes(config)
    for problem, names in (("missing", set(wanted) - set(found)), ("not known", set(found) - set(wanted))):
        if names:
            raise errors.UserError(f"{path}: tensors {problem}: {', '.join(sorted(names)[:4])} ({len(names)} in all)")
    for name, shape in wanted.items():
        if found[name].shape != shape:
            raise errors.UserError(f"{path}: {name} has shape {found[name].shape}, config.json asks for {shape}")
        if not np.all(np.isfinite(found[name])):
            raise errors.UserError(f"{path}: {name} holds values that are not finite (NaN or infinity)")
    wide = {name: tensor.astype(np.float32) for name, tensor in found.items()}
    layers = [
        {ours: _module(wide, f"encoder.layer.{layer}.{theirs}") for ours, theirs in _LAYER.items()}
        for layer in range(config.num_layers)
    ]
    tables = {kind: jnp.asarray(wide[f"embeddings.{kind}_embeddings.weight"]) for kind in _TABLES}
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    norm = jax.tree.map(jnp.asarray, _module(wide, "embeddings.LayerNorm"))
    return {"tables": tables, "norm": norm, "layers": stacked}


_TABLES = ("word", "position", "token_type")


def _shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    d, f = config.hidden_size, config.intermediate_size
    rows = dict(zip(_TABLES, (config.vocab_size, config.max_positions, config.types), strict=True))
    shapes = {f"embeddings.{kind}_embeddings.weight": (count, d) for kind, count in rows.items()}
    kernels = {"up": (f, d), "down": (d, f), "attention_norm": (d,), "mlp_norm": (d,)}
    modules = {"embeddings.LayerNorm": (d,)}
    for layer in range(config.num_layers):
        modules |= {f"encoder.layer.{layer}.{theirs}": kernels.get(ours, (d, d)) for ours, theirs in _LAYER.items()}
    for name, shape in modules.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def _module(tensors: dict[str, np.ndarray], name: str) -> Params:
    """Weight, with kernels as [in, out], and bias."""
    return {"weight": tensors[f"{name}.weight"].T, "bias": tensors[f"{name}.bias"]}


def encode(
    config: BertConfig, params: Params, tokens: Int[Array, "B T"], lengths: Int[Array, " B"]
) -> Float[Array, "B T d"]:
    """Final hidden states of texts padded on the right; what stands beyond ``lengths`` is never looked at."""
    batch, length = tokens.shape
    tables = params["tables"]
    fixed = tables["position"][:length] + tables["token_type"][:1]
    x = tables["word"][tokens] + fixed[None]
    seen = (lax.broadcasted_iota(jnp.int32, (batch, length), 1) < lengths[:, None])[:, None, None, :]

    def layer(x: Array, p: Params) -> tuple[Array, None]:
        q, k, v = (
            _linear(p[name], x).reshape(batch, length, config.num_heads, config.hidden_size // config.num_heads)
            for name in "qkv"
        )
        mixed = jax.nn.dot_product_attention(q, k, v, mask=seen).reshape(x.shape)
        x = _norm(p["attention_norm"], x + _linear(p["o"], mixed), config.eps)
        inner = ACTIVATIONS[config.activation](_linear(p["up"], x))
        return _norm(p["mlp_norm"], x + _linear(p["down"], inner), config.eps), None

    return lax.scan(layer, _norm(params["norm"], x, config.eps), params["layers"])[0]


def _linear(p: Params, x: Array) -> Array:
    y = jnp.einsum("bti,io->bto", x, p["weight"])
    return y + p["bias"][None, None]


def _norm(p: Params, x: Array, eps: float) -> Array:
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    x = x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)
    return x * p["weight"][None, None] + p["bias"][None, None]


def embed(
    config: BertConfig, params: Params, tokens: Int[Array, "B T"], lengths: Int[Array, " B"]
) -> Float[Array, "B d"]:
    """Mean of a text's hidden states, its special tokens included (Sentence-BERT, arXiv 1908.10084)."""
    hidden = encode(config, params, tokens, lengths)
    inside = lax.broadcasted_iota(jnp.int32, tokens.shape, 1) < lengths[:, None]
    return jnp.sum(jnp.where(inside[..., None], hidden, 0.0), axis=1) / lengths[:, None].astype(hidden.dtype)


class Encoder:
    """Function ``texts -> vectors`` of a folder's encoder, which counts the texts that are longer than it reads."""

    def __init__(self, config: BertConfig, params: Params, words: Tokenizer):
        self.config, self._params, self._words = config, params, words
        self._run = jax.jit(partial(embed, config))
        self.read = 0
        """Texts so far."""
        self.cut = 0
        """Those of them of which only the beginning was seen."""

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "texts d"]:
        """Float32 vectors, a row for each text; shapes are padded to a few sizes, so that few are compiled."""
        # Lone surrogates are no text; an answer may hold them all the same.
        plain = [text.encode("utf-8", "replace").decode() for text in texts]
        encoded = self._words.encode_batch([text.lower() for text in plain] if self.config.lower else plain)
        self.read += len(encoded)
        self.cut += sum(bool(one.overflowing) for one in encoded)
        ids = [one.ids for one in encoded]
        pieces = [ids[at : at + ROWS] for at in range(0, len(ids), ROWS)]
        most = _longest(self.config)
        done = [np.asarray(self._run(self._params, *_pad(piece, most)))[: len(piece)] for piece in pieces]
        return np.concatenate([np.zeros((0, self.config.hidden_size), np.float32), *done])


def load(folder: str | Path) -> Encoder:
    """The encoder of a folder; texts are cut at its ``max_seq_length``, or its positions where it names none.

    ``UserError`` for a folder without an encoder, or with a tokenizer whose ids reach beyond the embedding.
    """
    config = read_config(folder)
    return Encoder(config, read_params(folder, config), _tokenizer(Path(folder), config))


def _longest(config: BertConfig) -> int:
    return config.max_positions if config.longest is None else config.longest


def _tokenizer(folder: Path, config: BertConfig) -> Tokenizer:
    words = read_tokenizer(folder)
    largest = max(words.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= config.vocab_size:
        raise errors.UserError(
            f"{folder / TOKENIZER}: ids up to {largest}, but the embedding has {config.vocab_size} rows"
        )
    words.no_padding()
    words.enable_truncation(_longest(config))
    return words


def _pad(ids: list[list[int]], most: int) -> tuple[Int[np.ndarray, "B T"], Int[np.ndarray, " B"]]:
    """Tokens and lengths with both axes rounded up to a power of two; filler rows and empty texts have length 1."""
    rows = min(1 << max(len(ids) - 1, 1).bit_length(), ROWS)
    longest = max(1, *map(len, ids)) if ids else 1
    width = min(1 << max(longest - 1, 15).bit_length(), most)
    tokens, lengths = np.zeros((rows, width), np.int32), np.ones((rows,), np.int32)
    for row, one in enumerate(ids):
        tokens[row, : len(one)] = one
        lengths[row] = max(len(one), 1)
    return tokens, lengths
