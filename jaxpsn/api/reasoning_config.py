"""From what is written in Python to the config of a reasoning run; imports no JAX."""

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpsn.core import errors
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.study.reasoning import arms
from jaxpsn.tasks import registry

_CALL = re.compile(r"\s*([\w-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


def config(base: RlvrConfig, task: str | None, explore: Any, fields: Mapping[str, Any]) -> RlvrConfig:
    """``base`` with another task and another way to explore, and with the fields named.

    ``task``: such as ``countdown`` or ``countdown(numbers=4)``. ``explore``: an arm of the studies, such as ``psn-kl``
    or ``psn(sigma.initial=0.3)``, or a mapping of ``section.field``. A name of ``fields`` is a section, with a mapping
    of its fields or its config, or one field, where only one section has it. Raises UserError.
    """
    changes: dict[str, Any] = {}
    if task is not None:
        name, options = _call("task", task)
        registry.make(name, **options)
        changes |= {"task": name, "task_options": options}
    if isinstance(explore, Mapping):
        changes |= dict(explore)
    elif explore is not None:
        name, given = _call("explore", explore)
        if name not in arms.VARIANTS:
            errors.refuse("explore", explore, errors.nearest(name, arms.VARIANTS))
        changes |= arms.VARIANTS[name] | given
    for name, value in fields.items():
        changes |= _field(base, name, value)
    return _changed(base, changes)


def _call(field: str, text: Any) -> tuple[str, dict[str, str]]:
    """Name and settings of ``name(field=value, ...)``."""
    found = _CALL.fullmatch(text) if isinstance(text, str) else None
    if not found:
        errors.refuse(field, text, "written like name or name(field=value)")
    pairs = [pair.partition("=") for pair in filter(str.strip, (found.group(2) or "").split(","))]
    return found.group(1), {name.strip(): value.strip() for name, _, value in pairs}


def _field(base: RlvrConfig, name: str, value: Any) -> dict[str, Any]:
    """The changes that one named argument asks for, by ``section.field``."""
    names = [field.name for field in dataclasses.fields(base)]
    if name in names:
        if isinstance(value, Mapping) and dataclasses.is_dataclass(getattr(base, name)):
            return {f"{name}.{inner}": each for inner, each in value.items()}
        return {name: value}
    sections = [one for one in names if hasattr(getattr(base, one), name)]
    sections = [one for one in sections if dataclasses.is_dataclass(getattr(base, one))]
    if len(sections) > 1:
        allowed = f"within its section: {' or '.join(sections)}, as {sections[0]}={{{name!r}: ...}}"
        errors.refuse(name, value, allowed)
    if not sections:
        parts = [getattr(base, one) for one in names if dataclasses.is_dataclass(getattr(base, one))]
        errors.refuse(name, value, errors.nearest(name, [*names, *(one for part in parts for one in vars(part))]))
    return {f"{sections[0]}.{name}": value}


def _changed(base: RlvrConfig, changes: Mapping[str, Any]) -> RlvrConfig:
    whole = {name: value for name, value in changes.items() if "." not in name}
    typed = {name: _typed(base, name, value) for name, value in changes.items() if "." in name}
    return arms.changed(dataclasses.replace(base, **whole), typed)


def _typed(base: RlvrConfig, name: str, value: Any) -> Any:
    """``value``, from a text, as the type of the field's present value."""
    section, _, field = name.partition(".")
    part = getattr(base, section, None)
    if not dataclasses.is_dataclass(part):
        errors.refuse(name, value, errors.nearest(section, [field.name for field in dataclasses.fields(base)]))
    if not hasattr(part, field):
        errors.refuse(name, value, errors.nearest(field, vars(part)))
    like = getattr(part, field)
    if not isinstance(value, str) or isinstance(like, str):
        return value
    if isinstance(like, bool):
        return value.lower() == "true"
    try:
        return type(like)(value) if like is not None else float(value)
    except ValueError:
        errors.refuse(name, value, "a number")


def reward(given: Any) -> Callable[[Sequence[Any], Sequence[str]], list[float]] | None:
    """A reward of the user's own as the training calls it: ``graded(problems, answers)``, with its name.

    ``given(prompts, answers, problems)`` returns one finite number for each answer; anything else is a UserError.
    """
    if given is None:
        return None
    name = getattr(given, "__name__", type(given).__name__)
    wanted = "a function (prompts, answers, problems) -> one number for each answer"
    if not callable(given):
        errors.refuse("reward", given, wanted)
    try:
        inspect.signature(given).bind((), (), ())
    except (TypeError, ValueError) as error:
        errors.refuse("reward", name, f"{wanted} ({error})")

    def graded(problems: Sequence[Any], answers: Sequence[str]) -> list[float]:
        found = given([problem.prompt for problem in problems], list(answers), list(problems))
        try:
            scores = np.asarray(found, np.float64)
        except (TypeError, ValueError):
            errors.refuse("reward", name, f"{wanted}; it gave {type(found).__name__}")
        if scores.shape != (len(answers),):
            errors.refuse("reward", name, f"one number for each of {len(answers)} answers; it gave {scores.shape}")
        if not np.isfinite(scores).all():
            errors.refuse(
                "reward", name, f"finite numbers; that of answer {int(np.argmin(np.isfinite(scores)))} is not"
            )
        return scores.tolist()

    graded.__name__ = name
    return graded
