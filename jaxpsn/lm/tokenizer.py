"""Text to token ids and back: characters for the built-in tasks, Hugging Face folders for real checkpoints."""

from collections.abc import Sequence
from typing import Protocol

from jaxpsn.lm.characters import CharTokenizer as CharTokenizer
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
