"""Chat templates of Hugging Face folders, rendered in a sandbox with bounded work."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from jaxpsn.errors import UserError
from jaxpsn.lm.hf_text import one_line

_TURNS = 100_000
"""Most passes through loops, all loops of a rendering together."""
_LENGTH = 1_000_000
"""Longest string or number a template may multiply up to, and longest text it may give."""


class _Refused(Exception):
    """The template itself objects, or is stopped."""


def _raise_exception(message: Any) -> NoReturn:
    raise _Refused(str(message))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as templates written for ``transformers`` expect it: nothing escaped for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for training masks; here they are only words."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox of Jinja2 (no attribute that leads out of the data), and no loop or product without bound."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.turns = 0
        self.filters |= {"tojson": _tojson, "metered": self._metered}
        self.globals |= {
            "raise_exception": _raise_exception,
            "strftime_now": lambda form: datetime.now().strftime(form),
        }

    def _metered(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.turns += 1
            if self.turns > _TURNS:
                raise _Refused(f"more than {_TURNS} turns of its loops")
            yield item

    def _generate(self, source: nodes.Template, *args: Any, **options: Any) -> str:
        for loop in list(source.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "metered", [], [], None, None)
        return super()._generate(source, *args, **options)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise _Refused(f"the operator {operator}")
        sized = [len(one) if hasattr(one, "__len__") else abs(one) for one in (left, right)]
        if operator == "*" and sized[0] * sized[1] > _LENGTH:
            raise _Refused("a product that is too large")
        return super().call_binop(context, operator, left, right)


class Template:
    """A chat template of ``place`` (named in errors), with the tokenizer's special tokens by name.

    Knows what templates written for ``transformers`` use: ``messages``, ``add_generation_prompt``, ``tools`` and
    ``documents`` (none), the special tokens, ``raise_exception``, ``strftime_now`` (local time), ``tojson`` and
    ``break``/``continue``.
    """

    def __init__(self, source: str, place: str, tokens: dict[str, str]) -> None:
        self._place, self._tokens, self._environment = place, tokens, _Environment()
        self._template = self._guarded(self._environment.from_string, source)

    def _guarded(self, run: Any, *args: Any, **options: Any) -> Any:
        # A template may fail in any way that Python can: what it does is its author's, the message is for the user.
        try:
            return run(*args, **options)
        except Exception as error:
            name = type(error).__name__.strip("_")
            raise UserError(f"{self._place}: the chat template does not render ({name}: {one_line(error)})") from None

    def render(self, messages: list[dict[str, str]]) -> str:
        """``messages`` as text that ends where the answer begins."""
        self._environment.turns = 0
        return self._guarded(self._rendered, messages)

    def _rendered(self, messages: list[dict[str, str]]) -> str:
        text, length = [], 0
        context = {"messages": messages, "add_generation_prompt": True, "tools": None, "documents": None}
        for piece in self._template.generate(**self._tokens, **context):
            length += len(piece)
            if length > _LENGTH:
                raise _Refused(f"more than {_LENGTH} characters")
            text.append(piece)
        return "".join(text)
