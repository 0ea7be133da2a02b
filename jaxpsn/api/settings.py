"""From what is written in Python to the configs of a job: the one place where names become settings; imports no JAX."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpsn.control.config import AgentConfig, ControlConfig, EnvConfig, ExplorationConfig
from jaxpsn.core import errors
from jaxpsn.envs import registry
from jaxpsn.run.config import RunConfig
from jaxpsn.study import grammar

POINTS = 20
"""Rows of metrics, and evaluations, of a run whose length is stated and whose cadence is not."""
_PLACED = ("out", "name", "resume", "overwrite", "steps", "seed", "seeds", "progress")
_TERM = re.compile(r"\s*([A-Za-z-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


def control_config(base: ControlConfig, env: Any, agent: Any, explore: Any, fields: Mapping[str, Any]) -> ControlConfig:
    """``base`` with another task, agent and exploration, and with the fields named.

    ``env``: a name, or a ``brax.envs.Env`` of one's own, of which only the name of its class is recorded. ``agent`` and
    ``explore``: a text such as ``parameter(target=0.6)``, the config itself, or a mapping of its fields. A name of
    ``fields`` is that of one field, wherever it lies. Raises UserError for what does not exist or does not fit.
    """
    parts = {"env": base.env, "agent": base.agent, "exploration": base.exploration}
    parts["agent"] = _component("agent", parts["agent"], "algorithm", agent)
    parts["exploration"] = _component("explore", parts["exploration"], "rule", explore)
    changes: dict[str, dict[str, Any]] = {"env": {}, "agent": {}, "exploration": {}, "": {}}
    if env is not None:
        changes["env"]["name"] = registry.canonical(env) if isinstance(env, str) else type(env).__name__
    homes = {name: home for home, kind in _KINDS.items() for name in _names(kind)}
    for name, value in fields.items():
        if name not in homes:
            errors.refuse(name, value, errors.nearest(name, [*homes, *run_fields()]))
        changes[homes[name]][name] = tuple(value) if isinstance(value, list) else value
    built = {home: dataclasses.replace(part, **changes[home]) for home, part in parts.items()}
    return dataclasses.replace(base, **built, **changes[""])


_KINDS: dict[str, type] = {"env": EnvConfig, "agent": AgentConfig, "exploration": ExplorationConfig, "": ControlConfig}


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.name not in ("env", "agent", "exploration")]


def _component(field: str, base: Any, head: str, given: Any) -> Any:
    """``base`` as ``given`` says: by its text, by fields, or replaced."""
    if given is None or isinstance(given, type(base)):
        return given or base
    if isinstance(given, Mapping):
        known = _names(type(base))
        for name in given:
            if name not in known:
                errors.refuse(f"{field}.{name}", given[name], errors.nearest(str(name), known))
        return dataclasses.replace(base, **given)
    if not isinstance(given, str):
        errors.refuse(field, given, "a text such as 'td3', a config or a mapping of fields")
    names, changes = [], {}
    for term in given.split("+"):
        found = _TERM.fullmatch(term)
        if not found:
            errors.refuse(field, given, "written like parameter(target=0.6) + gaussian(std=0.1)")
        names.append(found.group(1))
        for pair in filter(None, (found.group(2) or "").split(",")):
            name, _, text = pair.partition("=")
            if name.strip() not in _names(type(base)):
                errors.refuse(f"{field}.{name.strip()}", text, errors.nearest(name.strip(), _names(type(base))))
            changes[name.strip()] = grammar.typed(field, given, name.strip(), text.strip(), getattr(base, name.strip()))
    return dataclasses.replace(base, **{head: "+".join(names)}, **changes)


def arm(given: Any) -> str:
    """An arm of a study of control as the study reads it: ``label: parameter(target=0.6) + gaussian``, or as there."""
    if not isinstance(given, str):
        errors.refuse("arms", given, "texts such as 'parameter(target=0.6)'")
    head, colon, rest = given.rpartition(":")
    if "(" not in rest:
        return given
    names, settings = [], []
    for term in rest.split("+"):
        found = _TERM.fullmatch(term)
        if not found:
            errors.refuse("arms", given, "written like label: parameter(target=0.6) + gaussian(action_std=0.1)")
        names.append(found.group(1))
        settings += [pair.strip() for pair in filter(str.strip, (found.group(2) or "").split(","))]
    return ",".join([f"{head}{colon}{'+'.join(names)}", *settings])


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
