"""Read the folder of a study: several arms (exploration rules) on one task and learner, each a run folder of its own.

``study.json`` names the arms, their scales and the threshold; ``arms/LABEL/`` are run folders, complete once they hold
``finished.json``; ``tuning/LABEL/choice.json`` tells how an arm's scale was chosen, on seeds that are not reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxpsn.core import errors, shapes
from jaxpsn.report import runs
from jaxpsn.report.runs import Run
from jaxpsn.report.study import folder
from jaxpsn.report.study.folder import FINISHED, Choice, Told, Unit

TRIED = ("final", "first_reward", "coverage")
"""Scores of a scale that was tried."""


@dataclass(frozen=True)
class Arm:
    """One way to explore: what it is, its run folder, and how its scale was chosen."""

    label: str
    spec: str
    scale: Mapping[str, Any] | None
    told: Told
    tuning: Choice | None

    @property
    def run(self) -> Run | None:
        """Its run, None where there is nothing to read."""
        return self.told.run

    @property
    def finished(self) -> bool:
        """Whether all steps of all seeds were made."""
        return self.told.status == FINISHED and self.run is not None

    @property
    def perturbs_weights(self) -> bool:
        """Whether it moves weights, so that there is a sigma to show."""
        return self.run is not None and self.run.series("sigma") is not None


@dataclass(frozen=True)
class Study(folder.Study):
    """A study of control: its arms in their order, and the return that counts as solved."""

    arms: tuple[Arm, ...]
    threshold: float | None

    @property
    def task(self) -> str:
        """The name of the task."""
        return runs.named(self.content.get("control") or {}, "env") or "unknown task"

    @property
    def shown(self) -> tuple[Arm, ...]:
        """The arms that have rows."""
        return tuple(arm for arm in self.arms if arm.run is not None)


def read(path: Path, content: Mapping[str, Any]) -> Study:
    """Read the folder of a study whose ``study.json`` holds ``content``. Raises UserError for a threshold that is none.

    An arm that is missing, unfinished, failed or unreadable, and a tuning that cannot be read, are kept as such.
    """
    threshold = content.get("threshold")
    if threshold is not None and not folder.is_real(threshold):
        errors.refuse("threshold", threshold, "null or a number")
    notes: list[str] = []
    arms = tuple(_arm(path, label, about, notes) for label, about in content["arms"].items())
    task = runs.named(content.get("control") or {}, "env")
    units = tuple(Unit(task, arm.label, arm.label, arm.told) for arm in arms)
    return Study(path, content, units, tuple(notes), arms, None if threshold is None else float(threshold))


def _arm(path: Path, label: str, about: Mapping[str, Any], notes: list[str]) -> Arm:
    told, scale = folder.told(path / "arms" / label, notes), about.get("scale")
    file = path / "tuning" / label / "choice.json"
    tuning = folder.choice(file, shapes.CONTROL_CHOICE, TRIED, notes, label)
    return Arm(
        label=label,
        spec=str(about.get("spec") or label),
        scale={**scale, "field": folder.leaf(scale.get("field"))} if isinstance(scale, Mapping) else None,
        told=told,
        tuning=None if tuning is None else replace(tuning, field=folder.leaf(tuning.field)),
    )
