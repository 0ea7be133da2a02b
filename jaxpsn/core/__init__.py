"""What every room stands on: the component system, errors, checks, files, placement; imports no other room.

The names below are those of components. They are loaded when they are asked for, as every script starts in this room.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxpsn.core.components import (
        Component,
        Sum,
        Tune,
        at,
        fields_of,
        override,
        path_in,
        paths_of,
        replaced,
        spec_of,
        terms_of,
        to_json,
        traced,
        tunes_of,
    )
    from jaxpsn.core.families import Family, from_json
    from jaxpsn.core.fields import Count, Fraction, Items, NonNegative, Positive, Real, Traced, Whole, Widths
    from jaxpsn.core.plugins import load_plugin

__all__ = [
    "Component",
    "Count",
    "Family",
    "Fraction",
    "Items",
    "NonNegative",
    "Positive",
    "Real",
    "Sum",
    "Traced",
    "Tune",
    "Whole",
    "Widths",
    "at",
    "fields_of",
    "from_json",
    "load_plugin",
    "override",
    "path_in",
    "paths_of",
    "replaced",
    "spec_of",
    "terms_of",
    "to_json",
    "traced",
    "tunes_of",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in ("fields", "components", "families", "plugins"):
            module = importlib.import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
