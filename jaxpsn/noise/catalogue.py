"""Perturbation structures by the names that configs use."""

from dataclasses import replace
from typing import Any

from jaxpsn.noise import inputs
from jaxpsn.noise.lowrank import LowRank
from jaxpsn.noise.structures import STRUCTURES, Structure


def named(name: Any, rank: Any = 1, antithetic: Any = False) -> Structure:
    """The structure called ``name``; ``rank`` is that of ``lowrank``. Raises UserError for an unknown name."""
    inputs.of_type("structure", name, str, f"a name: {', '.join(STRUCTURES.names())}")
    made = STRUCTURES.make(name, "structure")
    ranked = {"rank": rank} if isinstance(made, LowRank) else {}
    return replace(made, antithetic=antithetic, **ranked)
