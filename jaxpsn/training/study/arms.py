"""The arms of a comparison: their names, what each changes, and the scale that is tuned; imports no JAX."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from jaxpsn import checks, errors
from jaxpsn.control.config import RULES, AgentConfig, ControlConfig, ExplorationConfig
from jaxpsn.training import command, folder

_HELD = {"hold": "steps", "hold_steps": 8}
VARIANTS: dict[str, dict[str, Any]] = {
    "parameter-dense": {"rule": "parameter", "structure": "dense"},
    "parameter-flipout": {"rule": "parameter", "structure": "flipout"},
    "parameter-lowrank": {"rule": "parameter", "structure": "lowrank"},
    "parameter-factorised": {"rule": "parameter", "structure": "factorised"},
    "parameter-hold": {"rule": "parameter", "hold": "steps", "hold_steps": 50},
    "parameter-zeta": {"rule": "parameter", "hold": "zeta", "hold_steps": 200},
    "parameter-members": {"rule": "parameter", "member_sigma": True},
    "gsde": {"rule": "gsde", **_HELD},
    "lattice": {"rule": "lattice", **_HELD},
    "noisynet": {"rule": "noisynet", "sigma": 0.5},
}
"""Named arms that are more than a rule: the fields of ExplorationConfig that they set."""

ACTION_GRID = (0.1, 0.3, 0.6, 1.0)
TARGET_GRID = (0.1, 0.2, 0.4, 0.6)
NOISY_GRID = (0.2, 0.5, 1.0, 2.0)
WITHOUT_SCALE = frozenset({"none", "mixed"})
"""Rules without one number that says how far they explore."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Scale:
    """The number that says how far an arm explores."""

    field: str
    """A field of the config (exploration.NAME); NAME is a traced hyper-parameter too."""
    value: float
    grid: tuple[float, ...]
    """What the tuning tries."""
    tuned: bool = False

    @property
    def leaf(self) -> str:
        """Its name among the traced hyper-parameters."""
        return self.field.removeprefix("exploration.")


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
        exploration = replace(self.control.exploration, **{self.scale.leaf: value})
        scale = replace(self.scale, value=value, tuned=True)
        return replace(self, control=replace(self.control, exploration=exploration), scale=scale)

    def record(self) -> dict[str, Any]:
        """The arm as study.json holds it."""
        told: dict[str, Any] = {"spec": self.spec}
        told |= {name: folder.plain(getattr(self.control, name)) for name in ("exploration", "agent")}
        return told | {"scale": None if self.scale is None else folder.plain(self.scale)}

    @classmethod
    def restore(cls, label: str, record: Mapping[str, Any], control: ControlConfig) -> "Arm":
        """The arm of a record; ``control`` gives what all arms share."""
        exploration = command.from_record(ExplorationConfig, record["exploration"])
        agent = command.from_record(AgentConfig, record["agent"])
        scale = None if record["scale"] is None else command.from_record(Scale, record["scale"])
        return cls(label, record["spec"], replace(control, exploration=exploration, agent=agent), scale)


def names() -> tuple[str, ...]:
    """Every name that an arm can have, sums of rules apart."""
    return tuple(sorted({*RULES, *VARIANTS}))


def parse(spec: str, control: ControlConfig) -> Arm:
    """The arm that ``spec``, ``[label:]name[,field=value]...``, asks for in the experiment ``control``.

    ``name`` is a rule, a sum of rules or a variant; ``field`` one of ExplorationConfig, or ``agent.field``; widths are
    written 64x64. Raises UserError for what does not exist.
    """
    head, _, rest = spec.strip().rpartition(":")
    name, *settings = (part.strip() for part in rest.split(","))
    label = head.strip() if head else _UNSAFE.sub("-", rest).strip("-._")
    if not _LABEL.fullmatch(label):
        errors.refuse("study.arms", spec, "a label of at most 80 letters, digits, dots, dashes and underscores")
    if name not in VARIANTS:
        for rule in name.split("+"):
            if rule.strip() not in RULES:
                errors.refuse("study.arms", spec, f"{name!r} is {errors.nearest(name, names())}")
    exploration = VARIANTS.get(name, {"rule": name})
    agent: dict[str, Any] = {}
    for setting in settings:
        field, _, text = (part.strip() for part in setting.partition("="))
        of_agent = field.startswith("agent.")
        kind = AgentConfig if of_agent else ExplorationConfig
        field = field.removeprefix("agent.").removeprefix("exploration.")
        value = _value(spec, kind, field, text, getattr(control.agent if of_agent else control.exploration, field, ""))
        if of_agent:
            agent |= {field: value}
        else:
            exploration = exploration | {field: value}
    changed = replace(
        control,
        exploration=replace(control.exploration, **exploration),
        agent=replace(control.agent, **agent),
    )
    return Arm(label, spec.strip(), changed, _scale(changed.exploration))


def _value(spec: str, kind: type, field: str, text: str, like: Any) -> Any:
    """``text`` as the type of the field's present value ``like``."""
    known = {one.name for one in fields(kind)} - {"rule"}
    if field not in known:
        errors.refuse("study.arms", spec, f"{field!r} is {errors.nearest(field, known)}")
    if isinstance(like, bool):
        if text.lower() not in ("true", "false"):
            errors.refuse("study.arms", spec, f"{field} is true or false")
        return text.lower() == "true"
    try:
        if isinstance(like, tuple):
            return tuple(int(width) for width in text.split("x"))
        return type(like)(text)
    except ValueError:
        wanted = {int: "a whole number", float: "a number"}.get(type(like), "widths such as 64x64")
        errors.refuse("study.arms", spec, f"{field} is {wanted}")


def _scale(exploration: ExplorationConfig) -> Scale | None:
    """What says how far these rules explore: of a sum with weight noise, the scale of the latter."""
    rules = exploration.rules
    if "parameter" in rules:
        adapted = exploration.controller not in ("constant", "linear")
        field, grid = ("target" if adapted else "sigma"), TARGET_GRID
    elif "noisynet" in rules:
        field, grid = "sigma", NOISY_GRID
    elif set(rules) <= WITHOUT_SCALE:
        return None
    else:
        field, grid = "action_std", ACTION_GRID
    return Scale(f"exploration.{field}", float(getattr(exploration, field)), grid)


def resolve(
    specs: Sequence[str], control: ControlConfig, grids: Sequence[str] = (), kept: Mapping[str, Arm] | None = None
) -> list[Arm]:
    """The arms ``kept`` from before, then those of ``specs`` that are new, with the ``grids`` that replace their own.

    Raises UserError for two arms of one label, for one that ``kept`` has with other settings, and for a grid of an arm
    that does not exist.
    """
    found = dict(kept or {})
    seen = {label.lower(): arm.spec for label, arm in found.items()}
    for spec in dict.fromkeys(spec.strip() for spec in specs):
        if spec in seen.values():
            continue
        arm = parse(spec, control)
        if seen.setdefault(arm.label.lower(), spec) != spec:
            errors.refuse("study.arms", spec, f"a label of its own, label:{spec}; {seen[arm.label.lower()]!r} has it")
        found[arm.label] = arm
    for text in grids:
        label, values = _grid(text)
        if label not in found:
            errors.refuse("study.grid", text, f"the label of an arm; {label!r} is {errors.nearest(label, found)}")
        found[label] = _with_grid(found[label], text, values)
    return list(found.values())


def _grid(text: str) -> tuple[str, tuple[float, ...]]:
    label, _, listed = text.partition("=")
    try:
        values = tuple(float(value) for value in listed.split(","))
    except ValueError:
        errors.refuse("study.grid", text, "LABEL=0.1,0.2,0.4")
    for value in values:
        checks.real("study.grid", value, 0.0, 100.0, open_low=True)
    if len(values) < 2 or len(set(values)) < len(values):
        errors.refuse("study.grid", text, "two values or more, all different")
    return label.strip(), values


def _with_grid(arm: Arm, text: str, values: tuple[float, ...]) -> Arm:
    if arm.scale is None:
        errors.refuse("study.grid", text, f"{arm.label} has no scale to tune")
    if arm.scale.tuned and arm.scale.grid != values:
        tried = ",".join(f"{value:g}" for value in arm.scale.grid)
        errors.refuse("study.grid", text, f"{arm.label} was tuned over {tried}")
    return replace(arm, scale=replace(arm.scale, grid=values))
