"""The small files of a model that tell how text becomes tokens; imports no JAX."""

import json
from pathlib import Path
from typing import Any

import tokenizers

from jaxpsn.core import foreign
from jaxpsn.core.errors import UserError
from jaxpsn.lm.folders import places

TOKENIZER = "tokenizer.json"
_TOKENS = 20_000
"""Most tokens beside the vocabulary: adding one costs a look at all others."""
_GROWTH = 1000.0
"""Most characters that a tokenizer's own replacements may make of one."""


def one_line(error: BaseException) -> str:
    """What went wrong, on one line of bounded length."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def read(folder: Path, name: str) -> dict[str, Any]:
    """The object in ``folder/name``; empty if there is nothing of that name. Refuses anything but a JSON object."""
    return places.entries(folder, name) or {}


def read_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a ``tokenizer.json``; never cuts nor fills. Refuses what is none, and what is out of bounds."""
    path = folder / TOKENIZER
    text = places.text(folder, TOKENIZER)
    if text is None:
        raise UserError(f"{path}: not found; the tokenizer is read from it")
    if text.count('"single_word"') > _TOKENS:
        raise UserError(f"{path}: more than {_TOKENS:,} added tokens")
    try:
        found = tokenizers.Tokenizer.from_str(text)
    # The library raises plain Exception for whatever it cannot read, and passes panics of its own on.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise UserError(f"{path}: not a tokenizer ({one_line(error)})") from None
    for part in (found.normalizer, found.decoder):
        if part is not None and _growth(json.loads(part.__getstate__())) > _GROWTH:
            raise UserError(f"{path}: its replacements make more than {_GROWTH:.0f} characters of one")
    found.no_truncation()
    found.no_padding()
    return found


def _growth(part: Any) -> float:
    """How many characters a normalizer or decoder makes of one, at most, by its replacements of text."""
    if isinstance(part, list):
        product = 1.0
        for one in part:
            product = min(product * _growth(one), 2 * _GROWTH)
        return product
    if not isinstance(part, dict):
        return 1.0
    if part.get("type") == "Replace":
        pattern = part.get("pattern")
        least = len(pattern["String"]) if isinstance(pattern, dict) and "String" in pattern else 1
        return max(1.0, len(part.get("content", "")) / max(least, 1))
    return _growth([one for one in part.values() if isinstance(one, list | dict)])


def chat_template(folder: Path, own: dict[str, Any]) -> tuple[str, str] | None:
    """The folder's chat template and the file it stands in; None if it has none.

    Of several named templates it is the one called ``default``.
    """
    path = folder / "chat_template.jinja"
    if (source := places.text(folder, path.name)) is not None:
        return source, str(path)
    found, place = own.get("chat_template"), folder / "tokenizer_config.json"
    if isinstance(found, list):
        named = {str(one.get("name")): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
        if found is None:
            raise UserError(f"{place}: no chat template named default among {foreign.shown(sorted(named))}")
    if found is not None and not isinstance(found, str):
        raise UserError(f"{place}: chat_template is not text")
    return None if found is None else (found, str(place))
