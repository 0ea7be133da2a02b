"""From what is written in Python to the configs of a job: the one place where names become settings."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpsn.control.agents.family import AGENTS
from jaxpsn.control.bonus.family import BONUSES
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.exploration.family import EXPLORATION
from jaxpsn.core import errors
from jaxpsn.core.components import Component, Sum, paths_of, replaced, spec_of
from jaxpsn.core.families import Family
from jaxpsn.envs import registry
from jaxpsn.run.config import RunConfig

POINTS = 20
"""Rows of metrics, and evaluations, of a run whose length is stated and whose cadence is not."""
_PLACED = ("out", "name", "resume", "overwrite", "steps", "seed", "seeds", "progress")


def control_config(base: ControlConfig, env: Any, agent: Any, explore: Any, fields: Mapping[str, Any]) -> ControlConfig:
    """``base`` with another task, agent and exploration, and with the fields named.

    ``env``: a name, or a ``brax.envs.Env`` of one's own, of which only the name of its class is recorded. ``agent``,
    ``explore``, and ``bonus`` among the ``fields``: a text such as ``parameter(target=0.6)``, a component, or a mapping
    of fields of the present one. Any other name of ``fields`` is that of one field, wherever it lies. Raises UserError
    for what does not exist or does not fit.
    """
    chosen = {
        "agent": _component(AGENTS, "agent", base.agent, agent),
        "explore": _component(EXPLORATION, "explore", base.explore, explore),
        "bonus": _component(BONUSES, "bonus", base.bonus, fields.get("bonus")),
    }
    fields = {name: value for name, value in fields.items() if name != "bonus"}
    changes: dict[str, dict[str, Any]] = {"env": {}, "agent": {}, "explore": {}, "bonus": {}, "": {}}
    if env is not None:
        changes["env"]["name"] = registry.canonical(env) if isinstance(env, str) else type(env).__name__
    homes = {name: home for home, kind in _KINDS.items() for name in _names(kind)}
    for name, value in fields.items():
        found = [home for home, part in chosen.items() if _has(part, name)]
        if name not in homes and not found:
            known = [path for part in chosen.values() for path in paths_of(part)]
            errors.refuse(name, value, errors.nearest(name, [*homes, *known, *run_fields()]))
        home = homes[name] if name in homes else found[0]
        changes[home][name] = tuple(value) if isinstance(value, list) else value
    built = {home: replaced(part, changes[home], home) for home, part in chosen.items()}
    return dataclasses.replace(base, env=dataclasses.replace(base.env, **changes["env"]), **built, **changes[""])


_KINDS: dict[str, type] = {"env": EnvConfig, "": ControlConfig}


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.name not in ("env", "agent", "explore", "bonus")]


def _has(part: Any, name: str) -> bool:
    return any(path == name or path.endswith(f".{name}") for path in paths_of(part))


def _component(family: Family[Any], field: str, base: Any, given: Any) -> Any:
    """``base``, with other fields where ``given`` is a mapping of them; else the component that it says."""
    if given is None:
        return base
    if isinstance(given, Mapping) and "name" not in given and "sum" not in given:
        return replaced(base, {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}, field)
    return family.make(given, field)


def arm(given: Any) -> str:
    """An arm of a study of control as the study reads it: its text, or that of a component."""
    if isinstance(given, Component | Sum):
        return spec_of(given)
    return given if isinstance(given, str) else errors.refuse("arms", given, "texts such as 'parameter(target=0.6)'")


def run_fields() -> list[str]:
    """The fields of a run that may be named beside those of what is trained."""
    return [field.name for field in dataclasses.fields(RunConfig) if field.name not in _PLACED]


def split(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``fields`` of what is trained, and those of the run."""
    of_run = {name: value for name, value in fields.items() if name in run_fields()}
    return {name: value for name, value in fields.items() if name not in of_run}, of_run


def run_config(
    base: RunConfig, *, steps: int | None, seed: int | None, seeds: int | None, folder: str | Path | None, resume: bool,
    overwrite: bool, progress: str, fields: Mapping[str, Any], stepwise: bool = False,
) -> RunConfig:  # fmt: skip
    """How long the run is and where it lies.

    Where ``steps`` are stated, and no cadence is, there are :data:`POINTS` evaluations, and four checkpoints; and as
    many rows of metrics, or one a step if it is made ``stepwise``.
    """
    changes: dict[str, Any] = {"progress": progress, "overwrite": overwrite}
    changes |= cadence(steps, fields, stepwise)
    changes |= {name: value for name, value in (("seed", seed), ("seeds", seeds)) if value is not None}
    if folder is not None:
        path = Path(folder)
        changes |= {"resume": str(path)} if resume else {"out": str(path.parent), "name": path.name}
    elif overwrite or resume:
        errors.refuse("overwrite" if overwrite else "resume", True, "only together with folder")
    return dataclasses.replace(base, **changes, **fields)


def cadence(steps: int | None, fields: Mapping[str, Any], stepwise: bool = False) -> dict[str, int]:
    """The length that was stated, and a rhythm for it where none is among ``fields``; see :func:`run_config`."""
    if steps is None:
        return {}
    if {"chunk", "eval_every", "checkpoint_every"} & fields.keys() or not isinstance(steps, int) or steps < 1:
        return {"steps": steps}
    each = -(-steps // POINTS)
    return {"steps": steps, "chunk": 1 if stepwise else each, "eval_every": each, "checkpoint_every": 5 * each}


def preset(presets: Mapping[str, Any], name: str) -> Any:
    """The preset ``name``. Raises UserError with the nearest names if there is none."""
    if name not in presets:
        errors.refuse("preset", name, errors.nearest(str(name), presets))
    return presets[name]


def loggers(given: Any) -> Sequence[Any]:
    """One tracker of a user's own, several, or none, as a sequence. Raises UserError for what is none."""
    from jaxpsn.run.loggers import callbacks

    found = () if given is None else tuple(given) if isinstance(given, list | tuple) else (given,)
    callbacks.require(found)
    return found


def place(folder: str | Path | None, resume: bool) -> tuple[Path | None, bool]:
    """The folder, and whether what lies there is gone on with. Raises UserError for ``resume`` without a folder."""
    if folder is None:
        return errors.refuse("resume", True, "only together with folder") if resume else (None, False)
    path = Path(folder)
    return path, resume and path.exists()
