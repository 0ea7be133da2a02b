"""One door to the generated tasks: names and options."""

import importlib
from dataclasses import fields
from typing import Any

from jaxpsn.core import errors
from jaxpsn.tasks.problem import Task

_FAMILIES = {
    "chain_sum": "sums.ChainSum",
    "countdown": "countdown.Countdown",
    "grid": "grid.Grid",
    "modular": "sums.Modular",
    "swaps": "swaps.Swaps",
    "target": "target.Target",
}


def names() -> tuple[str, ...]:
    """Every name that :func:`make` takes, sorted."""
    return tuple(sorted(_FAMILIES))


def options(name: str) -> dict[str, Any]:
    """The options of a family and their defaults."""
    return {field.name: field.default for field in fields(_kind(name))}


def make(name: str, **chosen: Any) -> Task:
    """A task of a family, e.g. ``make("countdown", numbers=4)``; a number may come as text, as from a command line.

    Raises UserError in one line for an unknown name (with the nearest), an unknown option or a value out of range.
    """
    kind, known = _kind(name), options(name)
    for option in chosen:
        if option not in known:
            says = f"{name} has no such option; {errors.nearest(option, known)}"
            errors.refuse(f"task.{option}", chosen[option], says)
    return kind(**{option: _typed(option, value, known[option]) for option, value in chosen.items()})


def _kind(name: str) -> type:
    if name not in _FAMILIES:
        errors.refuse("task", name, errors.nearest(str(name), names()))
    module, kind = _FAMILIES[name].split(".")
    return getattr(importlib.import_module(f"jaxpsn.tasks.{module}"), kind)


def _typed(option: str, value: Any, default: Any) -> Any:
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and not isinstance(default, str):
        try:
            return type(default)(value)
        except ValueError:
            errors.refuse(f"task.{option}", value, "a number")
    return value
