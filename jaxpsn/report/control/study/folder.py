"""Read the folder of a study: several arms (exploration rules) on one task and learner, each a run folder of its own.

``study.json`` names the arms, their scales and the threshold; ``arms/LABEL/`` are run folders, complete once they hold
``finished.json``; ``tuning/LABEL/choice.json`` tells how an arm's scale was chosen, on seeds that are not reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpsn.core import errors, shapes
from jaxpsn.report import runs
from jaxpsn.report.runs import Run
from jaxpsn.report.study import folder
from jaxpsn.report.study.folder import FINISHED, Choice, Told, Unit


@dataclass(frozen=True)
class Tuning(Choice):
    """How it was chosen, with S seeds of each value; NaN is unknown, inf in a time is never."""

    seeds: Int[np.ndarray, "v s"]
    final: Float[np.ndarray, "v s"]
    first_reward: Float[np.ndarray, "v s"]
    coverage: Float[np.ndarray, "v s"]


@dataclass(frozen=True)
class Arm:
    """One way to explore: what it is, its run folder, and how its scale was chosen."""

    label: str
    spec: str
    scale: Mapping[str, Any] | None
    told: Told
    tuning: Tuning | None

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
    return Arm(
        label=label,
        spec=str(about.get("spec") or label),
        scale={**scale, "field": folder.leaf(scale.get("field"))} if isinstance(scale, Mapping) else None,
        told=told,
        tuning=_tuning(path / "tuning" / label / "choice.json", notes),
    )


def _tuning(path: Path, notes: list[str]) -> Tuning | None:
    content = folder.optional(path, shapes.CONTROL_CHOICE, notes)
    if not content:
        return None
    try:
        values = np.asarray(content["values"], float)
        shape = (len(values), -1)
        parts = {name: folder.cells(content.get(name), shape) for name in ("final", "first_reward", "coverage")}
        first = content.get("first_reward")
        if first is not None:  # null in a list of times is never; the whole missing is unknown
            parts["first_reward"][np.isnan(parts["first_reward"])] = np.inf
        seeds = np.asarray(content["seeds"], np.int64).reshape(shape)
        if not all(part.shape == seeds.shape for part in parts.values() if part.size) or not values.size:
            raise ValueError("unequal numbers of seeds")
        parts = {name: part if part.size else np.full(seeds.shape, np.nan) for name, part in parts.items()}
        chosen, by = float(content["chosen"]), str(content.get("by") or "final return")
        return Tuning(field=folder.leaf(content["field"]), values=values, seeds=seeds, **parts, chosen=chosen, by=by)
    except (KeyError, TypeError, ValueError) as error:
        notes.append(f"{path.parent.name}: its tuning cannot be read ({type(error).__name__}: {error}).")
        return None
