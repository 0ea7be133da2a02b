"""How components are written, on a command line, in Python and in studies alike; a text becomes a small tree.

``name``, ``name(value, field=value)``, sums ``a + b``, tuples ``(1, 2)`` or ``64x64``, ``label: spec`` for an arm.
A leaf stays a :class:`Word`: whether ``1`` is a number or a file's name is said by the field that it is given to.
"""

import json
import re
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from jaxpsn.core import errors

LONGEST = 10_000
"""Characters of a text."""
DEEPEST = 32
"""Brackets within brackets."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'[^']*')"""
    r"""|(?P<word>-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]+(?=[\s(),+=]|$)|[^\s(),+="']+)"""
    r"""|(?P<mark>[(),+=])|(?P<end>$))""",
    re.DOTALL,
)
_BARE = re.compile(r"[A-Za-z0-9_.~/\\@%-][A-Za-z0-9_.~/\\@%:-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_LABEL = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]{0,79})\s*:")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Word:
    """A leaf: a number, a name or a text; what was ``quoted`` is a text."""

    text: str
    quoted: bool = False


@dataclass(frozen=True)
class Call:
    """``name(values, field=value)``."""

    name: str
    values: "tuple[Node, ...]"
    fields: "tuple[tuple[str, Node], ...]"


@dataclass(frozen=True)
class Group:
    """``(item, item)``."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True)
class Plus:
    """``term + term``."""

    terms: "tuple[Node, ...]"


Node = Word | Call | Group | Plus


class Arm(NamedTuple):
    """``label: spec, path=value``: a spec under its label, and what else is set beside it."""

    label: str
    spec: Node
    settings: tuple[tuple[str, Node], ...]


class _Token(NamedTuple):
    sort: str
    text: str
    place: int


def parse(where: str, text: str) -> Node:
    """The tree of ``text``; ``where`` is what the user calls it, named in the UserError of a text that is none."""
    reader = _Reader(where, text)
    node = reader.sum()
    reader.expect("end", "the end")
    return node


def arm(where: str, text: str) -> Arm:
    """The arm of ``text``; a label that is left out is made of the rest."""
    found = _LABEL.match(text)
    rest = text[found.end() :] if found else text
    reader = _Reader(where, rest)
    spec, settings = reader.sum(), []
    while reader.skip(","):
        settings.append(reader.setting())
    reader.expect("end", "a comma or the end")
    reader.once(settings)
    label = found.group(1) if found else _UNSAFE.sub("-", rest).strip("-._")[:80]
    if not label:
        errors.refuse(where, text, "label: spec, as no label can be made of it")
    return Arm(label, spec, tuple(settings))


def is_name(text: str) -> bool:
    """Whether a component can be called so."""
    return len(text) <= 80 and _NAME.fullmatch(text) is not None


def quote(text: str) -> str:
    """``text`` as a leaf that is read back as the same: bare where that is safe."""
    if _BARE.fullmatch(text) and text.lower() != "none":
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def write(node: Node) -> str:
    """The text of a tree."""
    if isinstance(node, Word):
        return json.dumps(node.text) if node.quoted else node.text
    if isinstance(node, Plus):
        return " + ".join(write(term) for term in node.terms)
    if isinstance(node, Group):
        return f"({', '.join(write(item) for item in node.items)})"
    inner = [write(value) for value in node.values] + [f"{name}={write(value)}" for name, value in node.fields]
    return f"{node.name}({', '.join(inner)})" if inner else node.name


class _Reader:
    """Recursive descent over the tokens of one text."""

    def __init__(self, where: str, text: str):
        if len(text) > LONGEST:
            errors.refuse(where, text, f"at most {LONGEST} characters")
        self._where, self._text, self._next, self._depth = where, text, 0, 0
        self._tokens = self._split()

    def _split(self) -> list[_Token]:
        tokens, place = [], 0
        while not tokens or tokens[-1].sort != "end":
            found = _TOKEN.match(self._text, place)
            if not found:
                start = place + len(self._text[place:]) - len(self._text[place:].lstrip())
                errors.refuse(self._where, self._text, f"a closing quote for the one at character {start + 1}")
            sort = str(found.lastgroup)
            tokens.append(_Token(found.group(sort) if sort == "mark" else sort, found.group(sort), found.start(sort)))
            place = found.end()
        return tokens

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def _fail(self, wanted: str) -> NoReturn:
        token = self._peek()
        found = "the end" if token.sort == "end" else f"{errors.short(token.text, 40)!r} at character {token.place + 1}"
        errors.refuse(self._where, self._text, f"{wanted} is expected, not {found}")

    def expect(self, sort: str, wanted: str) -> _Token:
        """The next token, which must be of this sort."""
        token = self._peek()
        if token.sort != sort:
            self._fail(wanted)
        self._next += 1
        return token

    def skip(self, sort: str) -> bool:
        """Go past the next token if it is of this sort."""
        here = self._peek().sort == sort
        self._next += here
        return here

    def sum(self) -> Node:
        """``term + term``, or one term."""
        terms = [self._term()]
        while self.skip("+"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else Plus(tuple(terms))

    def setting(self) -> tuple[str, Node]:
        """``field=value``."""
        field = self.expect("word", "a field").text
        self.expect("=", f"= after {errors.short(field, 40)}")
        return field, self.sum()

    def once(self, fields: list[tuple[str, Node]]) -> None:
        """Refuse a field that is given twice."""
        names = [name for name, _ in fields]
        for name in names:
            if names.count(name) > 1:
                errors.refuse(self._where, self._text, f"{name} once only")

    def _term(self) -> Node:
        if self._peek().sort == "(":
            return Group(self._inner()[0])
        if self._peek().sort == "quoted":
            return Word(self._unquoted(self.expect("quoted", "").text), quoted=True)
        name = self.expect("word", "a name or a value").text
        if self._peek().sort != "(":
            return Word(name)
        if not is_name(name):
            self._fail("a name before (")
        values, fields = self._inner(named=True)
        return Call(name, values, fields) if values or fields else Word(name)

    def _inner(self, named: bool = False) -> tuple[tuple[Node, ...], tuple[tuple[str, Node], ...]]:
        """What stands between brackets."""
        values: list[Node] = []
        fields: list[tuple[str, Node]] = []
        self._depth += 1
        if self._depth > DEEPEST:
            errors.refuse(self._where, self._text, f"at most {DEEPEST} brackets within brackets")
        self.expect("(", "(")
        while not self.skip(")"):
            if named and self._peek(1).sort == "=":
                fields.append(self.setting())
            elif fields:
                self._fail("field=value")
            else:
                values.append(self.sum())
            if self._peek().sort != ")":
                self.expect(",", "a comma or )")
        self._depth -= 1
        self.once(fields)
        return tuple(values), tuple(fields)

    def _unquoted(self, text: str) -> str:
        if text[0] == "'":
            return text[1:-1]
        try:
            return json.loads(text, strict=False)
        except ValueError:
            errors.refuse(self._where, self._text, f"{errors.short(text, 40)} in 'single' quotes, or \\\\ for \\")
