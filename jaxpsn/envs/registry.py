"""One door to every environment: names, options and time limits. JAX and Brax are imported when something is made."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxpsn.core import checks, errors
from jaxpsn.core.components import Component
from jaxpsn.core.families import Family
from jaxpsn.envs import brax_names

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
}
_PLAYGROUND = (
    "AcrobotSwingup", "AcrobotSwingupSparse", "BallInCup", "CartpoleBalance", "CartpoleBalanceSparse",
    "CartpoleSwingup", "CartpoleSwingupSparse", "CheetahRun", "FingerSpin", "FingerTurnEasy", "FingerTurnHard",
    "FishSwim", "HopperHop", "HopperStand", "HumanoidStand", "HumanoidWalk", "HumanoidRun", "PendulumSwingup",
    "PointMass", "ReacherEasy", "ReacherHard", "SwimmerSwimmer6", "WalkerRun", "WalkerStand", "WalkerWalk",
)  # fmt: skip
# The 25 dm_control tasks: they need nothing from the network.


class Environment(Component):
    """An environment of one's own, by its name; see :func:`register`."""

    limit: ClassVar[int] = 1000
    """Its time limit in environment steps."""

    def make(self, **options: Any) -> Any:
        """The environment."""
        raise NotImplementedError


ENVS: Family[Environment] = Family("env", Environment, doc="Environments of one's own, beside those that come along.")


def register(name: str, factory: Callable[..., Any], *, episode_length: int) -> None:
    """Let ``name`` stand for the environment that ``factory(**options)`` makes, in runs, studies and their workers.

    It is a `brax.envs.Env` as :func:`make` gives them: ``done`` a true termination, actions in [-1, 1], one observation
    vector. ``episode_length``: its time limit in environment steps, where a config names none. For a plugin
    (``--plugin FILE``). Raises UserError for a taken name.
    """
    checks.whole("episode_length", episode_length, 1, 1 << 24)
    if _plain(name) in {_plain(each) for each in names() if each not in ENVS.kinds}:
        errors.refuse("env", name, "another name, as an environment has it")
    doc = inspect.getdoc(factory) or f"The environment {name}."
    made = {"__module__": factory.__module__, "__qualname__": factory.__qualname__, "__doc__": doc}
    made |= {"limit": episode_length, "make": lambda self, **options: factory(**options)}
    ENVS.register(name)(dataclass(frozen=True)(type(factory.__name__, (Environment,), made)))


def names() -> tuple[str, ...]:
    """Every name that :func:`make` takes, sorted (Playground's too, installed or not)."""
    playground = (f"playground/{task}" for task in _PLAYGROUND)
    return tuple(sorted({*brax_names.SUPPORTED, *_OWN, *playground, *ENVS.names()}))


def canonical(name: str) -> str:
    """``name`` as :func:`names` spells it; capitals and underscores do not matter.

    Raises UserError with the nearest names if there is none such.
    """
    if not isinstance(name, str):
        errors.refuse("env.name", name, "a name")
    known = {_plain(each): each for each in names()}
    found = known.get(_plain(name))
    if found is None:
        _refuse_other_playground(name)
        errors.refuse("env.name", name, errors.nearest(name.lower(), names()))
    return found


def make(name: str, backend: str | None = None, **options: Any) -> Any:
    """One raw environment: a `brax.envs.Env`, actions in [-1, 1], whose ``done`` is true termination only.

    ``name``: a Brax environment (``halfcheetah``), a dm_control task of MuJoCo Playground (``playground/BallInCup``),
    one of the paper's sparse tasks (``sparse_mountain_car``), an easier relative (``sparse_mountain_car_light``),
    ``cartpole_swingup`` or a probe (``probe/action``).
    ``backend``: Brax's physics, for Brax environments and ``sparse_halfcheetah``. ``options`` go to the environment.
    Raises UserError for anything it cannot make.
    """
    name = canonical(name)
    if name in brax_names.SUPPORTED:
        return _module("brax_door").make(name, backend, **options)
    check(name, backend)
    if name in ENVS.kinds:
        env = ENVS.kinds[name]().make(**options)
        _module("given").check(env, ENVS.kinds[name].limit)
        return env
    if name == "sparse_halfcheetah":
        options["backend"] = "spring" if backend is None else backend
    if name.startswith("playground/"):
        return _module("playground_door").make(name.split("/")[1], **options)
    module, kind = _OWN[name].split(".")
    kind = getattr(_module(module), kind)
    known = set(inspect.signature(kind).parameters)
    for option in set(options) - known:
        errors.refuse(f"env.{option}", options[option], f"{name} has no such option")
    return kind(**options)


def check(name: str, backend: str | None = None) -> None:
    """Refuse a name that there is not, and a backend that it does not run on; imports no JAX where all is well."""
    name = canonical(name)
    if name == "sparse_halfcheetah" or name in brax_names.SUPPORTED:
        robot = name.removeprefix("sparse_")
        brax_names.check_backend(robot, brax_names.default_backend(robot) if backend is None else backend)
    elif backend is not None:
        errors.refuse("env.backend", backend, f"leave it out: {name} has a single physics")


def default_episode_length(name: str) -> int:
    """The time limit of a task in environment steps, where a config names none.

    1000 for Brax and Playground, 500 for the sparse tasks (paper) and ``cartpole_swingup``, 50 for the held-exploration
    probe, 10 for the others.
    """
    name = canonical(name)
    if name in ENVS.kinds:
        return ENVS.kinds[name].limit
    if name.startswith("probe/"):
        return 50 if name == "probe/held_exploration" else 10
    return 500 if name in _OWN else 1000


def _module(name: str) -> Any:
    return importlib.import_module(f"jaxpsn.envs.{name}")


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _refuse_other_playground(name: str) -> None:
    if name.lower().startswith("playground/"):
        _module("playground_door").refuse_other(name)
