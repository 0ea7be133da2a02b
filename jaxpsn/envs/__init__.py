"""Environments: Brax, MuJoCo Playground, the paper's sparse tasks and probes behind one door; episodes in batches.

What is here is imported when it is first used: names and time limits (:mod:`jaxpsn.envs.registry`) need no JAX.
"""

import importlib
from typing import Any

_HOMES = {
    "Cells": "coverage", "cells": "coverage",
    "ActionSpace": "spaces", "Box": "spaces", "Discrete": "spaces", "space_of": "spaces",
    "EpisodeState": "episodes", "Episodes": "episodes", "StepOutcome": "episodes",
    "reset_one": "episodes", "step_one": "episodes", "together": "episodes",
    "default_episode_length": "registry", "make": "registry", "names": "registry", "register": "registry",
    "check_given": "given.checked",
    "Gymnax": "foreign", "Pgx": "foreign",
}  # fmt: skip

__all__ = [
    "ActionSpace", "Box", "Cells", "Discrete", "EpisodeState", "Episodes", "Gymnax", "Pgx", "StepOutcome", "cells",
    "check_given", "default_episode_length", "make", "names", "register", "reset_one", "space_of", "step_one",
    "together",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, _, own = _HOMES[name].partition(".")
    return getattr(importlib.import_module(f"{__name__}.{home}"), own or name)
