"""Families: the registries of components, one for each kind of thing that a user may choose."""

import dataclasses
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from jaxpsn.core import errors, fields, grammar
from jaxpsn.core.components import Component, Sum, called, fields_of, replaced

_B = TypeVar("_B", bound=Component)
_K = TypeVar("_K", bound=type)
FIXED = 1024
"""Streams below this number are given by hand; those of names lie above."""
ALL: "dict[str, Family[Any]]" = {}
"""Every family by its name."""


class Alias(NamedTuple):
    """A name for a text."""

    spec: str
    doc: str
    module: str
    """Who gave it."""


class Family(Generic[_B]):
    """Components of one base class by their names.

    ``modules`` (name -> module) are those that come with the package: known at once, imported when asked for.
    ``sums``: whether ``a + b`` is allowed; a function of the :class:`Sum` may refuse it by a UserError.
    """

    def __init__(
        self,
        name: str,
        base: type[_B],
        modules: Mapping[str, str] | None = None,
        sums: bool | Callable[[Sum], None] = False,
        doc: str = "",
        spelling: Callable[[str], str] = str,
        kindred: Callable[[Any], str] | None = None,
    ):
        """``doc``: one line that says what the family is.

        ``spelling``: what a text stands for in the grammar, where the family has a short form. ``kindred``: what no two
        summands may share, in words; their names if left out.
        """
        if name in ALL:
            raise ValueError(f"there is a family {name} already")
        self.name, self.base, self.doc = name, base, doc
        self.modules, self.sums = dict(modules or {}), sums
        self.spelling, self.kindred = spelling, kindred or (lambda term: called(type(term)))
        self.kinds: dict[str, Any] = {}
        self.known: dict[type, str] = {}
        self.aliases: dict[str, Alias] = {}
        self._streams: dict[str, int] = {}
        self._open: set[str] = set()  # aliases that are being expanded
        base.family = ALL[name] = self

    def register(self, name: str, *, stream: int | None = None) -> Callable[[_K], _K]:
        """Decorator of a frozen dataclass of the base: it can be asked for by ``name`` from now on.

        ``stream`` fixes the number that is folded into its keys (published bits). Raises UserError for a taken name;
        the same class again, of a notebook's cell, takes its own place.
        """

        def decorate(kind: _K) -> _K:
            self._check(name, kind)
            number = _stream(name) if stream is None else stream
            for other, taken in self._streams.items():
                if taken == number and other != name:
                    errors.refuse(self.name, name, f"another name, as its noise would be that of {other}")
            self.known = {one: its for one, its in self.known.items() if its != name} | {kind: name}
            self.kinds[name], self._streams[name] = kind, number
            return kind

        return decorate

    def alias(self, name: str, spec: str, doc: str = "") -> None:
        """Let ``name`` stand for ``spec``; its fields can be set as those of a component, ``name(field=value)``."""
        old = self.aliases.get(name)
        if old is None or (old.spec, old.doc) != (spec, doc):
            self._free(name)
        self.aliases[name] = Alias(spec, doc, sys._getframe(1).f_globals.get("__name__", ""))

    def names(self) -> tuple[str, ...]:
        """All names, aliases last; nothing is imported."""
        return tuple(dict.fromkeys([*self.modules, *self.kinds, *self.aliases]))

    def get(self, name: str, where: str = "") -> type[_B]:
        """The class of a name; raises UserError with the nearest names of this family."""
        if name not in self.kinds and name in self.modules:
            importlib.import_module(self.modules[name])
            if name not in self.kinds:
                raise LookupError(f"{self.modules[name]} registers no {self.name} of the name {name}")
        if name in self.aliases:
            made = self.make(name, where)
            if isinstance(made, Sum):
                errors.refuse(where or self.name, name, f"one {self.name}, not a sum")
            return type(made)
        if name not in self.kinds:
            errors.refuse(where or self.name, name, errors.nearest(name, self.names()))
        return self.kinds[name]

    def look(self, text: str, where: str = "") -> None:
        """Refuse a text with a name that the family does not have; nothing is imported, nothing is made."""
        for name in _heads(grammar.parse(where or self.name, self.spelling(text))):
            if name not in self.names():
                errors.refuse(where or self.name, name, errors.nearest(name, self.names()))

    def name_of(self, value: Any) -> str:
        """The name of a component or its class; raises UserError for one that was not registered."""
        kind = value if isinstance(value, type) else type(value)
        if kind not in self.known:
            errors.refuse(self.name, kind.__name__, "a registered component")
        return self.known[kind]

    def stream(self, value: Any) -> int:
        """The number that a component (or name) folds into keys, so that its noise depends on no other's."""
        if isinstance(value, str):
            value = self.get(value)
        kind = value if isinstance(value, type) else type(value)
        return self._streams[self.known[kind]] if kind in self.known else _stream(kind.__qualname__)

    def parse(self, text: str, where: str = "") -> Any:
        """The component, or :class:`Sum`, that a text describes; ``where`` is what the user calls the text."""
        return self._build(grammar.parse(where or self.name, self.spelling(text)), where or self.name)

    def make(self, value: Any, where: str = "", base: type | None = None) -> Any:
        """A component of the family, or of the narrower ``base``: an object as it is, or one made of text or JSON."""
        where = where or self.name
        if isinstance(value, str):
            made = self.parse(value, where)
        elif fields.is_node(value):
            made = self._build(value, where)
        elif isinstance(value, Mapping):
            made = self._restore(value, where)
        else:
            made = value
        wanted = base or self.base
        if isinstance(made, Sum):
            return self._sum(made.terms, where)
        if not isinstance(made, wanted):
            told = called(type(made)) if isinstance(made, Component) else value
            allowed = [name for name, kind in self.kinds.items() if issubclass(kind, wanted)]
            errors.refuse(where, told, f"one of {', '.join(allowed if base else self.names())}")
        return made

    def snapshot(self) -> tuple[Any, ...]:
        """All registrations, for :meth:`restore`."""
        return dict(self.kinds), dict(self.known), dict(self.aliases), dict(self._streams)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Forget what was registered since, but for what came from the family's own modules: they are imported once."""
        own = {name: kind for name, kind in self.kinds.items() if kind.__module__ == self.modules.get(name)}
        streams = self._streams
        self.kinds, self.known, self.aliases, self._streams = (dict(one) for one in snapshot)
        for name in own.keys() - self.kinds.keys():
            self.kinds[name], self._streams[name] = own[name], streams[name]
            self.known[own[name]] = name

    def _build(self, node: Any, where: str) -> Any:
        if isinstance(node, grammar.Plus):
            return self._sum([self._build(term, where) for term in node.terms], where)
        if isinstance(node, grammar.Group):
            if len(node.items) != 1:
                errors.refuse(where, grammar.write(node), f"one of {', '.join(self.names())}")
            return self._build(node.items[0], where)
        call = grammar.Call(node.text, (), ()) if isinstance(node, grammar.Word) else node
        if call.name in self.aliases:
            base = self._expanded(call.name)
            given = self._given(call, fields_of(type(base)) if isinstance(base, Component) else ())
            return replaced(base, given, call.name) if given else base
        kind = self.get(call.name, where)
        known = fields_of(kind)
        given = self._given(call, known)
        direct = {name: value for name, value in given.items() if name in {one.name for one in known}}
        made = _new(kind, call.name, direct)
        nested = {name: value for name, value in given.items() if name not in direct}
        return replaced(made, nested, call.name) if nested else made

    def _expanded(self, name: str) -> Any:
        if name in self._open:
            errors.refuse(self.name, name, "an alias that does not stand for itself")
        self._open.add(name)
        try:
            return self.parse(self.aliases[name].spec, name)
        finally:
            self._open.remove(name)

    def _given(self, call: grammar.Call, known: Iterable[Any]) -> dict[str, Any]:
        """The fields that a call sets; values without a name fill them in order."""
        names = [one.name for one in known if one.positional]
        if len(call.values) > len(names):
            told = f"values for {', '.join(names)}, and no more" if names else "no values without a field"
            errors.refuse(call.name, grammar.write(call), told)
        given = dict(zip(names, call.values, strict=False))
        for name, value in call.fields:
            if name in given:
                errors.refuse(f"{call.name}.{name}", grammar.write(value), "given once only")
            given[name] = value
        return given

    def _sum(self, terms: Iterable[Any], where: str) -> Sum:
        flat = [part for term in terms for part in (term.terms if isinstance(term, Sum) else (term,))]
        told = " + ".join(called(type(term)) for term in flat)
        if not self.sums:
            errors.refuse(where, told, f"one {self.name}, as they do not add up")
        for term in flat:
            if not isinstance(term, self.base):
                errors.refuse(where, called(type(term)), f"one of {', '.join(self.names())}")
        names = [self.kindred(term) for term in flat]
        for name in names:
            if names.count(name) > 1:
                errors.refuse(where, told, f"{name} once only")
        made = Sum(tuple(flat))
        if callable(self.sums):
            self.sums(made)
        return made

    def _restore(self, record: Mapping[str, Any], where: str) -> Any:
        if set(record) == {"sum"} and isinstance(record["sum"], list):
            return self._sum([self.make(term, where) for term in record["sum"]], where)
        if set(record) != {"name", "fields"} or not isinstance(record["fields"], Mapping):
            errors.refuse(where, dict(record), 'JSON such as {"name": ..., "fields": {...}}')
        name, given = str(record["name"]), record["fields"]
        kind = self.get(name, where)
        known = [one.name for one in fields_of(kind)]
        for field, value in given.items():
            if field not in known:
                errors.refuse(f"{name}.{field}", value, errors.nearest(str(field), known))
        for field in known:
            if field not in given:
                raise errors.UserError(f"{where}: {name}.{field} is missing")
        return kind(**given)

    def _check(self, name: str, kind: Any) -> None:
        if not (isinstance(kind, type) and issubclass(kind, self.base)):
            raise TypeError(f"{name}: a class of the base {self.base.__name__} is registered in {self.name}")
        if "__dataclass_fields__" not in vars(kind) or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise TypeError(f"{name}: {kind.__name__} must be a @dataclass(frozen=True)")
        fields_of(kind)
        self._free(name, kind.__module__, kind.__qualname__)

    def _free(self, name: str, module: str = "", qualname: str = "") -> None:
        """Refuse what is no name, and one that another place has."""
        if not grammar.is_name(name):
            errors.refuse(self.name, name, "a name of letters, digits and ._/-, from a letter on")
        if name in self.aliases:
            errors.refuse(self.name, name, f"another name, as it stands for {self.aliases[name].spec}")
        old = self.kinds.get(name)
        if old is not None and (old.__module__, old.__qualname__) != (module, qualname):
            errors.refuse(self.name, name, f"another name, as {old.__module__}.{old.__qualname__} has it")
        if self.modules.get(name, module) != module:
            errors.refuse(self.name, name, f"another name, as {self.modules[name]} has it")


def _heads(node: Any) -> Iterator[str]:
    """The names that the terms of a text begin with."""
    if isinstance(node, grammar.Plus):
        for term in node.terms:
            yield from _heads(term)
    elif isinstance(node, grammar.Word):
        yield node.text
    elif isinstance(node, grammar.Call):
        yield node.name


def _new(kind: type[_B], name: str, given: Mapping[str, Any]) -> _B:
    for one in fields_of(kind):
        if one.default is dataclasses.MISSING and one.name not in given:
            raise errors.UserError(f"{name}.{one.name} is missing: {one.allowed}")
    return kind(**given)


def _stream(name: str) -> int:
    """31 bits of the SHA-256 of a name, above those that are given by hand."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % ((1 << 31) - FIXED)
    return number + FIXED


def from_json(family: Family[Any], record: Any, where: str = "") -> Any:
    """The component of :func:`jaxpsn.core.components.to_json`; raises UserError for what is missing or unknown."""
    if not isinstance(record, Mapping):
        errors.refuse(where or family.name, record, 'JSON such as {"name": ..., "fields": {...}}')
    return family.make(record, where)
