"""From what is written in Python to the config of a reasoning run; imports no JAX."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxpsn.core import errors
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.study.reasoning import arms
from jaxpsn.tasks import rewards


def config(base: RlvrConfig, task: Any, explore: Any, fields: Mapping[str, Any], reward: Any = None) -> RlvrConfig:
    """``base`` with another task and another way to explore, and with the fields named.

    ``task``: a task or its text, such as ``countdown(numbers=4)``. ``explore``: an arm of the studies, such as
    ``psn-kl`` or ``psn(sigma=kl(target=0.01))``, a noise, or a mapping of paths such as ``sigma.rate``. A name of
    ``fields`` is a section, with a mapping of its fields or its config, or one field, where only one section has it.
    ``reward``: a function, a reward or its text. Raises UserError.
    """
    changes: dict[str, Any] = {}
    if isinstance(explore, Mapping):
        changes |= dict(explore)
    elif isinstance(explore, str):
        changes |= arms.parse(explore, "explore").changes
    elif explore is not None:
        changes["noise"] = explore
    for name, value in fields.items():
        changes |= _field(base, name, value)
    given = {"task": task, "reward": None if reward is None else rewards.make(reward)}
    return _changed(base, changes | {name: value for name, value in given.items() if value is not None})


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
    own = {name: value for name, value in changes.items() if arms.root_of(arms.whole(name)) is None}
    whole = {name: value for name, value in own.items() if "." not in name}
    plain = {name: _typed(base, name, value) for name, value in own.items() if "." in name}
    components = {name: value for name, value in changes.items() if name not in own}
    # Together with the rest, as what does not go together is seen when a config is made.
    return arms.changed(base, components | plain, whole)


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
