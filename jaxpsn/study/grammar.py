"""Values, grids and lists of arms as they are written on a command line; an arm has the grammar of components."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxpsn.core import checks, errors


def typed(option: str, spec: str, field: str, text: str, like: Any) -> Any:
    """``text`` as the type of the field's present value ``like``; tuples of whole numbers are written 64x64.

    A field that is None so far takes a number. Raises UserError naming ``option`` and ``spec``.
    """
    if isinstance(like, bool):
        if text.lower() not in ("true", "false"):
            errors.refuse(option, spec, f"{field} is true or false")
        return text.lower() == "true"
    try:
        if isinstance(like, tuple):
            return tuple(int(width) for width in text.split("x"))
        if like is None:
            return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        return type(like)(text)
    except ValueError:
        wanted = {int: "a whole number", float: "a number", type(None): "a number"}
        errors.refuse(option, spec, f"{field} is {wanted.get(type(like), 'widths such as 64x64')}")


def grid(text: str) -> tuple[str, tuple[float, ...]]:
    """Label and values of ``LABEL=0.1,0.2,0.4``. Raises UserError for less than two values, or equal ones."""
    label, _, listed = text.partition("=")
    try:
        values = tuple(float(value) for value in listed.split(","))
    except ValueError:
        errors.refuse("study.grid", text, "LABEL=0.1,0.2,0.4")
    for value in values:
        checks.real("study.grid", value, 0.0, 100.0, open_low=True)
    if len(values) < 2 or len(set(values)) < len(values):
        errors.refuse("study.grid", text, "two values or more, all different")
    return label.strip(), values


def merged(option: str, specs: Sequence[str], read: Callable[[str], Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """By label what was ``kept`` from before, then what ``specs`` name that is new; UserError for two of one label."""
    found = dict(kept)
    taken = {label.lower(): one.spec for label, one in found.items()}
    for spec in dict.fromkeys(spec.strip() for spec in specs):
        if spec in taken.values():
            continue
        one = read(spec)
        if taken.setdefault(one.label.lower(), spec) != spec:
            errors.refuse(option, spec, f"a label of its own, label:{spec}; {taken[one.label.lower()]!r} has it")
        found[one.label] = one
    return found


def with_grids(arms: Mapping[str, Any], given: Sequence[str], tunes: Callable[[Any], bool], fixed: Any) -> list[Any]:
    """The arms with the grids that were ``given`` for them.

    ``tunes(arm)``: whether it has a scale of its own; ``fixed(arm)``: whether its grid has been tried. Raises UserError
    for a grid of an arm that does not exist or tunes nothing, and for another one than was tried.
    """
    found = dict(arms)
    for text in given:
        label, values = grid(text)
        if label not in found:
            errors.refuse("study.grid", text, f"the label of an arm; {label!r} is {errors.nearest(label, found)}")
        arm = found[label]
        if not tunes(arm):
            errors.refuse("study.grid", text, f"{label} has no scale of its own to tune")
        if fixed(arm) and arm.scale.grid != values:
            tried = ",".join(f"{value:g}" for value in arm.scale.grid)
            errors.refuse("study.grid", text, f"{label} was tuned over {tried}")
        found[label] = replace(arm, scale=replace(arm.scale, grid=values))
    return list(found.values())
