"""``config.json`` of a Hugging Face folder, read and written; imports no JAX.

Everything that would change the computation and is not known here is refused by name: a decoder that is silently
a little wrong costs its user weeks.
"""

import sys
from pathlib import Path
from typing import Any, NoReturn

from jaxpsn.core.errors import UserError, nearest
from jaxpsn.core.foreign import read_json, shown
from jaxpsn.lm.config import MOST, DecoderConfig, LinearScaling, Llama3Scaling, Rope
from jaxpsn.lm.folders import places
from jaxpsn.lm.model_families import MODELS, ModelFamily

_ROPE_TYPES = ("default", "linear", "llama3")
_ROPE_KEYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
_LLAMA3_KEYS = {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}
_SPECIALS = ("bos_token_id", "eos_token_id", "pad_token_id")
_OURS = {
    "num_hidden_layers": "num_layers", "num_attention_heads": "num_heads", "num_key_value_heads": "num_kv_heads",
    "max_position_embeddings": "max_positions", "original_max_position_embeddings": "max_positions",
    "max_window_layers": "num_layers", "type_vocab_size": "num_layers",
}  # fmt: skip


class Source:
    """A parsed ``config.json`` whose entries are taken out by kind; errors name the file."""

    def __init__(self, path: Path, raw: dict[str, Any]) -> None:
        self.path, self.raw = path, raw

    def refuse(self, key: str, value: Any, allowed: str) -> NoReturn:
        """Raise the UserError for an entry; its value is shown as far as it is short."""
        raise UserError(f"{self.path}: {key} = {shown(value)}: {allowed}")

    def whole(
        self, key: str, default: int | None = None, raw: dict[str, Any] | None = None, most: int | None = None
    ) -> int:
        """A size, at least 1 and at most ``most``, by default what ``lm.config.MOST`` allows."""
        value, most = (self.raw if raw is None else raw).get(key), most or MOST[_OURS.get(key, key)]
        if value is None and default is not None:
            return default
        if value is None:
            raise UserError(f"{self.path}: {key} is missing")
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            self.refuse(key, value, f"a whole number from 1 to {most}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self.raw.get(key, default)
        if not isinstance(value, bool):
            self.refuse(key, value, "true or false")
        return value

    def real(self, key: str, raw: dict[str, Any] | None = None, default: float | None = None) -> float:
        """A finite number above 0."""
        value = (self.raw if raw is None else raw).get(key, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value <= sys.float_info.max:  # a whole number may have more digits than a float
            self.refuse(key, value, "a number above 0")
        return float(value)


def read_config(folder: str | Path) -> DecoderConfig:
    """The decoder that the ``config.json`` of a Hugging Face folder describes, or a GGUF file.

    Knows ``rope_parameters`` (transformers 5) and ``rope_theta`` with ``rope_scaling`` (before). Raises ``UserError``,
    naming file, key and value, for a missing or malformed file, another architecture, RoPE type or activation, a
    sliding window in use, or a quantised checkpoint.
    """
    path = Path(folder) / places.CONFIG
    found = places.entries(Path(folder), places.CONFIG)
    source = Source(path, read_json(path) if found is None else found)
    family = _family(source)
    _refuse_unknown(source, family)
    heads, hidden = source.whole("num_attention_heads"), source.whole("hidden_size")
    try:
        return DecoderConfig(
            vocab_size=source.whole("vocab_size"),
            hidden_size=hidden,
            intermediate_size=source.whole("intermediate_size"),
            num_layers=source.whole("num_hidden_layers"),
            num_heads=heads,
            num_kv_heads=_kv_heads(source, family, heads),
            head_dim=_head_dim(source, family, hidden, heads),
            rms_norm_eps=source.real("rms_norm_eps"),
            rope=_rope(source),
            tied=source.flag("tie_word_embeddings"),
            max_positions=source.whole("max_position_embeddings"),
            family=MODELS.name_of(family),
            **family.read(source),
        )
    except UserError as error:
        message = str(error)
        raise UserError(message if message.startswith(str(path)) else f"{path}: {message}") from None


def _family(source: Source) -> ModelFamily:
    name = source.raw.get("model_type")
    if not isinstance(name, str) or name not in MODELS.names():
        source.refuse("model_type", name, nearest(str(name)[:80], MODELS.names()))
    family = MODELS.get(name)()
    named = source.raw.get("architectures")
    if named is not None and named != [family.architecture]:
        source.refuse("architectures", named, f"[{family.architecture!r}]")
    return family


def _refuse_unknown(source: Source, family: ModelFamily) -> None:
    raw = source.raw
    act = raw.get("hidden_act", "silu")
    if act not in ("silu", "swish"):
        source.refuse("hidden_act", act, "silu")
    for key in ("quantization_config", "compression_config"):
        if raw.get(key) is not None:
            method = raw[key].get("quant_method", "unnamed") if isinstance(raw[key], dict) else raw[key]
            source.refuse(key, method, "quantised checkpoints are not read; use the bfloat16 one")
    types = raw.get("layer_types")
    if types is not None and (not isinstance(types, list) or any(kind != "full_attention" for kind in types)):
        source.refuse("layer_types", types, "full_attention in every layer")
    windowed = family.windows and source.flag("use_sliding_window") and raw.get("sliding_window") is not None
    if windowed and types is None and source.whole("max_window_layers", 28) < source.whole("num_hidden_layers"):
        source.refuse("use_sliding_window", True, "false, as sliding windows are not computed")


def _kv_heads(source: Source, family: ModelFamily, heads: int) -> int:
    # Null means one per head everywhere.
    if family.kv_heads_required and "num_key_value_heads" not in source.raw:
        raise UserError(f"{source.path}: num_key_value_heads is missing")
    return source.whole("num_key_value_heads", heads)


def _head_dim(source: Source, family: ModelFamily, hidden: int, heads: int) -> int:
    if source.raw.get("head_dim") is not None:
        return source.whole("head_dim")
    if family.head_dim is not None:
        return family.head_dim
    if hidden % heads:
        source.refuse("num_attention_heads", heads, f"a divisor of hidden_size = {hidden}, as head_dim is not given")
    return hidden // heads


def _rope(source: Source) -> Rope:
    """Both spellings; where a file has both, they have to agree."""
    theta = source.real("rope_theta", default=10_000.0)
    found = []
    for key in ("rope_parameters", "rope_scaling"):
        given = source.raw.get(key)
        if given is None:
            continue
        if not isinstance(given, dict):
            source.refuse(key, given, "an object or null")
        own = source.real("rope_theta", given, theta)
        if "rope_theta" in source.raw and own != theta:
            source.refuse(f"{key}.rope_theta", own, f"equal to rope_theta = {theta:g}")
        found.append(Rope(own, _scaling(source, key, given)))
    if any(rope != found[0] for rope in found):
        source.refuse("rope_scaling", source.raw["rope_scaling"], "the same as rope_parameters")
    return found[0] if found else Rope(theta)


def _scaling(source: Source, key: str, given: dict[str, Any]) -> LinearScaling | Llama3Scaling | None:
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in _ROPE_TYPES:
        source.refuse(f"{key}.rope_type", kind, f"one of {', '.join(_ROPE_TYPES)}")
    known = _ROPE_KEYS | {"default": set(), "linear": {"factor"}, "llama3": _LLAMA3_KEYS}[kind]
    if unknown := sorted(key for key, value in given.items() if key not in known and value is not None):
        source.refuse(key, unknown, f"entries not known for rope type {kind}")
    if given.get("partial_rotary_factor") not in (None, 1, 1.0):
        source.refuse(f"{key}.partial_rotary_factor", given["partial_rotary_factor"], "1, as whole heads are turned")
    if kind == "linear":
        return LinearScaling(source.real("factor", given))
    if kind == "llama3":
        name, raw = "original_max_position_embeddings", source.raw
        length = source.whole(name, source.whole("max_position_embeddings"), given if raw.get(name) is None else raw)
        factors = (source.real(factor, given) for factor in ("factor", "low_freq_factor", "high_freq_factor"))
        return Llama3Scaling(*factors, length)
    return None


def special_tokens(folder: str | Path) -> dict[str, Any]:
    """The ids of beginning, end and padding that the ``config.json`` of a model names, if it has one."""
    raw = places.entries(Path(folder), places.CONFIG) or {}
    return {key: raw[key] for key in _SPECIALS if raw.get(key) is not None}


def to_json(config: DecoderConfig, dtype: str, specials: dict[str, Any]) -> dict[str, Any]:
    """``config.json`` of ``config`` with weights of ``dtype``, readable by transformers 4 and 5.

    Raises ``UserError`` for a combination of biases and norms that the family's code does not compute.
    """
    family = _fitting(config)
    rope: dict[str, Any] = {"rope_type": "default"}
    if isinstance(config.rope.scaling, LinearScaling):
        rope = {"rope_type": "linear", "factor": config.rope.scaling.factor}
    elif isinstance(config.rope.scaling, Llama3Scaling):
        scaling = config.rope.scaling
        rope = {
            "rope_type": "llama3", "factor": scaling.factor, "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_positions,
        }  # fmt: skip
    written = {
        "architectures": [family.architecture],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.rms_norm_eps,
        "max_position_embeddings": config.max_positions,
        "rope_theta": config.rope.theta,
        "rope_scaling": None if config.rope.scaling is None else rope,
        "rope_parameters": rope | {"rope_theta": config.rope.theta},
        "tie_word_embeddings": config.tied,
        "attention_dropout": 0.0,
        "torch_dtype": dtype,
    }
    return written | dict(family.write(config)) | specials


def _fitting(config: DecoderConfig) -> ModelFamily:
    family = MODELS.get(config.family)()
    if not family.fits(config):
        flags = {name: getattr(config, name) for name in ("qkv_bias", "o_bias", "mlp_bias", "qk_norm")}
        raise UserError(f"family = {config.family!r}: computes no such mix of {flags}")
    return family
