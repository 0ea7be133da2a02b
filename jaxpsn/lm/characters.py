"""One token a character: the tokenizer of the built-in tasks, and its form for transformers; imports no JAX."""

import json
from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from jaxpsn.core.errors import refuse

PAD, END = "<|pad|>", "<|end|>"
"""How padding and end are written where text is all there is."""


class CharTokenizer:
    """One token a character: 0 is padding, 1 the end, then the ``alphabet`` in its order.

    Refuses an empty alphabet, one with repeated characters, and text with any character outside it.
    """

    pad = 0
    ends = (1,)

    def __init__(self, alphabet: str) -> None:
        repeated = sorted({one for one in alphabet if alphabet.count(one) > 1})
        if not alphabet or repeated:
            refuse("alphabet", alphabet, f"distinct characters; repeated: {repeated}" if repeated else "not empty")
        self.alphabet = alphabet
        self.vocab_size = len(alphabet) + 2
        self._ids = {one: place + 2 for place, one in enumerate(alphabet)}

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, nothing added."""
        for one in text:
            if one not in self._ids:
                refuse("text", one, f"a character of the alphabet {self.alphabet!r}")
        return [self._ids[one] for one in text]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``; padding, end and unknown ids are skipped."""
        return "".join(self.alphabet[one - 2] for one in ids if 2 <= one < self.vocab_size)

    def prompt(self, text: str) -> list[int]:
        """Ids of ``text``, nothing added."""
        return self.encode(text)

    def specials(self) -> dict[str, int]:
        """The ids that a ``config.json`` or ``generation_config.json`` names."""
        return {"eos_token_id": self.ends[0], "pad_token_id": self.pad}

    def files(self) -> dict[str, str]:
        """The files of a Hugging Face folder that make transformers read and write the same ids, by name."""
        named = {"eos_token": END, "pad_token": PAD}
        told = {
            "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named,
            "model_input_names": ["input_ids", "attention_mask"],
        }  # fmt: skip
        tables = {"tokenizer_config": told, "special_tokens_map": named, "generation_config": self.specials()}
        texts = {f"{name}.json": json.dumps(table, indent=2) + "\n" for name, table in tables.items()}
        return texts | {"tokenizer.json": self._built().to_str(pretty=True) + "\n"}

    def _built(self) -> Tokenizer:
        """The same tokens; like :meth:`encode` it has nothing for a character outside the alphabet."""
        found = Tokenizer(models.WordLevel({PAD: self.pad, END: self.ends[0], **self._ids}))
        found.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in (PAD, END)])
        found.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        found.decoder = decoders.Fuse()
        return found
