"""What there is to choose from, in words: the texts of ``--describe`` and the pages of the docs."""

import inspect
from typing import Any, NamedTuple

from jaxpsn.core import errors
from jaxpsn.core.components import fields_of
from jaxpsn.core.families import ALL, Family


class Row(NamedTuple):
    """One field of a component."""

    name: str
    type: str
    default: str
    allowed: str
    traced: bool
    doc: str


class Description(NamedTuple):
    """One name of a family."""

    family: str
    name: str
    summary: str
    text: str
    """The rest of the docstring."""
    rows: tuple[Row, ...]
    tune: str
    source: str
    """The module that has it; nothing for an alias."""


def describe(family: Family[Any], name: str) -> Description:
    """The description of a name. Raises UserError for one that the family does not have."""
    if name in family.aliases:
        alias = family.aliases[name]
        told = f"Stands for {alias.spec}."
        return Description(family.name, name, alias.doc or told, told if alias.doc else "", (), "", "")
    kind = family.get(name)
    summary, _, text = inspect.cleandoc(kind.__doc__ or "").partition("\n")
    rows = tuple(_row(one) for one in fields_of(kind))
    ready = not any(one.required for one in fields_of(kind))
    tune = kind().tune_field() if ready else kind.tune
    tried = f"{tune.field} over {', '.join(f'{value:g}' for value in tune.grid)}" if tune is not None else ""
    return Description(family.name, name, summary, text.strip("\n"), rows, tried, kind.__module__)


def _row(one: Any) -> Row:
    default = "(required)"
    if not one.required:
        default = one.kind.write(one.kind.coerce(one.name, one.default))
    return Row(one.name, one.type, default, one.allowed, one.traced, one.doc)


def find(text: str) -> list[Description]:
    """What is called ``name`` in any family, or ``family.name``. Raises UserError where it is unknown.

    A family is there once what has it is imported, so all are: what is found does not depend on what ran before.
    """
    _import_all()
    owner, _, inner = text.partition(".")
    if owner in ALL and inner:
        return [describe(ALL[owner], inner)]
    having = [family for _, family in sorted(ALL.items()) if text in family.names()]
    if not having:
        errors.refuse("--describe", text, errors.nearest(text, {n for family in ALL.values() for n in family.names()}))
    return [describe(family, text) for family in having]


def _import_all() -> None:
    """Import every component there is; what one imports may bring families of its own."""
    seen: set[str] = set()
    while new := set(ALL) - seen:
        seen |= new
        for family in [ALL[name] for name in sorted(new)]:
            for name in family.names():
                if name not in family.aliases:
                    family.get(name)


def overview() -> dict[str, list[tuple[str, str]]]:
    """Family -> its names, each with the first line of its description. Imports all of them."""
    return {
        family.name: [(name, describe(family, name).summary) for name in family.names()]
        for _, family in sorted(ALL.items())
    }


def as_text(told: Description) -> str:
    """A description for a terminal."""
    lines = [f"{told.name} ({told.family}): {told.summary}", *(["", told.text] if told.text else [])]
    if told.rows:
        lines.append("")
    for row in told.rows:
        lines.append(f"  {row.name} = {row.default}{'  [traced]' if row.traced else ''}")
        lines += [f"      {line}" for line in (row.doc, row.allowed) if line]
    lines += [""] + [f"Tuned: {told.tune}."] * bool(told.tune) + [f"Source: {told.source}"] * bool(told.source)
    return "\n".join(lines)


def as_markdown(told: Description, level: int = 2) -> str:
    """A description as a section of the docs."""
    lines = [f"{'#' * level} {told.name}", "", told.summary, *(["", told.text] if told.text else [])]
    if told.rows:
        lines += ["", "| field | default | values | traced | meaning |", "| --- | --- | --- | --- | --- |"]
    for row in told.rows:
        cells = f"`{row.name}`", f"`{row.default}`", row.allowed, "yes" if row.traced else "", row.doc
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    lines += [""] + [f"Tuned: {told.tune}.", ""] * bool(told.tune) + [f"Source: `{told.source}`"] * bool(told.source)
    return "\n".join(lines) + "\n"


def overview_text() -> str:
    """The overview for a terminal: families and their names, a line each."""
    lines = []
    for family, rows in overview().items():
        doc = ALL[family].doc
        width = max((len(name) for name, _ in rows), default=0)
        lines += [f"{family}{': ' * bool(doc)}{doc}", *(f"  {name:{width}}  {summary}" for name, summary in rows), ""]
    return "\n".join(lines)
