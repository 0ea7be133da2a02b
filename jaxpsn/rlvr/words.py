"""The tokens of a model folder: a Hugging Face tokenizer, or an alphabet of characters; imports no JAX."""

from pathlib import Path
from typing import Any

from jaxpsn.core import errors, foreign
from jaxpsn.lm.characters import CharTokenizer
from jaxpsn.lm.hf_tokenizer import HubTokenizer
from jaxpsn.rlvr.template import TemplateConfig

ALPHABET = "alphabet.json"
"""File of a folder whose tokens are characters; it goes before tokenizer.json."""


def read(
    folder: Path, head: int, system: str | None = None, template: TemplateConfig | None = None, now: str | None = None
) -> Any:
    """The tokenizer of a folder whose decoder has a head of ``head`` entries.

    ``system``, ``template`` and ``now`` are those of :class:`jaxpsn.lm.hf_tokenizer.HubTokenizer`. Raises UserError
    for what it refuses, and for a template that is asked for where tokens are characters.
    """
    template = template or TemplateConfig()
    if not foreign.exists(folder / ALPHABET):
        given = template.options()
        return HubTokenizer(folder, system=system, vocab_size=head, now=now, **given)
    template.refuse(system, f"a model with a chat template; {folder} has none")
    words = CharTokenizer(_alphabet(folder / ALPHABET))
    if words.vocab_size > head:
        errors.refuse("model", f"{words.vocab_size} tokens", f"at most the head's {head}")
    return words


def _alphabet(path: Path) -> str:
    found = foreign.read_json(path).get("alphabet")
    return found if isinstance(found, str) else errors.refuse("model", str(path), "a JSON object with an alphabet")
