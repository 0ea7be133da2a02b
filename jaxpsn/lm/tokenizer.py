"""Text to token ids and back: characters for the built-in tasks, Hugging Face folders for real checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import tokenizers

from jaxpsn import checks
from jaxpsn.errors import UserError, refuse
from jaxpsn.lm import hf_text as files
from jaxpsn.lm.chat import Template
from jaxpsn.lm.prompts import pack as pack


class Tokenizer(Protocol):
    """What the trainer and the evaluation need of a tokenizer."""

    vocab_size: int
    """One more than the largest id."""
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


class HubTokenizer:
    """The tokenizer of a Hugging Face folder: ``tokenizer.json``, and its chat template in a sandbox.

    ``system`` is the system message of every prompt. ``template``: ``"auto"`` puts a prompt as the user's turn into
    the folder's chat template if it has one (else the bare text with what the tokenizer itself adds, such as a first
    token), ``"none"`` never. ``vocab_size`` is the size of the decoder's head, by default that of ``config.json``.
    ``ends`` are all end tokens that ``generation_config.json``, ``config.json`` and ``tokenizer_config.json`` name;
    ``pad`` is the folder's padding token, else its first end token.

    Refuses, in one line that names the file: missing or malformed files, a vocabulary larger than the head, a folder
    without any end token, and a template that is broken, runs away or reaches for more than its data.
    """

    def __init__(
        self,
        folder: str | Path,
        system: str | None = None,
        template: str = "auto",
        vocab_size: int | None = None,
    ) -> None:
        checks.choice("template", template, ("auto", "none"))
        folder = Path(folder)
        self._tokens = _read(folder)
        self.vocab_size = max(self._tokens.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        config = files.read(folder, "config.json")
        _check_head(folder, self.vocab_size, config.get("vocab_size") if vocab_size is None else vocab_size)
        own = files.read(folder, "tokenizer_config.json")
        named = files.special_tokens(folder, own)
        self.ends = self._ends(folder, config, named)
        pads = (self._id(named.get("pad_token")), config.get("pad_token_id"))
        self.pad = next((one for one in pads if _is_id(one, self.vocab_size)), self.ends[0])
        self.system, self._chat = system, None
        source = files.chat_template(folder, own) if template == "auto" else None
        if source is not None:
            self._chat = Template(source[0], source[1], named)
        elif system is not None:
            refuse("system", system, f"a chat template to put it in; {folder} has none or it is switched off")

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self._tokens.token_to_id(token)

    def _ends(self, folder: Path, config: dict[str, Any], named: dict[str, str]) -> tuple[int, ...]:
        found: list[Any] = []
        for name, table in (("generation_config.json", None), ("config.json", config)):
            listed = (files.read(folder, name) if table is None else table).get("eos_token_id")
            listed = listed if isinstance(listed, list) else [] if listed is None else [listed]
            for one in listed:
                if not _is_id(one, self.vocab_size):
                    raise UserError(f"{folder / name}: eos_token_id = {one!r}: an id below {self.vocab_size}")
            found += listed
        last = self._id(named.get("eos_token"))
        found += [] if last is None else [last]
        if not found:
            raise UserError(f"{folder}: no end token; name one as eos_token_id in generation_config.json")
        return tuple(dict.fromkeys(found))

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, nothing added; special tokens written out in it are taken as such."""
        return self._encoded(text, False)

    def _encoded(self, text: str, add_special_tokens: bool) -> list[int]:
        try:
            return self._tokens.encode(text, add_special_tokens=add_special_tokens).ids
        except TypeError:
            # Half a character, as JSON's \u escapes can spell it.
            refuse("text", text[:80], "valid Unicode")

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``; special tokens, and ids of a padded head that the tokenizer lacks, are skipped."""
        known = [int(one) for one in ids if 0 <= one < self.vocab_size]
        return self._tokens.decode(known, skip_special_tokens=True)

    def prompt(self, text: str) -> list[int]:
        """Ids of ``text`` as the user's turn, up to where the answer begins."""
        if self._chat is None:
            return self._encoded(text, True)
        said = [] if self.system is None else [{"role": "system", "content": self.system}]
        return self.encode(self._chat.render([*said, {"role": "user", "content": text}]))


def _read(folder: Path) -> tokenizers.Tokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{path}: not found; the tokenizer is read from it")
    try:
        found = tokenizers.Tokenizer.from_file(str(path))
    # The library raises plain Exception for whatever it cannot read.
    except Exception as error:
        raise UserError(f"{path}: not a tokenizer ({files.one_line(error)})") from None
    # Nothing is ever cut or filled silently.
    found.no_truncation()
    found.no_padding()
    return found


def _is_id(value: Any, vocab_size: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocab_size


def _check_head(folder: Path, vocab_size: int, head: Any) -> None:
    if head is not None and vocab_size > head:
        raise UserError(
            f"{folder}: the tokenizer has ids up to {vocab_size - 1}, the decoder's head only {head} entries"
        )
