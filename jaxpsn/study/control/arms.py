"""The arms of a comparison: their names, what each changes, and the scale that is tuned; imports no JAX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from jaxpsn.control.config import RULES, AgentConfig, ControlConfig, ExplorationConfig
from jaxpsn.core import errors
from jaxpsn.run import command, folder
from jaxpsn.study import grammar

_HELD = {"hold": "steps", "hold_steps": 8}
_LADDER = {"rule": "parameter", "member_sigma": True, "ladder": 16.0}
_ES = {
    "rule": "parameter", "antithetic": True, "controller": "constant", "sigma": 0.05,
    "agent.algorithm": "es", "agent.actor_lr": 0.02,
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "parameter-dense": {"rule": "parameter", "structure": "dense"},
    "parameter-flipout": {"rule": "parameter", "structure": "flipout"},
    "parameter-lowrank": {"rule": "parameter", "structure": "lowrank"},
    "parameter-factorised": {"rule": "parameter", "structure": "factorised"},
    "parameter-hold": {"rule": "parameter", "hold": "steps", "hold_steps": 50},
    "parameter-zeta": {"rule": "parameter", "hold": "zeta", "hold_steps": 200},
    "parameter-members": {"rule": "parameter", "member_sigma": True},
    "parameter-ladder": _LADDER,
    "parameter-return": {**_LADDER, "select": "return"},
    "parameter-novelty": {**_LADDER, "select": "novelty"},
    "parameter-antithetic": {"rule": "parameter", "antithetic": True},
    "es": {**_ES, "structure": "dense"},
    "es-lowrank": {**_ES, "structure": "lowrank"},
    "es-flipout": {**_ES, "structure": "flipout"},
    "gsde": {"rule": "gsde", **_HELD},
    "lattice": {"rule": "lattice", **_HELD},
    "noisynet": {"rule": "noisynet", "sigma": 0.5},
}
"""Named arms that are more than a rule: the fields of ExplorationConfig, and of the agent, that they set."""

ACTION_GRID = (0.1, 0.3, 0.6, 1.0)
TARGET_GRID = (0.1, 0.2, 0.4, 0.6)
NOISY_GRID = (0.2, 0.5, 1.0, 2.0)
SIGMA_GRID = (0.02, 0.05, 0.1, 0.2)
WITHOUT_SCALE = frozenset({"none", "mixed"})
"""Rules without one number that says how far they explore."""
FIELD = "study.arms"
_AGENT = "agent."


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
    label, name, settings = grammar.split(FIELD, spec)
    if name not in VARIANTS:
        for rule in name.split("+"):
            if rule.strip() not in RULES:
                errors.refuse(FIELD, spec, f"{name!r} is {errors.nearest(name, names())}")
    preset = VARIANTS.get(name, {"rule": name})
    exploration = {field: value for field, value in preset.items() if not field.startswith(_AGENT)}
    agent = {field.removeprefix(_AGENT): value for field, value in preset.items() if field.startswith(_AGENT)}
    for field, text in settings:
        of_agent = field.startswith(_AGENT)
        kind = AgentConfig if of_agent else ExplorationConfig
        field = field.removeprefix(_AGENT).removeprefix("exploration.")
        known = {one.name for one in fields(kind)} - {"rule"}
        if field not in known:
            errors.refuse(FIELD, spec, f"{field!r} is {errors.nearest(field, known)}")
        value = grammar.typed(
            FIELD, spec, field, text, getattr(control.agent if of_agent else control.exploration, field)
        )
        if of_agent:
            agent |= {field: value}
        else:
            exploration = exploration | {field: value}
    changed = replace(
        control,
        exploration=replace(control.exploration, **exploration),
        agent=replace(control.agent, **agent),
    )
    return Arm(label, spec.strip(), changed, _scale(changed))


def _scale(control: ControlConfig) -> Scale | None:
    """What says how far these rules explore: of a sum with weight noise, the scale of the latter."""
    exploration = control.exploration
    rules = exploration.rules
    if "parameter" in rules:
        adapted = exploration.controller not in ("constant", "linear")
        evolves = control.agent.algorithm == "es"
        field, grid = ("target" if adapted else "sigma"), (SIGMA_GRID if evolves and not adapted else TARGET_GRID)
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
        label, values = grammar.grid(text)
        if label not in found:
            errors.refuse("study.grid", text, f"the label of an arm; {label!r} is {errors.nearest(label, found)}")
        found[label] = _with_grid(found[label], text, values)
    return list(found.values())


def _with_grid(arm: Arm, text: str, values: tuple[float, ...]) -> Arm:
    if arm.scale is None:
        errors.refuse("study.grid", text, f"{arm.label} has no scale to tune")
    if arm.scale.tuned and arm.scale.grid != values:
        tried = ",".join(f"{value:g}" for value in arm.scale.grid)
        errors.refuse("study.grid", text, f"{arm.label} was tuned over {tried}")
    return replace(arm, scale=replace(arm.scale, grid=values))
