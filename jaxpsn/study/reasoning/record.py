"""The folder of a reasoning study: its layout, its lock, its record of arms and tasks; imports no JAX."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxpsn.core import errors, files, plugins, shapes
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.run import command, folder
from jaxpsn.study.control.record import CHOICE, FINISHED, FORMAT, STUDY, occupied, place
from jaxpsn.study.control.record import read as read_study
from jaxpsn.study.reasoning import arms as arm_specs
from jaxpsn.study.reasoning.arms import Arm, TaskChoice
from jaxpsn.study.reasoning.config import MAY_CHANGE, ReasoningStudyConfig

KIND = "reasoning"


@dataclass
class Study:
    """A study folder and what its ``study.json`` holds."""

    path: Path
    shared: RlvrConfig
    """What all arms start from."""
    config: ReasoningStudyConfig
    arms: list[Arm]
    tasks: list[TaskChoice]
    resumed: bool = False
    notes: tuple[str, ...] = ()
    sessions: list[dict[str, Any]] = field(default_factory=list)

    def base(self, task: str) -> Path:
        """The folder of a task's base and its evaluation."""
        return self.path / "tasks" / task / arm_specs.BASE

    def run(self, task: str, arm: str, seed: int) -> Path:
        """The run folder of one reported seed."""
        return self.path / "tasks" / task / "arms" / arm / str(seed)

    def tuning(self, task: str, arm: str) -> Path:
        """The folder of the runs that chose an arm's scale."""
        return self.path / "tasks" / task / "tuning" / arm

    def log(self, unit: str) -> Path:
        """What the worker of a unit wrote to stderr."""
        return self.path / "logs" / f"{unit}.log"

    @property
    def seeds(self) -> range:
        """The reported seeds."""
        return range(self.config.seed, self.config.seed + self.config.seeds)

    def arm(self, label: str) -> Arm:
        """The arm of that label: of the study, or a named one that only chooses a scale."""
        return next((one for one in self.arms if one.label == label), None) or arm_specs.parse(label)

    def task(self, label: str) -> TaskChoice:
        """The task of that label."""
        return next(one for one in self.tasks if one.label == label)

    def choice(self, task: str, arm: Arm) -> float | None:
        """The value of an arm's scale on a task: what was tuned, or the arm's own; None without a scale."""
        if arm.scale is None:
            return None
        chooser = arm_specs.chooser(arm, self.arms)
        tuned = self.chosen(task, chooser.label) if self.config.tune else None
        if tuned is None and self.config.tune:
            raise FileNotFoundError(f"{self.tuning(task, chooser.label) / CHOICE}: nothing was chosen yet")
        section, _, name = arm.scale.field.partition(".")
        own = getattr(getattr(chooser.config(self.shared), section), name)
        return arm.scale.factor * (own if tuned is None else tuned["chosen"])

    def chosen(self, task: str, arm: str) -> dict[str, Any] | None:
        """``choice.json`` of an arm's tuning, None before it is made."""
        return shapes.optional(self.tuning(task, arm) / CHOICE, shapes.REASONING_CHOICE)

    def finished(self, path: Path) -> dict[str, Any] | None:
        """``finished.json`` of a run or a base that is complete, None otherwise."""
        return shapes.optional(path / FINISHED, shapes.FINISHED)

    def write(self) -> None:
        """Write ``study.json``, in one move."""
        asked = {"arms": tuple(one.spec for one in self.arms), "tasks": tuple(one.spec for one in self.tasks)}
        content = {
            "format": FORMAT,
            "kind": KIND,
            "name": self.path.name,
            "shared": folder.plain(self.shared),
            "study": folder.plain(replace(self.config, **asked)),
            "tasks": {one.label: one.record() for one in self.tasks},
            "arms": {one.label: one.record() for one in self.arms},
            "plugins": plugins.loaded(),
            "versions": folder.versions(),
            "command": sys.argv,
            "sessions": self.sessions,
        }
        files.write_atomically(self.path / STUDY, json.dumps(content, indent=2) + "\n")


def read(path: str | Path) -> dict[str, Any]:
    """The study.json of a reasoning study. Raises UserError if there is none, or of another kind or format."""
    return read_study(path, KIND)


def restore(record: Mapping[str, Any]) -> tuple[RlvrConfig, ReasoningStudyConfig]:
    """The settings of a study.json, after its plugins are loaded."""
    plugins.require(record.get("plugins", ()))
    study = command.from_record(ReasoningStudyConfig, record["study"])
    # A folder goes on where it lies, whatever it was first asked to be called or to overwrite.
    study = replace(study, name=None, resume=None, overwrite=False)
    return command.from_record(RlvrConfig, record["shared"]), study


def load(path: Path) -> Study:
    """The study of a folder, without claiming it: for workers."""
    content = read(path)
    with errors.within(path / STUDY):
        shared, config = restore(content)
        arms, tasks = _arms(content), _tasks(content)
    return Study(path, shared, config, arms, tasks, True, (), content["sessions"])


def _arms(record: Mapping[str, Any]) -> list[Arm]:
    return [Arm.restore(label, about) for label, about in record["arms"].items()]


def _tasks(record: Mapping[str, Any]) -> list[TaskChoice]:
    return [TaskChoice(label, **about) for label, about in record["tasks"].items()]


def plan(shared: RlvrConfig, config: ReasoningStudyConfig) -> tuple[list[Arm], list[TaskChoice]]:
    """The arms and tasks to make, those of the resumed folder first.

    Raises UserError for what cannot be, before any writing: unknown arms and tasks, settings that arms own, arms that
    the shared settings do not allow, and a resumed study of other settings.
    """
    default = RlvrConfig()
    for name, owner in (("task", "tasks"), ("data", "tasks")):
        if getattr(shared, name) != getattr(default, name):
            errors.refuse(name, str(getattr(shared, name)), f"left to the {owner} (--study.{owner})")
    kept_arms: dict[str, Arm] = {}
    kept_tasks: dict[str, TaskChoice] = {}
    if config.resume is not None:
        record = read(place(config))
        _refuse_other_settings(record, shared, config)
        with errors.within(place(config) / STUDY):
            kept_arms = {arm.label: arm for arm in _arms(record)}
            kept_tasks = {task.label: task for task in _tasks(record)}
    arms = arm_specs.resolve(config.arms, config.grid, kept_arms)
    tasks = arm_specs.resolve_tasks(config.tasks, kept_tasks)
    for arm in arms:
        arm_specs.check(arm, shared)
        chooser = arm_specs.chooser(arm, arms)
        if chooser is not None:
            arm_specs.check(chooser, shared)
    return arms, tasks


def _refuse_other_settings(record: Mapping[str, Any], shared: RlvrConfig, config: ReasoningStudyConfig) -> None:
    def fixed(shared: RlvrConfig, asked: ReasoningStudyConfig) -> dict[str, Any]:
        kept = {name: value for name, value in folder.plain(asked).items() if name not in MAY_CHANGE}
        return folder.plain(shared) | {"study": kept}

    found = folder.differences(fixed(*restore(record)), fixed(shared, config))
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        errors.refuse("resume", config.resume, f"made with other settings: {', '.join(found[:3])}{more}")


@contextlib.contextmanager
def claim(
    shared: RlvrConfig, config: ReasoningStudyConfig, arms: list[Arm], tasks: list[TaskChoice]
) -> Iterator[Study]:
    """The study folder, locked for this process: a new one, or the one to resume; ``study.json`` is written.

    Raises UserError if the folder exists (without ``overwrite``), is in use, or cannot be written.
    """
    with occupied(config, "study-reasoning", KIND) as (path, sessions, notes):
        study = Study(path, shared, config, arms, tasks, config.resume is not None, notes, sessions)
        study.write()
        yield study
