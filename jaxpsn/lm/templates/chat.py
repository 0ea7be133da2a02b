"""Chat templates of Hugging Face folders: what they read, what they are told, and what they make of a question."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import meta, nodes

from jaxpsn.core.errors import UserError, nearest
from jaxpsn.core.foreign import shown
from jaxpsn.lm.folders.hf_text import one_line
from jaxpsn.lm.templates.clock import Clock
from jaxpsn.lm.templates.meter import Meter, Refused
from jaxpsn.lm.templates.sandbox import SOURCE, Sandbox, check

LENGTH = 1_000_000
"""Longest text of a rendering, in characters."""
_CLOCK = "strftime_now"
_GIVEN = ("messages", "add_generation_prompt", "tools", "documents")
_SAID = ("One question 8207", "One answer 5318", "Another question 4629")
_ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|eot|>", "<|eom|>", "<|end|>", "<end_of_turn>", "<turn|>", "<|endofturn|>",
    "<|end_of_turn|>", "<|END_OF_TURN_TOKEN|>", "<eos>", "</s>",
)  # fmt: skip
"""What ends a turn in published templates, whoever speaks."""


class Template:
    """A chat template of ``place`` (named in errors), with the tokenizer's special tokens by name.

    Knows what templates written for ``transformers`` use: ``messages``, ``add_generation_prompt``, ``tools`` and
    ``documents`` (none), the special tokens, ``raise_exception``, ``strftime_now`` (``clock``), ``tojson`` and
    ``break``/``continue``. ``variables`` are its switches by name, such as ``enable_thinking``; values are read as
    JSON, else as text. Refuses a variable that the template does not read, and a template that is broken or does
    what :class:`jaxpsn.lm.templates.sandbox.Sandbox` does not let it do.
    """

    def __init__(
        self, source: str, place: str, tokens: Mapping[str, str], clock: Clock, variables: Mapping[str, str]
    ) -> None:
        self._place, self._environment = place, Sandbox(clock)
        tree = self._guarded(self._parsed, source)
        switches = self._guarded(meta.find_undeclared_variables, tree) - {*_GIVEN, *tokens}
        self.switches = tuple(sorted(switches))
        """Names of the variables that it reads beside those that it is always given."""
        self.reads_clock = any(node.name == _CLOCK for node in tree.find_all(nodes.Name))
        """Whether it asks for the time."""
        for name in variables:
            if name not in switches:
                allowed = nearest(name, self.switches) if self.switches else "nothing, as it reads none"
                raise UserError(f"{place}: variable {shown(name)} of the chat template: {allowed}")
        self._known = dict(tokens) | {name: _value(text) for name, text in variables.items()}
        self._template = self._guarded(self._environment.from_string, tree)

    def _parsed(self, source: str) -> nodes.Template:
        if len(source) > SOURCE:
            raise Refused(f"{len(source):,} characters; at most {SOURCE:,}")
        tree = self._environment.parse(source)
        check(tree)
        return tree

    def _guarded(self, run: Any, *args: Any, **options: Any) -> Any:
        # A template may fail in any way that Python can: what it does is its author's, the message is for the user.
        try:
            return run(*args, **options)
        except Exception as error:
            name = type(error).__name__.strip("_")
            raise UserError(f"{self._place}: the chat template does not render ({name}: {one_line(error)})") from None

    def render(self, messages: list[dict[str, str]], ask: bool = True) -> str:
        """``messages`` as text; with ``ask`` it ends where the answer begins."""
        return self._guarded(self._rendered, messages, ask)

    def _rendered(self, messages: list[dict[str, str]], ask: bool) -> str:
        self._environment.meter = Meter()
        text, length = [], 0
        given = {"messages": messages, "add_generation_prompt": ask, "tools": None, "documents": None}
        for piece in self._template.generate(**self._known, **given):
            length += len(piece)
            if length > LENGTH:
                raise Refused(f"more than {LENGTH:,} characters")
            text.append(piece)
        return "".join(text)

    def end_of_turn(self, marks: Iterable[str]) -> str | None:
        """Which of ``marks`` the template puts right behind an answer; None if none.

        Of a template that writes no answers it is what stands behind the question, if published ones end turns so.
        """
        question, answer, other = _SAID
        talk = [("user", question), ("assistant", answer), ("user", other)]
        asked = self.render([{"role": "user", "content": question}])
        try:
            text = self.render([{"role": role, "content": said} for role, said in talk])
        except UserError:
            text = ""  # a template for single turns
        if answer in text:
            return _first(text.partition(answer)[2].partition(other)[0], marks)
        return _first(asked.partition(question)[2], [mark for mark in marks if mark in _ENDS])


def _first(text: str, marks: Iterable[str]) -> str | None:
    """The longest mark that ``text`` begins with, space aside."""
    fitting = [mark for mark in marks if mark and text.lstrip().startswith(mark)]
    return max(fitting, key=len, default=None)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
