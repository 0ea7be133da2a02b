"""Text to token ids and back: characters for the built-in tasks, Hugging Face folders for real checkpoints."""

from collections.abc import Sequence
from typing import Protocol

from jaxpsn.errors import refuse
from jaxpsn.lm.hf_tokenizer import HubTokenizer as HubTokenizer
from jaxpsn.lm.prompts import pack as pack


class Tokenizer(Protocol):
    """What the trainer and the evaluation need of a tokenizer."""

    vocab_size: int
    """One more than the largest id that prompts and answers may hold."""
    pad: int
    """Filler; it may equal an end token, as lengths are explicit everywhere."""
    ends: tuple[int, ...]
    """Ids that end a completion."""

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, nothing added."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``, special tokens skipped; it does not stop at an end."""

    def prompt(self, text: str) -> list[int]:
        """Ids of ``text`` as a prompt, in the chat template if there is one."""


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
