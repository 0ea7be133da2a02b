"""The arms and tasks of a study of reasoning: names, what each changes, and the scale that is tuned; no JAX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from jaxpsn.core import errors
from jaxpsn.rlvr.config import PretrainConfig, RlvrConfig
from jaxpsn.run import command, folder
from jaxpsn.study import grammar
from jaxpsn.tasks import registry

FIELD, TASK_FIELD = "study.arms", "study.tasks"
BASE = "base"
"""Reserved: the policy that every arm starts from."""
PSN = "psn"

_GRPO = {
    "noise.structure": "none", "sigma.rule": "fixed", "sigma.initial": 0.0, "algorithm.correction": "none",
}  # fmt: skip
_PSN = {"sigma.rule": "fixed", "algorithm.correction": "token"}
# One dense draw a step on the norms' weights, decaying by stages, and no correction for it (arXiv 2510.11696).
_QERL = {
    "noise.structure": "dense", "noise.target": "norms", "noise.per": "step", "noise.relative": False,
    "sigma.rule": "staged", "sigma.initial": 0.1, "sigma.final": 1e-3, "algorithm.correction": "none",
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": _GRPO,
    "grpo-tis": _GRPO | {"algorithm.correction": "token"},
    "temperature": _GRPO | {"rollout.temperature": 1.3},
    "entropy": _GRPO | {"algorithm.entropy_coefficient": 0.01},
    PSN: _PSN,
    "psn-no-tis": _PSN | {"algorithm.correction": "none"},
    "psn-half": _PSN,
    "psn-double": _PSN,
    "psn-kl": _PSN | {"sigma.rule": "kl"},
    # Steps of up to 1.15, so that sigma settles within a run of 80, wherever the target lies.
    "psn-composite": _PSN | {"sigma.rule": "composite", "sigma.rate": 1.15},
    "psn-step": _PSN | {"noise.structure": "dense", "noise.per": "step"},
    "qerl": _QERL,
    "pass-at-k": _GRPO | {"algorithm.advantage": "pass_at_k"},
    "psn-pass-at-k": _PSN | {"algorithm.advantage": "pass_at_k"},
}
"""Named arms: the fields of RlvrConfig that they set."""


@dataclass(frozen=True)
class Scale:
    """The number that says how far an arm explores."""

    field: str
    """Of RlvrConfig, such as sigma.initial."""
    grid: tuple[float, ...] = ()
    """What the tuning tries; empty where another arm's choice is taken."""
    like: str | None = None
    """The named arm whose tuning chooses, None for the arm's own."""
    factor: float = 1.0
    """What the choice is multiplied by."""


_SIGMA = Scale("sigma.initial", (0.1, 0.3, 0.6, 1.0))
_LIKE = Scale("sigma.initial", like=PSN)
SCALES: dict[str, Scale] = {
    "temperature": Scale("rollout.temperature", (1.15, 1.3, 1.6)),
    "entropy": Scale("algorithm.entropy_coefficient", (0.01, 0.03, 0.1)),
    PSN: _SIGMA,
    "psn-no-tis": _LIKE,
    "psn-half": replace(_LIKE, factor=0.5),
    "psn-double": replace(_LIKE, factor=2.0),
    "psn-kl": Scale("sigma.kl_target", (0.005, 0.02, 0.08)),
    "psn-composite": Scale("sigma.indicator_drop", (0.03, 0.1, 0.2)),
    "psn-step": _LIKE,
    "qerl": Scale("sigma.initial", (0.03, 0.1, 0.3)),
    "psn-pass-at-k": _LIKE,
}
"""What is tuned in each named arm; arms of other names have nothing to tune."""


@dataclass(frozen=True)
class Arm:
    """One way to train under its label, as what it changes in the shared config."""

    label: str
    spec: str
    changes: Mapping[str, Any]
    scale: Scale | None

    def config(self, shared: RlvrConfig, value: float | None = None) -> RlvrConfig:
        """The arm's experiment; ``value`` is that of its scale. Raises UserError for what does not go together."""
        scaled = {} if value is None or self.scale is None else {self.scale.field: value}
        return changed(shared, dict(self.changes) | scaled)

    def record(self) -> dict[str, Any]:
        """The arm as study.json holds it."""
        scale = None if self.scale is None else folder.plain(self.scale)
        return {"spec": self.spec, "changes": folder.plain(dict(self.changes)), "scale": scale}

    @classmethod
    def restore(cls, label: str, record: Mapping[str, Any]) -> "Arm":
        """The arm of a record."""
        scale = None if record["scale"] is None else command.from_record(Scale, record["scale"])
        return cls(label, record["spec"], record["changes"], scale)


@dataclass(frozen=True)
class TaskChoice:
    """A procedural task under its label."""

    label: str
    spec: str
    task: str
    task_options: Mapping[str, str]
    pretrain: Mapping[str, Any]
    """Fields of PretrainConfig that differ on this task: tasks are not equally hard to learn."""

    def config(self, shared: RlvrConfig) -> RlvrConfig:
        """The shared config on this task."""
        pretrain = replace(shared.pretrain, **self.pretrain)
        return replace(shared, task=self.task, task_options=dict(self.task_options), pretrain=pretrain)

    def record(self) -> dict[str, Any]:
        """The task as study.json holds it."""
        kept = {"task_options": dict(self.task_options), "pretrain": dict(self.pretrain)}
        return {"spec": self.spec, "task": self.task} | kept


def changed(shared: RlvrConfig, changes: Mapping[str, Any]) -> RlvrConfig:
    """``shared`` with ``section.field`` -> value replaced, all at once, as fields of a section are checked together."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        section, _, field = name.partition(".")
        sections.setdefault(section, {})[field] = value
    made = {section: replace(getattr(shared, section), **values) for section, values in sections.items()}
    return replace(shared, **made)


def known_fields() -> dict[str, Any]:
    """``section.field`` -> default of everything that an arm may change: all but model, task and judgement."""
    shared = RlvrConfig()
    sections = ("rollout", "noise", "sigma", "algorithm")
    return {
        f"{section}.{field.name}": getattr(getattr(shared, section), field.name)
        for section in sections
        for field in fields(getattr(shared, section))
    }


def parse(spec: str) -> Arm:
    """The arm that ``[label:]name[,section.field=value]...`` asks for. Raises UserError for what does not exist."""
    label, name, settings = grammar.split(FIELD, spec)
    if name not in VARIANTS:
        errors.refuse(FIELD, spec, f"{name!r} is {errors.nearest(name, VARIANTS)}")
    if label.lower() == BASE:
        errors.refuse(FIELD, spec, f"another label; {BASE} is the policy that all arms start from")
    known, changes, scale = known_fields(), dict(VARIANTS[name]), SCALES.get(name)
    for field, text in settings:
        if field not in known:
            errors.refuse(FIELD, spec, f"{field!r} is {errors.nearest(field, known)}")
        changes[field] = grammar.typed(FIELD, spec, field, text, known[field])
        if scale is not None and field == scale.field:
            scale = None  # set by hand: nothing is left to tune
    return Arm(label, spec.strip(), changes, scale)


def parse_task(spec: str) -> TaskChoice:
    """The task that ``[label:]name[,option=value]...`` asks for; an option is the task's or ``pretrain.field``.

    Raises UserError for what does not exist.
    """
    label, name, settings = grammar.split(TASK_FIELD, spec)
    if name not in registry.names():
        errors.refuse(TASK_FIELD, spec, f"{name!r} is {errors.nearest(name, registry.names())}")
    options, pretrain, lessons = {}, {}, PretrainConfig()
    for field, text in settings:
        section, _, inner = field.partition(".")
        if section != "pretrain":
            options[field] = text
        elif not hasattr(lessons, inner):
            errors.refuse(TASK_FIELD, spec, f"{field!r} is {errors.nearest(inner, vars(lessons))}")
        else:
            pretrain[inner] = grammar.typed(TASK_FIELD, spec, field, text, getattr(lessons, inner))
    try:
        registry.make(name, **options)
        replace(lessons, **pretrain)
    except errors.UserError as error:
        errors.refuse(TASK_FIELD, spec, str(error))
    return TaskChoice(label, spec.strip(), name, options, pretrain)


def resolve(specs: Sequence[str], grids: Sequence[str], kept: Mapping[str, Arm]) -> list[Arm]:
    """The arms ``kept`` from before, then those of ``specs`` that are new; ``grids`` replace what named arms try.

    Raises UserError for two arms of one label, and for a grid of an arm that tunes nothing of its own.
    """
    found = _merged(FIELD, specs, parse, kept)
    for text in grids:
        label, values = grammar.grid(text)
        if label not in found:
            errors.refuse("study.grid", text, f"the label of an arm; {label!r} is {errors.nearest(label, found)}")
        scale = found[label].scale
        if scale is None or scale.like is not None:
            errors.refuse("study.grid", text, f"{label} has no scale of its own to tune")
        if label in kept and scale.grid != values:
            errors.refuse("study.grid", text, f"{label} tries {','.join(f'{value:g}' for value in scale.grid)} here")
        found[label] = replace(found[label], scale=replace(scale, grid=values))
    return list(found.values())


def resolve_tasks(specs: Sequence[str], kept: Mapping[str, TaskChoice]) -> list[TaskChoice]:
    """The tasks ``kept`` from before, then those of ``specs`` that are new. Raises UserError for two of one label."""
    return list(_merged(TASK_FIELD, specs, parse_task, kept).values())


def _merged(option: str, specs: Sequence[str], read: Any, kept: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(kept)
    taken = {label.lower(): one.spec for label, one in found.items()}
    for spec in dict.fromkeys(spec.strip() for spec in specs):
        if spec in taken.values():
            continue
        one = read(spec)
        if taken.setdefault(one.label.lower(), spec) != spec:
            errors.refuse(option, spec, f"a label of its own, label:{spec}; {taken[one.label.lower()]!r} has it")
        found[one.label] = one
    return found


def chooser(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The arm whose tuning chooses the scale of ``arm``, which may be none of ``arms``; None: nothing is tuned."""
    if arm.scale is None or arm.scale.like is None:
        return None if arm.scale is None else arm
    here = (one for one in arms if one.label == arm.scale.like and one.scale is not None and one.scale.like is None)
    return next(here, None) or parse(arm.scale.like)


def check(arm: Arm, shared: RlvrConfig) -> None:
    """Refuse an arm that could not run with one of the values of its scale, naming it."""
    values = (None,) if arm.scale is None else (None, *arm.scale.grid)
    for value in values:
        try:
            arm.config(shared, value)
        except errors.UserError as error:
            raise errors.UserError(f"arm {arm.label}: {error}") from None
