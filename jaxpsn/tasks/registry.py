"""One door to the generated tasks: names and options."""

import importlib
from dataclasses import fields
from typing import Any

from jaxpsn import errors
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


def make(name: str, **options: Any) -> Task:
    """A task of a family, e.g. ``make("countdown", numbers=4)``.

    Raises UserError in one line for an unknown name (with the nearest), an unknown option or a value out of range.
    """
    if name not in _FAMILIES:
        errors.refuse("task", name, errors.nearest(str(name), names()))
    module, kind = _FAMILIES[name].split(".")
    kind = getattr(importlib.import_module(f"jaxpsn.tasks.{module}"), kind)
    known = [field.name for field in fields(kind)]
    for option in set(options) - set(known):
        errors.refuse(f"task.{option}", options[option], f"{name} has no such option; {errors.nearest(option, known)}")
    return kind(**options)
