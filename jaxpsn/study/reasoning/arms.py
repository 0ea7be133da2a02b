"""The arms and tasks of a study of reasoning: names, what each changes, and the scale that is tuned; no JAX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from jaxpsn.core import errors, grammar
from jaxpsn.core.components import Component, at, called, paths_of, replaced, spec_of, to_json
from jaxpsn.core.families import Family
from jaxpsn.rlvr.config import PretrainConfig, RlvrConfig
from jaxpsn.rlvr.exploration.noise_family import NOISES
from jaxpsn.rlvr.objective.algorithms import ADVANTAGES, LOSSES
from jaxpsn.rlvr.objective.corrections import CORRECTIONS
from jaxpsn.run import command, folder
from jaxpsn.study.grammar import merged, typed, with_grids
from jaxpsn.tasks.problem import TASKS, Procedural
from jaxpsn.tasks.rewards import REWARDS

FIELD, TASK_FIELD = "study.arms", "study.tasks"
BASE = "base"
"""Reserved: the policy that every arm starts from."""
PSN = "psn"

_GRPO = {"noise": "none", "algorithm.correction": "none"}
_PSN = {"noise.sigma": "fixed(0.3)", "algorithm.correction": "token"}
_AT_DRAWS = _PSN | {"noise.per": "replica", "noise.replicas": 4, "algorithm.correction": "none"}
VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": _GRPO,
    "grpo-tis": _GRPO | {"algorithm.correction": "token"},
    "temperature": _GRPO | {"rollout.temperature": 1.3},
    "entropy": _GRPO | {"algorithm.entropy_coefficient": 0.01},
    PSN: _PSN,
    "psn-no-tis": _PSN | {"algorithm.correction": "none"},
    "psn-half": _PSN,
    "psn-double": _PSN,
    # The rate of sigma is larger than the paper's as the runs are shorter: over a run it can move by the same factor of
    # ten. Its bound is wider as answers of ten tokens bear noise that answers of a thousand would not survive.
    "psn-kl": _PSN | {"noise.sigma": "kl(initial=0.3, rate=1.04, high=2)"},
    # Steps of up to 1.15, so that sigma settles within a run of 80, wherever the target lies.
    "psn-composite": _PSN | {"noise.sigma": "composite(initial=0.3, rate=1.15, high=2)"},
    "psn-step": _PSN | {"noise.structure": "dense", "noise.per": "step"},
    # One dense draw a step on the norms' weights, decaying by stages, and no correction for it (arXiv 2510.11696).
    "qerl": {
        "noise.structure": "dense", "noise.select": "norms", "noise.per": "step", "noise.relative": "false",
        "noise.sigma": "staged(initial=0.1, final=0.001)", "algorithm.correction": "none",
    },
    # Four draws of a posterior that is learnt, a gradient at each (arXiv 2608.09805); its rate is no AdamW's.
    "ivon": {
        "noise": "ivon(per=replica, replicas=4)", "algorithm.estimator": "smoothed", "algorithm.correction": "none",
        "algorithm.learning_rate": 0.1,
    },
    "pass-at-k": _GRPO | {"algorithm.advantage": "pass_at_k"},
    "psn-pass-at-k": _PSN | {"algorithm.advantage": "pass_at_k"},
    # Rivals without noise; the number of problems and the target of entropy are ours.
    "max-rl": _GRPO | {"algorithm.advantage": "max_rl"},
    "w-reinforce": _GRPO | {"algorithm.advantage": "w_reinforce"},
    "unlikeliness": _GRPO | {"algorithm.advantage": "unlikeliness"},
    "clip-cov": _GRPO | {"algorithm.loss": "clip_cov"},
    "kl-cov": _GRPO | {"algorithm.loss": "kl_cov", "algorithm.epochs": 2},
    "top-entropy": _GRPO | {"algorithm.top_entropy": 0.2},
    "entropy-target": _GRPO | {"algorithm.entropy_coefficient": 0.01, "algorithm.entropy_target": 0.2},
    "unsolved": _GRPO | {"rollout.pool": 512, "rollout.gate": "unsolved"},
    # The same noise drawn anew at every token: what is left is what consistency in time does not explain.
    "psn-tokens": _PSN | {"noise.hold": "tokens"},
    # The gradient at the perturbed weights; a member gives two answers to a problem, or shares its group.
    "psn-smoothed": _AT_DRAWS | {"algorithm.estimator": "smoothed"},
    "psn-pooled": _AT_DRAWS | {"algorithm.estimator": "pooled"},
    "evolution": {
        "noise.structure": "lowrank(rank=1, antithetic=true)", "noise.relative": "false", "noise.sigma": "fixed(0.02)",
        "rollout.prompts": 16, "rollout.samples": 64, "algorithm.estimator": "evolution",
        "algorithm.correction": "none", "algorithm.learning_rate": 1e-3,
    },
}  # fmt: skip
"""Named arms: what they set in RlvrConfig, path -> value; of components and their fields the texts."""


@dataclass(frozen=True)
class Scale:
    """The number that says how far an arm explores."""

    field: str
    """Of RlvrConfig, such as sigma.value."""
    grid: tuple[float, ...] = ()
    """What the tuning tries; empty where another arm's choice is taken."""
    like: str | None = None
    """The named arm whose tuning chooses, None for the arm's own."""
    factor: float = 1.0
    """What the choice is multiplied by."""


_LIKE = Scale("sigma.value", like=PSN)
_PLAIN: dict[str, Scale] = {
    "temperature": Scale("rollout.temperature", (1.15, 1.3, 1.6)),
    "entropy": Scale("algorithm.entropy_coefficient", (0.01, 0.03, 0.1)),
    "psn-no-tis": _LIKE,
    "psn-half": replace(_LIKE, factor=0.5),
    "psn-double": replace(_LIKE, factor=2.0),
    "psn-step": _LIKE,
    "psn-pass-at-k": _LIKE,
    "psn-tokens": _LIKE,
    "psn-smoothed": _LIKE,
    "psn-pooled": _LIKE,
    "ivon": Scale("noise.precision", (1e3, 1e4, 1e5)),
}
_OF_RULES = {PSN: "fixed", "psn-kl": "kl", "psn-composite": "composite", "qerl": "staged"}
"""Named arms that are tuned over the grid of their scale rule."""


def scale_of(name: str) -> Scale | None:
    """What is tuned in a named arm; of other names nothing is."""
    if name not in _OF_RULES:
        return _PLAIN.get(name)
    from jaxpsn.noise.scale_rules import SCALES  # late: it loads JAX

    tune = SCALES.get(_OF_RULES[name]).tune
    return Scale(f"sigma.{tune.field}", tune.grid)


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
    task: Procedural | Mapping[str, Any]
    pretrain: Mapping[str, Any]
    """Fields of PretrainConfig that differ on this task: tasks are not equally hard to learn."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", TASKS.make(self.task, TASK_FIELD))

    def config(self, shared: RlvrConfig) -> RlvrConfig:
        """The shared config on this task."""
        return replace(shared, task=self.task, pretrain=replace(shared.pretrain, **self.pretrain))

    def record(self) -> dict[str, Any]:
        """The task as study.json holds it."""
        return {"spec": self.spec, "task": to_json(self.task), "pretrain": dict(self.pretrain)}


_SECTIONS = ("rollout", "algorithm")
_COMPONENTS: dict[str, Family[Any]] = {
    "noise": NOISES, "reward": REWARDS, "algorithm.advantage": ADVANTAGES, "algorithm.loss": LOSSES,
    "algorithm.correction": CORRECTIONS,
}  # fmt: skip
"""Components that an arm may change; model, task and judgement are those of all arms."""


def whole(path: str) -> str:
    """The path in RlvrConfig: ``sigma`` stands for the rule of its noise."""
    return f"noise.{path}" if path == "sigma" or path.startswith("sigma.") else path


def root_of(path: str) -> str | None:
    """The component that a whole path is in, or None for a plain field."""
    return next((root for root in _COMPONENTS if path == root or path.startswith(f"{root}.")), None)


def changed(shared: RlvrConfig, changes: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> RlvrConfig:
    """``shared`` with the values at these paths replaced, all at once, as fields of a section are checked together.

    Components and their fields are given as texts or as values. ``others``: fields of the config itself.
    """
    inner: dict[str, dict[str, Any]] = {}
    made: dict[str, dict[str, Any]] = {"": {}}
    for name, value in changes.items():
        path = whole(name)
        root = root_of(path)
        if root is None:
            section, _, field = path.partition(".")
            made.setdefault(section, {})[field] = value
        else:
            node = grammar.parse(name, value) if isinstance(value, str) else value
            inner.setdefault(root, {})[path[len(root) + 1 :]] = node
    for root, asked in inner.items():
        section, _, field = root.rpartition(".")
        held = getattr(getattr(shared, section), field) if section else getattr(shared, field)
        base = _COMPONENTS[root].make(asked.pop(""), root) if "" in asked else held
        made.setdefault(section, {})[field] = replaced(base, asked, root) if asked else base
    top = made.pop("") | dict(others or {})
    sections = {section: replace(getattr(shared, section), **values) for section, values in made.items()}
    return replace(shared, **top, **sections)


def known_fields() -> dict[str, Any]:
    """``section.field`` -> default of the plain fields that an arm may change: all but model, task and judgement."""
    shared, found = RlvrConfig(), {}
    for part in _SECTIONS:
        section = getattr(shared, part)
        found |= {f"{part}.{one.name}": getattr(section, one.name) for one in fields(section)}
    return {path: default for path, default in found.items() if path not in _COMPONENTS}


def parse(spec: str, where: str = FIELD) -> Arm:
    """The arm of ``[label:]name[(field=value)][, path=value]...``; the brackets hold fields of its noise.

    Raises UserError for what does not exist.
    """
    label, node, settings = grammar.arm(where, spec)
    if label.lower() == BASE:
        errors.refuse(where, spec, f"another label; {BASE} is the policy that all arms start from")
    if not isinstance(node, grammar.Word | grammar.Call):
        errors.refuse(where, spec, "one arm; a sum is written where it stands, as in reward=verifier + mine")
    name = node.text if isinstance(node, grammar.Word) else node.name
    if name not in VARIANTS and name not in NOISES.names():
        errors.refuse(where, spec, f"{name!r} is {errors.nearest(name, VARIANTS)}")
    changes, scale = dict(VARIANTS.get(name, {"noise": grammar.write(node)})), scale_of(name)
    if name in VARIANTS and isinstance(node, grammar.Call):
        if node.values:
            errors.refuse(where, spec, f"fields of the noise by their names, as in {name}(per=step)")
        settings = (*((f"noise.{field}", value) for field, value in node.fields), *settings)
    known = known_fields()
    for field, value in settings:
        path, text = whole(field), grammar.write(value)
        if root_of(path) is not None:
            changes = {old: kept for old, kept in changes.items() if not old.startswith(f"{path}.")} | {path: text}
        elif path in known:
            changes[path] = typed(where, spec, path, text, known[path])
        else:
            errors.refuse(where, spec, f"{field!r} is {errors.nearest(path, [*known, *_COMPONENTS])}")
        if scale is not None and f"{whole(scale.field)}.".startswith(f"{path}."):
            scale = None  # set by hand: nothing is left to tune
    return Arm(label, spec.strip(), changes, scale)


def parse_task(spec: str) -> TaskChoice:
    """The task that ``[label:]task[(field=value)][, pretrain.field=value]...`` asks for.

    Raises UserError for what does not exist.
    """
    label, node, settings = grammar.arm(TASK_FIELD, spec)
    pretrain, lessons = {}, PretrainConfig()
    for field, value in settings:
        section, _, inner = field.partition(".")
        if section != "pretrain" or not hasattr(lessons, inner):
            allowed = [f"pretrain.{name}" for name in vars(lessons)]
            errors.refuse(TASK_FIELD, spec, f"{field!r} is {errors.nearest(field, allowed)}")
        pretrain[inner] = typed(TASK_FIELD, spec, field, grammar.write(value), getattr(lessons, inner))
    try:
        task = TASKS.make(node, TASK_FIELD)
        replace(lessons, **pretrain)
    except errors.UserError as error:
        errors.refuse(TASK_FIELD, spec, str(error))
    return TaskChoice(label, spec.strip(), task, pretrain)


def resolve(specs: Sequence[str], grids: Sequence[str], kept: Mapping[str, Arm]) -> list[Arm]:
    """The arms ``kept`` from before, then those of ``specs`` that are new; ``grids`` replace what named arms try.

    Raises UserError for two arms of one label, and for a grid of an arm that tunes nothing of its own.
    """
    found = merged(FIELD, specs, parse, kept)
    own = [arm.label for arm in found.values() if arm.scale is not None and arm.scale.like is None]
    return with_grids(found, grids, lambda arm: arm.label in own, lambda arm: arm.label in kept)


def resolve_tasks(specs: Sequence[str], kept: Mapping[str, TaskChoice]) -> list[TaskChoice]:
    """The tasks ``kept`` from before, then those of ``specs`` that are new. Raises UserError for two of one label."""
    return list(merged(TASK_FIELD, specs, parse_task, kept).values())


def refuse_unkept(arms: Sequence[Arm], shared: RlvrConfig) -> None:
    """Refuse noise among the shared settings that every arm replaces by its own. Raises UserError."""
    default = RlvrConfig().noise
    made = [chosen.config(shared).noise for arm in arms for chosen in (arm, chooser(arm, arms)) if chosen is not None]
    if not any(type(one) is type(shared.noise) for one in made):
        if type(shared.noise) is not type(default):
            errors.refuse("noise", spec_of(shared.noise), "left to the arms, each of which sets its own")
        return
    for path, value in _settings(shared.noise).items():
        if value != _settings(default).get(path) and not any(_settings(one).get(path) == value for one in made):
            errors.refuse(f"noise.{path}", value, "left to the arms, each of which sets its own")


def _settings(noise: Any) -> dict[str, Any]:
    """Path -> value of all fields; of a component its name."""
    held = {path: at(noise, path) for path in paths_of(noise)}
    return {path: called(type(one)) if isinstance(one, Component) else one for path, one in held.items()}


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
