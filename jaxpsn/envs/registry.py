"""One door to every environment: names, options and time limits. JAX and Brax are imported when something is made."""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxpsn.core import checks, errors, grammar
from jaxpsn.core.components import fields_of, replaced, spec_of
from jaxpsn.envs import brax_names
from jaxpsn.envs.family import ENVS, Environment

_OWN = {
    "sparse_mountain_car": "mountain_car.SparseMountainCar",
    "sparse_mountain_car_light": "mountain_car_light.SparseMountainCarLight",
    "sparse_cartpole_swingup": "cartpole.SparseCartpoleSwingup",
    "sparse_cartpole_swingup_light": "cartpole_light.SparseCartpoleSwingupLight",
    "cartpole_swingup": "cartpole_light.CartpoleSwingup",
    "sparse_double_pendulum": "double_pendulum.SparseDoublePendulum",
    "sparse_double_pendulum_light": "double_pendulum_light.SparseDoublePendulumLight",
    "sparse_halfcheetah": "half_cheetah.SparseHalfCheetah",
    "swimmer_gather": "swimmer_gather.SwimmerGather",
    "probe/constant_reward": "probes.ConstantReward",
    "probe/observation_reward": "probes.ObservationReward",
    "probe/discounting": "probes.Discounting",
    "probe/action": "probes.ActionReward",
    "probe/observation_action": "probes.ObservationActionReward",
    "probe/held_exploration": "probes.HeldExploration",
    "probe/choice_value": "discrete.choice_probes.ChoiceValue",
    "probe/choice_observation_value": "discrete.choice_probes.ChoiceObservationValue",
    "probe/choice_discounting": "discrete.choice_probes.ChoiceDiscounting",
    "probe/choice": "discrete.choice_probes.Choice",
    "probe/observation_choice": "discrete.choice_probes.ObservationChoice",
}
_PLAYGROUND = (
    "AcrobotSwingup", "AcrobotSwingupSparse", "BallInCup", "CartpoleBalance", "CartpoleBalanceSparse",
    "CartpoleSwingup", "CartpoleSwingupSparse", "CheetahRun", "FingerSpin", "FingerTurnEasy", "FingerTurnHard",
    "FishSwim", "HopperHop", "HopperStand", "HumanoidStand", "HumanoidWalk", "HumanoidRun", "PendulumSwingup",
    "PointMass", "ReacherEasy", "ReacherHard", "SwimmerSwimmer6", "WalkerRun", "WalkerStand", "WalkerWalk",
)  # fmt: skip
# The 25 dm_control tasks: they need nothing from the network.


class Named(NamedTuple):
    """What a text such as ``chain(length=20)`` says."""

    name: str
    """As :func:`names` spells it."""
    options: Mapping[str, Any]
    """What is in the brackets, by name: of a component all its fields."""
    component: Environment | None
    """Of a name of :data:`jaxpsn.envs.family.ENVS`."""


def register(name: str, factory: Callable[..., Any], *, episode_length: int) -> None:
    """Let ``name`` stand for the environment that ``factory(**options)`` makes, in runs, studies and their workers.

    It is a `brax.envs.Env` as :func:`make` gives them: ``done`` a true termination, one observation vector, actions in
    [-1, 1] or, where its ``action_space`` is a :class:`jaxpsn.envs.Discrete`, choices; or an environment of gymnax's
    or pgx's interface (:mod:`jaxpsn.envs.foreign`). Arguments of the factory with a number, text or truth value as
    default are its options: ``name(width=3)``. ``episode_length``: its time limit in environment steps, where a config
    names none. For a plugin (``--plugin FILE``). Raises UserError for a taken name.
    """
    checks.whole("episode_length", episode_length, 1, 1 << 24)
    if _plain(name) in {_plain(each) for each in names() if each not in ENVS.kinds}:
        errors.refuse("env", name, "another name, as an environment has it")
    doc = inspect.getdoc(factory) or f"The environment {name}."
    given = inspect.signature(factory).parameters.values()
    fields = {one.name: one.default for one in given if type(one.default) in (bool, int, float, str)}

    def make(self: Any, **options: Any) -> Any:
        return factory(**{field: getattr(self, field) for field in fields}, **options)

    made = {"__module__": factory.__module__, "__qualname__": factory.__qualname__, "__doc__": doc}
    made |= {"__annotations__": {field: type(value) for field, value in fields.items()}, **fields}
    made |= {"limit": episode_length, "make": make}
    ENVS.register(name)(dataclass(frozen=True)(type(factory.__name__, (Environment,), made)))


def names() -> tuple[str, ...]:
    """Every name that :func:`make` takes, sorted (Playground's too, installed or not)."""
    playground = (f"playground/{task}" for task in _PLAYGROUND)
    return tuple(sorted({*brax_names.SUPPORTED, *_OWN, *playground, *ENVS.names()}))


def read(text: str) -> Named:
    """What a text says: a name, whose capitals and underscores do not matter, and options in brackets.

    Raises UserError with the nearest names if there is none such, and for options that a component does not have.
    """
    if not isinstance(text, str):
        errors.refuse("env.name", text, "a name")
    node = grammar.parse("env.name", text)
    head = getattr(node, "name", None) or getattr(node, "text", None)
    if head is None or getattr(node, "quoted", False):
        errors.refuse("env.name", text, "a name, or a name(option=value)")
    name = _known(head)
    given = getattr(node, "fields", ())
    if name in ENVS.names():
        component = ENVS.make(grammar.Call(name, getattr(node, "values", ()), given), "env.name")
        return Named(name, {one.name: getattr(component, one.name) for one in fields_of(type(component))}, component)
    if getattr(node, "values", ()):
        errors.refuse("env.name", text, f"options of {name} by their names: {name}(option=value)")
    if "backend" in dict(given):
        errors.refuse("env.name", text, "backend by itself, as env.backend")
    return Named(name, {field: _value(value) for field, value in given}, None)


def canonical(text: str) -> str:
    """``text`` as :func:`names` spells it, with its options. Raises UserError as :func:`read` does."""
    found = read(text)
    if found.component is not None:
        return spec_of(found.component)
    told = ", ".join(f"{field}={value}" for field, value in found.options.items())
    return f"{found.name}({told})" if told else found.name


def slug(text: str) -> str:
    """``text`` as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")


def make(text: str, backend: str | None = None, **options: Any) -> Any:
    """One raw environment: a `brax.envs.Env`, whose ``done`` is true termination only.

    ``text``: a Brax environment (``halfcheetah``), a dm_control task of MuJoCo Playground (``playground/BallInCup``),
    one of the paper's sparse tasks (``sparse_mountain_car``), an easier relative (``sparse_mountain_car_light``),
    ``cartpole_swingup``, a probe (``probe/action``), a task with discrete actions (``deep_sea(size=20)``) or one that
    was registered. Actions are in [-1, 1], or choices (:func:`jaxpsn.envs.space_of`).
    ``backend``: Brax's physics, for Brax environments and ``sparse_halfcheetah``. ``options`` go to the environment, as
    those in brackets do. Raises UserError for anything it cannot make.
    """
    found = read(text)
    name = found.name
    check(name, backend)
    if found.component is not None:
        known = {field: value for field, value in options.items() if field in found.options}
        rest = {field: value for field, value in options.items() if field not in known}
        component = replaced(found.component, known, "env")
        return _module("given").checked(component.make(**rest), component.limit)
    options = {**found.options, **options}
    if name in brax_names.SUPPORTED:
        return _module("brax_door").make(name, backend, **options)
    if name == "sparse_halfcheetah":
        options["backend"] = "spring" if backend is None else backend
    if name.startswith("playground/"):
        return _module("playground_door").make(name.split("/")[1], **options)
    module, kind = _OWN[name].rsplit(".", 1)
    kind = getattr(_module(module), kind)
    known = set(inspect.signature(kind).parameters)
    for option in set(options) - known:
        errors.refuse(f"env.{option}", options[option], f"{name} has no such option")
    return kind(**options)


def check(text: str, backend: str | None = None) -> None:
    """Refuse a name that there is not, and a backend that it does not run on; imports no JAX where all is well."""
    name = read(text).name
    if name == "sparse_halfcheetah" or name in brax_names.SUPPORTED:
        robot = name.removeprefix("sparse_")
        brax_names.check_backend(robot, brax_names.default_backend(robot) if backend is None else backend)
    elif backend is not None:
        errors.refuse("env.backend", backend, f"leave it out: {name} has a single physics")


def default_episode_length(text: str) -> int:
    """The time limit of a task in environment steps, where a config names none.

    1000 for Brax and Playground, 500 for the sparse tasks (paper) and ``cartpole_swingup``, 50 for the held-exploration
    probe, 10 for the others; a component says its own.
    """
    name, _, component = read(text)
    if component is not None:
        return component.limit
    if name.startswith("probe/"):
        return 50 if name == "probe/held_exploration" else 10
    return 500 if name in _OWN else 1000


def _known(head: str) -> str:
    known = {_plain(each): each for each in names()}
    found = known.get(_plain(head))
    if found is None:
        _refuse_other_playground(head)
        errors.refuse("env.name", head, errors.nearest(head.lower(), names()))
    return found


def _value(node: grammar.Node) -> Any:
    """An option of an environment that has no fields to say what it is: a number, a truth value, a text, a tuple."""
    if isinstance(node, grammar.Group):
        return tuple(_value(item) for item in node.items)
    text = grammar.write(node)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), text.strip("\"'"))


def _module(name: str) -> Any:
    return importlib.import_module(f"jaxpsn.envs.{name}")


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _refuse_other_playground(name: str) -> None:
    if name.lower().startswith("playground/"):
        _module("playground_door").refuse_other(name)
