"""The tokenizer of a Hugging Face folder: its tokens, its chat template, and what ends an answer; imports no JAX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpsn.core import checks, foreign
from jaxpsn.core.errors import UserError, nearest, refuse
from jaxpsn.lm.config import MOST
from jaxpsn.lm.folders import hf_added
from jaxpsn.lm.folders import hf_text as files
from jaxpsn.lm.templates import clock as clocks
from jaxpsn.lm.templates.chat import Template

_ENDS = 64
"""Most tokens that end an answer: each is looked for after every token drawn."""


class HubTokenizer:
    """The tokenizer of a Hugging Face folder: ``tokenizer.json``, and its chat template in a sandbox.

    ``system`` is the system message of every prompt. ``template``: ``"auto"`` puts a prompt as the user's turn into
    the folder's chat template if it has one (else the bare text with what the tokenizer itself adds, such as a first
    token), ``"none"`` never. ``variables`` are switches of the template by name (``enable_thinking``); ``clock`` is
    the time that it is told (ISO 8601), and None stands for ``now``, by default the time of reading. The attribute
    ``clock`` is what it was told, None if it asks for no time.

    Tokens that stand in the folder's other files alone are added as transformers does. ``vocab_size`` is the size of
    the decoder's head, by default that of ``config.json``: ids beyond it are never drawn, and a prompt that needs one
    is refused. The attribute ``ends`` holds all end tokens that ``generation_config.json``, ``config.json`` and
    ``tokenizer_config.json`` name, the one with which the chat template ends an answer, and those of the argument, by
    name; ``pad`` is the folder's padding token, else its first end token.

    Refuses, in one line that names the file: missing or malformed files, an end token that the head cannot give, a
    folder without any, a variable that the template does not read, and a template that is broken, runs away or
    reaches for more than its data.
    """

    def __init__(
        self,
        folder: str | Path,
        system: str | None = None,
        template: str = "auto",
        vocab_size: int | None = None,
        ends: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        clock: str | None = None,
        now: str | None = None,
    ) -> None:
        checks.choice("template", template, ("auto", "none"))
        folder = Path(folder)
        own = files.read(folder, "tokenizer_config.json")
        self._tokens = files.read_tokenizer(folder)
        named = hf_added.add(folder, own, self._tokens)
        self._size = max(self._tokens.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        config = files.read(folder, "config.json")
        head = _head(folder, config) if vocab_size is None else vocab_size
        self.vocab_size = self._size if head is None else min(self._size, head)
        self._folder, self.system = folder, system
        source = files.chat_template(folder, own) if template == "auto" else None
        self._chat = self._template(source, named, variables or {}, clock, now or clocks.now())
        self.ends = self._ends(config, named, ends)
        pads = (self._id(named.get("pad_token")), config.get("pad_token_id"))
        self.pad = next((one for one in pads if _is_id(one, self.vocab_size)), self.ends[0])
        texts = [self._tokens.id_to_token(one) for one in self.ends]
        self.told = {"system": system, "variables": dict(variables or {}), "clock": self.clock, "ends": texts}
        """What makes its prompts and ends its answers, as a record of an evaluation holds it."""
        if self._chat is not None:
            self.prompt("0")  # what every prompt would be refused for is told at once

    def _template(
        self,
        source: tuple[str, str] | None,
        named: Mapping[str, str],
        variables: Mapping[str, str],
        clock: str | None,
        now: str,
    ) -> Template | None:
        time = clocks.parse("template.clock", now if clock is None else clock)
        if source is not None:
            found = Template(source[0], source[1], named, clocks.Clock(time), variables)
            if clock is not None and not found.reads_clock:
                refuse("template.clock", clock, f"nothing, as {source[1]} reads no clock")
            self.clock = time.isoformat() if found.reads_clock else None
            return found
        told = {"system": self.system, "template.variables": variables or None, "template.clock": clock}
        for field, value in told.items():
            if value is not None:
                refuse(field, value, f"a chat template to put it in; {self._folder} has none or it is switched off")
        self.clock = None
        return None

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self._tokens.token_to_id(token)

    def _ends(self, config: dict[str, Any], named: Mapping[str, str], further: Sequence[str]) -> tuple[int, ...]:
        found: list[int] = []
        tables = {"generation_config.json": files.read(self._folder, "generation_config.json"), "config.json": config}
        for name, table in tables.items():
            listed = table.get("eos_token_id")
            for one in listed if isinstance(listed, list) else [] if listed is None else [listed]:
                if not _is_id(one, self.vocab_size):
                    shown = foreign.shown(one)
                    raise UserError(f"{self._folder / name}: eos_token_id = {shown}: an id below {self.vocab_size}")
                found.append(one)
        marks = [token.content for token in self._tokens.get_added_tokens_decoder().values()]
        turn = None if self._chat is None else self._chat.end_of_turn(marks)
        end = named.get("eos_token")
        found += [] if end is None else [self._given(f"{self._folder}: eos_token", end, self._id(end))]
        found += [one for one in (self._id(turn),) if _is_id(one, self.vocab_size)]
        for token in further:
            allowed = nearest(token, marks) if marks else "a token of the folder"
            known = self._id(token)
            found.append(known if known is not None else refuse("template.ends", token, allowed))
            self._given("template.ends", token, known)
        if not found:
            raise UserError(f"{self._folder}: no end token; name one as eos_token_id in generation_config.json")
        if len(set(found)) > _ENDS:
            raise UserError(f"{self._folder}: {len(set(found))} end tokens; at most {_ENDS}")
        return tuple(dict.fromkeys(found))

    def _given(self, field: str, token: str, number: int | None) -> int:
        """The id of an end token, which the head must be able to give."""
        if number is None or number >= self.vocab_size:
            refuse(field, token, f"a token below the {self.vocab_size} entries of the head; its id is {number}")
        return number

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, nothing added; special tokens written out in it are taken as such."""
        return self._encoded(text, False)

    def _encoded(self, text: str, add_special_tokens: bool) -> list[int]:
        try:
            found = self._tokens.encode(text, add_special_tokens=add_special_tokens)
        except TypeError:
            # Half a character, as JSON's \u escapes can spell it.
            refuse("text", text[:80], "valid Unicode")
        except Exception as error:  # the library raises bare Exception, for characters that it has no token for
            refuse("text", text[:80], f"text that the tokenizer can write ({files.one_line(error)})")
        if max(found.ids, default=0) >= self.vocab_size:
            place = next(place for place, one in enumerate(found.ids) if one >= self.vocab_size)
            token, number = found.tokens[place], found.ids[place]
            refuse("text", text[:80], f"no {token}: its id is {number}, and the model has {self.vocab_size} entries")
        return found.ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``; special tokens, and ids of a padded head that the tokenizer lacks, are skipped."""
        known = [int(one) for one in ids if 0 <= one < self._size]
        return self._tokens.decode(known, skip_special_tokens=True)

    def prompt(self, text: str) -> list[int]:
        """Ids of ``text`` as the user's turn, up to where the answer begins."""
        if self._chat is None:
            return self._encoded(text, True)
        said = [] if self.system is None else [{"role": "system", "content": self.system}]
        return self.encode(self._chat.render([*said, {"role": "user", "content": text}]))


def _is_id(value: Any, vocab_size: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocab_size


def _head(folder: Path, config: dict[str, Any]) -> int | None:
    found = config.get("vocab_size")
    if found is not None and not (_is_id(found, MOST["vocab_size"] + 1) and found > 0):
        allowed = f"a whole number from 1 to {MOST['vocab_size']}"
        raise UserError(f"{folder / 'config.json'}: vocab_size = {foreign.shown(found)}: {allowed}")
    return found
