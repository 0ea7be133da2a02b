"""Components: frozen dataclasses that check their own fields, and what can be read off and changed in them by path."""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Union

from jaxpsn.core import errors, fields, grammar, sources
from jaxpsn.core.fields import Kind, Sweepable


@dataclass(frozen=True)
class Tune:
    """The field that says how far, or how strongly, a component goes, and the values that a tuning tries."""

    field: str
    grid: tuple[float, ...]


class Component:
    """What a user may choose or write: a frozen dataclass whose fields say what they can hold.

    Every field is checked, and brought to its type, when an object is made: ``Positive``, ``Count``, ``Fraction``,
    ``Annotated[float, Real(1.0, 10.0)]``, ``Annotated[int, Whole(1, 1024)]``, ``Literal``, ``bool``, ``str``, tuples,
    ``X | None``, and other components (an object, its text, or its JSON). Raises UserError.
    """

    # Fields check themselves: a run-time checker of annotations would refuse 1 for a float, a text for a component.
    __no_type_check__ = True

    family: ClassVar[Any] = None
    """The :class:`jaxpsn.core.families.Family` that components of this base are registered in."""
    tune: ClassVar[Tune | None] = None
    """What a tuning tries; None: there is nothing to tune."""

    def __post_init__(self) -> None:
        known = fields_of(type(self))
        for one in known:
            value = one.accept(f"{called(type(self))}.{one.name}", getattr(self, one.name))
            object.__setattr__(self, one.name, value)
        if not any(fields.is_array(getattr(self, one.name)) for one in known):
            self.validate()

    def validate(self) -> None:
        """Refuse what no field shows by itself; not called while a field holds an array."""

    def tune_field(self) -> Tune | None:
        """What a tuning of this component tries; to be overridden where that depends on other fields."""
        return self.tune


@dataclass(frozen=True)
class Sum:
    """Components of one family that act together, each kind once."""

    terms: tuple[Any, ...]


@dataclass(frozen=True)
class Field:
    """One field of a component."""

    owner: type
    name: str
    kind: Kind
    default: Any
    """``dataclasses.MISSING`` if it must be given."""
    traced: bool
    positional: bool

    def accept(self, where: str, value: Any) -> Any:
        """``value`` as the field holds it: checked, but for an array in a traced field. Raises UserError."""
        return value if self.traced and fields.is_array(value) else self.kind.coerce(where, value)

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is dataclasses.MISSING

    @property
    def type(self) -> str:
        """Its type in a description."""
        return self.kind.type

    @property
    def allowed(self) -> str:
        """Its values in words."""
        return self.kind.allowed

    @property
    def doc(self) -> str:
        """The text below the field in its source."""
        return sources.field_docs(self.owner).get(self.name, "")


@functools.cache
def fields_of(kind: type) -> tuple[Field, ...]:
    """The fields of a component. Raises TypeError for one whose annotation says nothing that can be checked."""
    hints: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        hints |= inspect.get_annotations(base, eval_str=base.__module__ != "builtins")
    found = []
    for one in dataclasses.fields(kind):
        if not one.init:
            continue
        try:
            of, traced = _kind(hints[one.name])
        except TypeError as error:
            raise TypeError(f"{kind.__name__}.{one.name}: {error}") from None
        default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        found.append(Field(kind, one.name, of, default, traced, not one.kw_only))
    return tuple(found)


_PLAIN: dict[Any, Kind] = {float: fields.Real(), int: fields.Whole(), bool: fields.Flag(), str: fields.Text()}


def _kind(hint: Any) -> tuple[Kind, bool]:
    """What an annotation allows, and whether it is traced."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        marks = hint.__metadata__
        traced = any(isinstance(mark, Sweepable) for mark in marks)
        kinds = [mark for mark in marks if isinstance(mark, Kind)]
        inner, within = (kinds[-1], False) if kinds else _kind(arguments[0])
        return inner, traced or within
    if isinstance(hint, type) and issubclass(hint, Component):
        return Nested(hint), False
    if origin is Literal and all(isinstance(name, str) for name in arguments):
        return fields.Choice(arguments), False
    if origin is tuple:
        repeated = arguments[1:] == (...,)
        each = tuple(_kind(one)[0] for one in (arguments[:1] if repeated else arguments))
        return fields.Items(each[0] if repeated else each), False
    if origin in (Union, types.UnionType):
        rest = [one for one in arguments if one not in (type(None), Sum)]
        if len(rest) == 1:
            inner, traced = _kind(rest[0])
            return (fields.Maybe(inner) if type(None) in arguments else inner), traced
    if hint not in _PLAIN:
        raise TypeError(f"{hint} is no type of a field")
    return _PLAIN[hint], False


@dataclass(frozen=True)
class Nested(Kind):
    """Another component, of the family of ``base``."""

    base: Any

    @property
    def type(self) -> str:
        return self.base.family.name

    @property
    def allowed(self) -> str:
        return f"one of {', '.join(self.base.family.names())}"

    def coerce(self, where: str, value: Any) -> Any:
        return self.base.family.make(value, where, self.base)

    def write(self, value: Any) -> str:
        return spec_of(value)

    def plain(self, value: Any) -> Any:
        return to_json(value)


def called(kind: type) -> str:
    """What a user calls a kind of component: its registered name, or that of its class."""
    family = getattr(kind, "family", None)
    return kind.__name__ if family is None else family.known.get(kind, kind.__name__)


def terms_of(value: Any) -> tuple[Any, ...]:
    """The summands: of a component, itself."""
    return value.terms if isinstance(value, Sum) else (value,)


def spec_of(value: Any) -> str:
    """The shortest text of a component or sum: fields at their defaults are left out."""
    if isinstance(value, Sum):
        return " + ".join(spec_of(term) for term in value.terms)
    told = []
    for one in fields_of(type(value)):
        held = getattr(value, one.name)
        if one.required or not _equal(one, held):
            told.append(f"{one.name}={one.kind.write(held)}")
    name = called(type(value))
    return f"{name}({', '.join(told)})" if told else name


def _equal(one: Field, held: Any) -> bool:
    default = one.kind.coerce(one.name, one.default)
    return one.kind.plain(held) == default if fields.is_array(held) else held == default


def to_json(value: Any) -> dict[str, Any]:
    """A component as ``{"name": ..., "fields": {...}}`` with all fields; a sum as ``{"sum": [...]}``."""
    if isinstance(value, Sum):
        return {"sum": [to_json(term) for term in value.terms]}
    told = {one.name: one.kind.plain(getattr(value, one.name)) for one in fields_of(type(value))}
    return {"name": called(type(value)), "fields": told}


def _walk(value: Any, prefix: str = "") -> Iterator[tuple[str, Field, Any]]:
    """Path, field and content of all fields, those of nested components too."""
    if isinstance(value, Sum):
        for term in value.terms:
            yield from _walk(term, f"{prefix}{called(type(term))}.")
        return
    for one in fields_of(type(value)):
        held = getattr(value, one.name)
        yield prefix + one.name, one, held
        if isinstance(held, Component | Sum):
            yield from _walk(held, f"{prefix}{one.name}.")


def paths_of(value: Any) -> tuple[str, ...]:
    """The paths of all fields: ``structure.rank``; in a sum below the summand's name, ``gaussian.std``."""
    return tuple(path for path, _, _ in _walk(value))


def path_in(value: Any, text: str, where: str = "") -> str:
    """The whole path of a field: ``text`` itself, or the single path that ends with it (``rank``: ``structure.rank``).

    Raises UserError for one that there is not, or that several nested components have.
    """
    known = paths_of(value)
    found = [text] if text in known else [path for path in known if path.endswith(f".{text}")]
    if len(found) > 1:
        errors.refuse(_joined(where, text), text, f"a whole path: {', '.join(found)}")
    if not found:
        allowed = errors.nearest(text, known) if known else f"nothing, as {_called(value)} has no fields"
        errors.refuse(_joined(where, text), text, allowed)
    return found[0]


def at(value: Any, path: str) -> Any:
    """What stands at a path of :func:`paths_of`."""
    return next(held for known, _, held in _walk(value) if known == path)


def traced(value: Any) -> dict[str, Any]:
    """The traced fields: path -> number or array. What is None is left out."""
    return {path: held for path, one, held in _walk(value) if one.traced and held is not None}


def tunes_of(value: Any) -> dict[str, tuple[float, ...]]:
    """What a tuning of each summand tries: path -> values; of a single component one path, or none."""
    found = {}
    for term in terms_of(value):
        tune = term.tune_field()
        if tune is not None:
            found[_joined(called(type(term)) if isinstance(value, Sum) else "", tune.field)] = tune.grid
    return found


def replaced(value: Any, changes: Mapping[str, Any], where: str = "") -> Any:
    """The component with other values, objects or nodes at these paths; fields of one component change together.

    A field that a single nested component has, or a single summand, may go without the path to it: ``rank`` for
    ``structure.rank``. Raises UserError.
    """
    return _rebuilt(value, changes, where, Field.accept)


def override(value: Any, changes: Mapping[str, str], where: str = "") -> Any:
    """As :func:`replaced`, with the texts of flags: ``{"structure": "lowrank", "structure.rank": "4"}``.

    A path goes into what another one has just chosen. ``where`` precedes paths in messages (``explore``).
    """
    return _rebuilt(value, changes, where, lambda one, path, text: one.kind.read(path, text))


def _rebuilt(value: Any, changes: Mapping[str, Any], where: str, take: Any) -> Any:
    heads: dict[str, dict[str, Any]] = {}
    for path, content in changes.items():
        head, _, rest = path.partition(".")
        heads.setdefault(head, {})[rest] = content
    if isinstance(value, Sum):
        return _rebuilt_sum(value, heads, where, take)
    known = {one.name: one for one in fields_of(type(value))}
    after = {}
    for head in [head for head in heads if head in known]:
        inner, path = heads.pop(head), _joined(where, head)
        held = take(known[head], path, inner.pop("")) if "" in inner else getattr(value, head)
        if inner and not isinstance(held, Component | Sum):
            _unknown(value, head, inner, where)
        after[head] = _rebuilt(held, inner, path, take) if inner else held
    made = dataclasses.replace(value, **after) if after else value
    return _rebuilt(made, _forwarded(made, heads, where), where, take) if heads else made


def _rebuilt_sum(value: Sum, heads: Mapping[str, dict[str, Any]], where: str, take: Any) -> Sum:
    names = [called(type(term)) for term in value.terms]
    share: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name in share:
        if name in heads and names.count(name) > 1:
            allowed = "its fields in the text, as it is there twice"
            errors.refuse(_joined(where, name), next(iter(heads[name].values())), allowed)
    stray = {head: inner for head, inner in heads.items() if head not in share or "" in inner}
    for path, content in _forwarded(value, stray, where).items():
        name, _, rest = path.partition(".")
        share[name][rest] = content
    for name in heads.keys() - stray.keys():
        share[name] |= heads[name]
    return Sum(
        tuple(
            _rebuilt(term, share[name], _joined(where, name), take) if share[name] else term
            for name, term in zip(names, value.terms, strict=True)
        )
    )


def _forwarded(value: Any, heads: Mapping[str, dict[str, Any]], where: str) -> dict[str, Any]:
    """Whole path -> content, of fields that one nested component has."""
    moved: dict[str, Any] = {}
    for head, inner in heads.items():
        for rest, content in inner.items():
            path = _joined(head, rest)
            found = [one for one in _ends(value, head) if one]
            if len(found) > 1:
                told = grammar.write(content) if fields.is_node(content) else content
                errors.refuse(_joined(where, path), told, f"a whole path: {', '.join(found)}")
            if not found:
                _unknown(value, head, inner, where)
            moved[_joined(found[0], rest)] = content
    return moved


def _ends(value: Any, head: str) -> list[str]:
    """The paths that end with the field ``head``; of a sum's summands those that have it themselves come first."""
    nested = [path for path in paths_of(value) if path.endswith(f".{head}")]
    own = [path for path in nested if isinstance(value, Sum) and path.count(".") == 1]
    return own or nested


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _unknown(value: Any, head: str, inner: Mapping[str, Any], where: str) -> NoReturn:
    rest, content = next(iter(inner.items()))
    told = grammar.write(content) if fields.is_node(content) else content
    path = _joined(head, rest)
    known = paths_of(value)
    allowed = errors.nearest(path, known) if known else f"nothing, as {_called(value)} has no fields"
    errors.refuse(_joined(where, path), told, allowed)


def _called(value: Any) -> str:
    return " + ".join(called(type(term)) for term in terms_of(value))
