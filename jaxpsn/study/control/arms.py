"""The arms of a comparison: their names, what each changes, and the scale that is tuned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from jaxpsn.control.agents.family import AGENTS
from jaxpsn.control.bonus.family import BONUSES
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.exploration.family import EXPLORATION, behaviour_of
from jaxpsn.core import checks, components, errors, grammar
from jaxpsn.core.components import Sum, called, replaced, to_json, tunes_of
from jaxpsn.run import command, folder
from jaxpsn.study import grammar as study_grammar

_ES = "parameter(structure={}(antithetic=true), scale=constant, sigma=0.05), agent=es(actor_lr=0.02)"
ARMS: dict[str, str] = {
    "es": _ES.format("dense"),
    "es-lowrank": _ES.format("lowrank"),
    "es-flipout": _ES.format("flipout"),
}
"""Named arms that are more than an exploration: with an agent of their own."""
FIELD = "study.arms"
_AGENT, _EXPLORE, _ENV, _BONUS = "agent", "explore", "env", "bonus"


@dataclass(frozen=True)
class Scale:
    """The number that says how far an arm explores."""

    field: str
    """Its path: explore.scale.target; a traced hyper-parameter."""
    value: float
    grid: tuple[float, ...]
    """What the tuning tries."""
    tuned: bool = False

    @property
    def path(self) -> str:
        """Its path within the exploration."""
        return self.field.removeprefix(f"{_EXPLORE}.")


@dataclass(frozen=True)
class Arm:
    """One exploration method under its label, with all of its settings."""

    label: str
    spec: str
    """As it was asked for."""
    control: ControlConfig
    scale: Scale | None

    def scaled(self, value: float) -> "Arm":
        """The arm with the value that the tuning chose."""
        explore = replaced(self.control.explore, {self.scale.path: value})
        scale = replace(self.scale, value=value, tuned=True)
        return replace(self, control=replace(self.control, explore=explore), scale=scale)

    def record(self) -> dict[str, Any]:
        """The arm as study.json holds it."""
        told: dict[str, Any] = {"spec": self.spec}
        told |= {name: to_json(getattr(self.control, name)) for name in (_EXPLORE, _AGENT, _BONUS)}
        told[_ENV] = folder.plain(self.control.env)
        return told | {"scale": None if self.scale is None else folder.plain(self.scale)}

    @classmethod
    def restore(cls, label: str, record: Mapping[str, Any], control: ControlConfig) -> "Arm":
        """The arm of a record; ``control`` gives what all arms share."""
        if _EXPLORE not in record:
            errors.refuse(f"arms.{label}.{_EXPLORE}", None, "an object; it is missing")
        scale = None if record["scale"] is None else command.from_record(Scale, record["scale"])
        explore, agent = EXPLORATION.make(record[_EXPLORE]), AGENTS.make(record[_AGENT])
        env = command.from_record(EnvConfig, record[_ENV]) if _ENV in record else control.env
        bonus = BONUSES.make(record[_BONUS]) if _BONUS in record else control.bonus
        changed = replace(control, env=env, explore=explore, agent=agent, bonus=bonus)
        return cls(label, record["spec"], changed, scale)


def names() -> tuple[str, ...]:
    """Every name that an arm can have, sums apart."""
    return tuple(sorted({*EXPLORATION.names(), *ARMS}))


def parse(spec: str, control: ControlConfig) -> Arm:
    """The arm that ``spec`` asks for in ``control``.

    ``[label:]exploration[, agent...=value][, bonus...=value][, env.field=value]``

    ``exploration``: a component or sum, or one of :data:`ARMS` (with fields in brackets, as a component has).
    ``agent``: another learner, which takes what it shares with that of ``control`` and is not given; ``agent.field``:
    the same one, changed; ``bonus`` and ``bonus.field`` likewise; ``env.field``: the same task otherwise, such as
    ``env.num_envs``. Raises UserError for what does not exist.
    """
    arm = grammar.arm(FIELD, spec)
    named = arm.spec.text if isinstance(arm.spec, grammar.Word) else getattr(arm.spec, "name", "")
    preset = grammar.arm(FIELD, ARMS[named]) if named in ARMS else None
    if preset is None and isinstance(arm.spec, grammar.Word) and named not in EXPLORATION.names():
        errors.refuse(FIELD, spec, f"{named!r} is {errors.nearest(named, names())}")
    explore = EXPLORATION.make(arm.spec if preset is None else preset.spec, FIELD)
    if preset is not None and isinstance(arm.spec, grammar.Call):
        if arm.spec.values:
            errors.refuse(FIELD, spec, f"{named}(field=value), as it stands for {ARMS[named]}")
        explore = replaced(explore, dict(arm.spec.fields), named)
    agent, env, bonus = control.agent, control.env, control.bonus
    settings = [*(preset.settings if preset else ()), *arm.settings]
    for path, node in settings:
        head, _, inner = path.partition(".")
        if head == _ENV and inner:
            env = _task(env, inner, node, spec)
        elif head == _BONUS:
            bonus = replaced(bonus, {inner: node}, _BONUS) if inner else BONUSES.make(node, _BONUS)
        elif head == _AGENT:
            agent = replaced(agent, {inner: node}, _AGENT) if inner else _learner(node, agent)
        else:
            allowed = f"agent=..., agent.FIELD=..., bonus=..., env.FIELD=..., or the fields of {named}(...)"
            errors.refuse(FIELD, spec, f"{path!r} is unknown; {allowed}")
    changed = replace(control, env=env, explore=explore, agent=agent, bonus=bonus)
    return Arm(arm.label, spec.strip(), changed, _scale(changed))


def _task(env: EnvConfig, field: str, node: grammar.Node, spec: str) -> EnvConfig:
    """The task of all arms, with one field changed; its name is that of the study."""
    known = [one.name for one in fields(EnvConfig) if one.name != "name"]
    if field not in known:
        told = "env.name is one for all arms" if field == "name" else errors.nearest(field, known)
        errors.refuse(f"{_ENV}.{field}", grammar.write(node), told)
    text = node.text if isinstance(node, grammar.Word) else grammar.write(node)
    if field == "backend":
        return replace(env, backend=text)
    if field == "reset":
        checks.choice("env.reset", text, ("random", "cached"))
        return replace(env, reset=text)  # type: ignore[arg-type]
    return replace(env, **{field: study_grammar.typed(FIELD, spec, f"{_ENV}.{field}", text, 1)})


def _learner(node: grammar.Node, old: Any) -> Any:
    """The agent of ``node``; what it shares with ``old``, and is not given, is as it is there."""
    agent = AGENTS.make(node, _AGENT)
    given = {name for name, _ in node.fields} if isinstance(node, grammar.Call) else set()
    shared = {one.name for one in components.fields_of(type(old))} - given
    kept = {one.name: getattr(old, one.name) for one in components.fields_of(type(agent)) if one.name in shared}
    return replace(agent, **kept)


def _scale(control: ControlConfig) -> Scale | None:
    """What says how far these rules explore: of a sum with another behaviour, the scale of the latter."""
    explore, found = control.explore, tunes_of(control.explore)
    behaviour = behaviour_of(explore)
    if isinstance(explore, Sum) and behaviour is not None:
        own = called(type(behaviour))
        found = {path: grid for path, grid in found.items() if path.startswith(f"{own}.")} or found
    found = control.agent.tunes(explore, found)
    if not found:
        return None
    path, grid = next(iter(found.items()))
    return Scale(f"{_EXPLORE}.{path}", float(components.at(explore, path)), grid)


def resolve(
    specs: Sequence[str], control: ControlConfig, given: Sequence[str] = (), kept: Mapping[str, Arm] | None = None
) -> list[Arm]:
    """The arms ``kept`` from before, then those of ``specs`` that are new, with the grids ``given`` for their own.

    Raises UserError for two arms of one label, for one that ``kept`` has with other settings, and for a grid of an arm
    that does not exist.
    """
    found = study_grammar.merged(FIELD, specs, lambda spec: parse(spec, control), kept or {})
    return study_grammar.with_grids(found, given, lambda arm: arm.scale is not None, lambda arm: arm.scale.tuned)
