"""Read the folder of a reasoning study: several arms (ways to explore) on several tasks, a run folder for each seed.

``study.json`` names tasks and arms. Of a task, ``tasks/TASK/base/`` holds the evaluation of the policy that all arms
start from, ``tasks/TASK/arms/ARM/SEED/`` the run folders, complete once they hold ``finished.json``, and
``tasks/TASK/tuning/ARM/choice.json`` how an arm's scale was chosen, on problems that are not reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from jaxpsn.core import errors, shapes
from jaxpsn.report.runs import Run
from jaxpsn.report.study import folder
from jaxpsn.report.study.folder import FINISHED, RUNNING, Choice, Told, Unit
from jaxpsn.stats import comparison, evaluations
from jaxpsn.stats.evaluations import Evaluation


@dataclass(frozen=True)
class Trained:
    """One complete seed of an arm on a task: its rows, and how the policy that it trained was judged."""

    seed: int
    told: Told
    run: Run
    evaluation: Evaluation

    @property
    def scale(self) -> float | None:
        """The scale at which it ran, as ``finished.json`` tells it."""
        value = folder.mapping(self.told.done.get("scale")).get("value")
        return float(value) if folder.is_real(value) else None


@dataclass(frozen=True)
class Cell:
    """One arm on one task: its seeds that are complete, and those that are not yet."""

    task: str
    arm: str
    finished: tuple[Trained, ...]
    others: tuple[tuple[int, Told], ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are complete."""
        return tuple(one.seed for one in self.finished)

    @property
    def units(self) -> tuple[Unit, ...]:
        """Its run folders, the complete ones first."""
        found = [*((one.seed, one.told) for one in self.finished), *self.others]
        return tuple(Unit(self.task, self.arm, f"{self.task}/{self.arm}/{seed}", told) for seed, told in found)


@dataclass(frozen=True)
class Arm:
    """One way to explore: what it is called, what it changes of the shared settings, and which scale it has."""

    label: str
    spec: str
    changes: Mapping[str, Any]
    scale: Mapping[str, Any] | None


@dataclass(frozen=True)
class Task:
    """One family of problems, and how the policy that all arms start from does on them, None if it is not judged."""

    label: str
    spec: str
    base: Evaluation | None


@dataclass(frozen=True)
class Study(folder.Study):
    """A study of reasoning: its tasks and arms in their order, and a cell for each pair."""

    tasks: tuple[Task, ...]
    arms: tuple[Arm, ...]
    cells: Mapping[tuple[str, str], Cell]
    """(task, arm) -> cell."""
    tunings: Mapping[tuple[str, str], Choice]
    """(task, arm) -> how its scale was chosen; also of arms that only choose for others."""

    @property
    def seeds(self) -> int | None:
        """Seeds that each arm is to have, None if the study does not say."""
        count = folder.mapping(self.content.get("study")).get("seeds")
        return count if isinstance(count, int) and not isinstance(count, bool) else None


def read(path: Path, content: Mapping[str, Any]) -> Study:
    """Read the folder of a study whose ``study.json`` holds ``content``, finished or not.

    Raises UserError, in one line that names the file, if an evaluation is malformed, if a complete run is not judged
    on the problems of its task's base, or if that base is missing.
    """
    notes: list[str] = []
    arms = tuple(_arm(label, about) for label, about in content["arms"].items())
    tasks = tuple(
        Task(label, str(about.get("spec") or label), _base(path / "tasks" / label))
        for label, about in folder.objects("tasks", content.get("tasks")).items()
    )
    cells = {(task.label, arm.label): _cell(path / "tasks" / task.label, task, arm, notes)
             for task in tasks for arm in arms}  # fmt: skip
    tunings = {}
    for task in tasks:
        files = (path / "tasks" / task.label / "tuning").glob("*/choice.json")
        for file in sorted(files, key=partial(_place, [arm.label for arm in arms])):
            who = f"{task.label}, {file.parent.name}"
            tuning = folder.choice(file, shapes.REASONING_CHOICE, ("scores",), notes, who)
            tunings |= {} if tuning is None else {(task.label, file.parent.name): tuning}
    found = tuple(unit for cell in cells.values() for unit in cell.units)
    return Study(path, content, found, tuple(dict.fromkeys(notes)), tasks, arms, cells, tunings)


def _place(order: Sequence[str], file: Path) -> tuple[int, str]:
    """Tunings in the order of their arms, those of arms that only choose for others at the end."""
    label = file.parent.name
    return order.index(label) if label in order else len(order), label


def _arm(label: str, about: Mapping[str, Any]) -> Arm:
    scale = about.get("scale")
    scale = scale if isinstance(scale, Mapping) else None
    return Arm(label, str(about.get("spec") or label), folder.mapping(about.get("changes")), scale)


def _base(place: Path) -> Evaluation | None:
    file = evaluations.path(place / "base", evaluations.BASE)
    return evaluations.read(file) if file.is_file() else None


def _cell(place: Path, task: Task, arm: Arm, notes: list[str]) -> Cell:
    finished, others = [], []
    places = [path for path in (place / "arms" / arm.label).glob("*") if path.is_dir() and path.name.isdecimal()]
    for path in sorted(places, key=lambda path: int(path.name)):
        told, file = folder.told(path, notes), evaluations.path(path, evaluations.TRAINED)
        if told.run is not None and told.status == FINISHED and file.is_file():
            base = task.base or _refuse_no_base(place, path)
            finished.append(Trained(int(path.name), told, told.run, _judged(file, base)))
            unlike = comparison.unlike(finished[-1].evaluation, base)
            notes += [f"{task.label}, {arm.label}: {line}" for line in unlike]
        else:
            why = f"{file.name} is missing" if told.status == FINISHED else told.detail
            status = RUNNING if told.status == FINISHED else told.status
            others.append((int(path.name), replace(told, status=status, detail=why)))
    return Cell(task.label, arm.label, tuple(finished), tuple(others))


def _judged(file: Path, base: Evaluation) -> Evaluation:
    """An evaluation on the problems of its task, in the order of the base's."""
    found = evaluations.read(file)
    try:
        comparison.refuse_other_problems(found, base)
    except errors.UserError as error:
        raise errors.UserError(f"{file}: not the problems of its base: {error}") from None
    return found.select(base.ids)


def _refuse_no_base(place: Path, path: Path) -> NoReturn:
    missing = evaluations.path(place / "base", evaluations.BASE)
    raise errors.UserError(f"{missing}: missing, so that {path} cannot be compared to the policy it started from")
