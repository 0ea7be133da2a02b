"""The tokenizer that a GGUF file's entries describe, as the texts of a Hugging Face folder; imports no JAX."""

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from jaxpsn.core.errors import UserError, nearest
from jaxpsn.core.foreign import shown

_ROLES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
_CONTROL, _USER_DEFINED = 3, 4
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _cut(pattern: str) -> list[Any]:
    """Cut by a pattern of the model's own, bytes then written as characters."""
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def _cuts(name: str) -> list[Any]:
    """How the text is cut before merging, by the file's word for it."""
    by_default = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    known = {
        "gpt-2": lambda: [by_default],
        "smollm": lambda: [pre_tokenizers.Digits(individual_digits=True), by_default],
        "llama-bpe": lambda: _cut(_WORDS.format(numbers=r"\p{N}{1,3}")),
        "qwen2": lambda: _cut(_WORDS.format(numbers=r"\p{N}")),
    }
    if name not in known:
        raise UserError(f"tokenizer.ggml.pre = {shown(name)}: {nearest(str(name)[:80], known)}")
    return known[name]()


def specials(entries: Mapping[str, Any]) -> dict[str, int]:
    """The ids of beginning, end and padding, as ``config.json`` names them."""
    ids = {role: entries.get(f"tokenizer.ggml.{role}_token_id") for role in ("bos", "eos", "padding")}
    return {f"{'pad' if role == 'padding' else role}_token_id": one for role, one in ids.items() if one is not None}


def texts(entries: Mapping[str, Any]) -> dict[str, str]:
    """``tokenizer.json`` and ``tokenizer_config.json``; raises UserError for a tokenizer that is not known here."""
    kind, vocabulary = entries.get("tokenizer.ggml.model"), entries.get("tokenizer.ggml.tokens")
    if kind != "gpt2":
        raise UserError(f"tokenizer.ggml.model = {shown(kind)}: gpt2, the byte-level BPE of Llama 3, Qwen and SmolLM")
    merges = entries.get("tokenizer.ggml.merges")
    if not vocabulary or not merges:
        raise UserError(f"tokenizer.ggml.{'merges' if vocabulary else 'tokens'} is missing")
    pre = entries.get("tokenizer.ggml.pre", "gpt-2")
    tokens = _tokenizer(pre, vocabulary, merges)
    kinds = entries.get("tokenizer.ggml.token_type") or []
    for marked, text in zip(kinds, vocabulary, strict=False):
        if marked in (_CONTROL, _USER_DEFINED):
            tokens.add_tokens([AddedToken(text, special=marked == _CONTROL, normalized=False)])
    roles = {}
    for role, name in _ROLES.items():
        number = entries.get(f"tokenizer.ggml.{role}_token_id")
        if number is None:
            continue
        if not 0 <= number < len(vocabulary):
            raise UserError(f"tokenizer.ggml.{role}_token_id = {shown(number)}: an id below {len(vocabulary)}")
        roles[name] = vocabulary[number]
    if entries.get("tokenizer.ggml.add_bos_token", pre == "llama-bpe") and "bos_token" in roles:
        first = (roles["bos_token"], entries["tokenizer.ggml.bos_token_id"])
        tokens.post_processor = processors.TemplateProcessing(f"{first[0]} $A", None, [first])
    told: dict[str, Any] = dict(roles)
    if (template := entries.get("tokenizer.chat_template")) is not None:
        told["chat_template"] = template
    return {"tokenizer.json": tokens.to_str(), "tokenizer_config.json": json.dumps(told)}


def _tokenizer(pre: str, vocabulary: list[str], merges: list[str]) -> Tokenizer:
    pairs = [tuple(merge.split(" ")) for merge in merges]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError("tokenizer.ggml.merges: pairs of tokens with a space between")
    numbered = {text: number for number, text in enumerate(vocabulary)}
    try:
        model = models.BPE(vocab=numbered, merges=pairs, ignore_merges=pre == "llama-bpe")
    except Exception as error:  # the library raises bare Exception, such as for a merge that is no token
        raise UserError(f"tokenizer.ggml.merges: {' '.join(str(error).split())[:120]}") from None
    tokens = Tokenizer(model)
    if pre == "qwen2":
        tokens.normalizer = normalizers.NFC()
    tokens.pre_tokenizer = pre_tokenizers.Sequence(_cuts(pre))
    tokens.decoder = decoders.ByteLevel()
    return tokens
