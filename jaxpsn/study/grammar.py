"""Values and grids as they are written on a command line; arms and tasks have the grammar of components."""

import re
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
