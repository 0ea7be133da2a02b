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
from jaxpsn.report.study import files
from jaxpsn.report.study.files import FINISHED, Choice


@dataclass(frozen=True)
class Tuning(Choice):
    """How it was chosen, with S seeds of each value; NaN is unknown, inf in a time is never."""

    seeds: Int[np.ndarray, "v s"]
    final: Float[np.ndarray, "v s"]
    first_reward: Float[np.ndarray, "v s"]
    coverage: Float[np.ndarray, "v s"]


@dataclass(frozen=True)
class Arm:
    """One way to explore: what it is, how far it got, and its run, None where there is nothing to read."""

    label: str
    spec: str
    settings: Mapping[str, Any]
    scale: Mapping[str, Any] | None
    status: str
    """finished, unfinished, failed or missing."""
    detail: str
    """Why it is not finished, in words."""
    run: Run | None
    seconds: float
    """Wall time of all seeds together, NaN if unknown."""
    versions: tuple[Mapping[str, str], ...]
    """Of every session that made it."""
    tuning: Tuning | None

    @property
    def finished(self) -> bool:
        """Whether all steps of all seeds were made."""
        return self.status == FINISHED and self.run is not None

    @property
    def perturbs_weights(self) -> bool:
        """Whether it moves weights, so that there is a sigma to show."""
        return self.run is not None and self.run.series("sigma") is not None


@dataclass(frozen=True)
class Study:
    """A study as read: its arms in their order, and what had to be tolerated."""

    path: Path
    content: Mapping[str, Any]
    arms: tuple[Arm, ...]
    threshold: float | None
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the study."""
        return str(self.content.get("name") or self.path.resolve().name)

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(runs.setting(self.content.get("control") or {}, "env.name") or "unknown task")

    @property
    def shown(self) -> tuple[Arm, ...]:
        """The arms that have rows."""
        return tuple(arm for arm in self.arms if arm.run is not None)


def read(folder: str | Path) -> Study:
    """Read the folder of a study. Raises UserError, in one line, if it is none or if ``study.json`` is malformed.

    An arm that is missing, unfinished, failed or unreadable, and a tuning that cannot be read, are kept as such.
    """
    path, content = Path(folder), files.study(folder, "control")
    threshold = content.get("threshold")
    if threshold is not None and not files.is_real(threshold):
        errors.refuse("threshold", threshold, "null or a number")
    notes: list[str] = []
    found = tuple(_arm(path, label, about, notes) for label, about in content["arms"].items())
    return Study(path, content, found, None if threshold is None else float(threshold), tuple(notes))


def _arm(path: Path, label: str, about: Mapping[str, Any], notes: list[str]) -> Arm:
    told = files.told(path / "arms" / label, notes)
    scale = about.get("scale")
    return Arm(
        label=label,
        spec=str(about.get("spec") or label),
        settings=files.mapping(about.get("explore") or about.get("exploration")),
        scale={**scale, "field": files.leaf(scale.get("field"))} if isinstance(scale, Mapping) else None,
        status=told.status,
        detail=told.detail,
        run=told.run,
        seconds=told.seconds,
        versions=told.versions,
        tuning=_tuning(path / "tuning" / label / "choice.json", notes),
    )


def _tuning(path: Path, notes: list[str]) -> Tuning | None:
    content = files.optional(path, shapes.CONTROL_CHOICE, notes)
    if not content:
        return None
    try:
        values = np.asarray(content["values"], float)
        shape = (len(values), -1)
        parts = {name: files.cells(content.get(name), shape) for name in ("final", "first_reward", "coverage")}
        first = content.get("first_reward")
        if first is not None:  # null in a list of times is never; the whole missing is unknown
            parts["first_reward"][np.isnan(parts["first_reward"])] = np.inf
        seeds = np.asarray(content["seeds"], np.int64).reshape(shape)
        if not all(part.shape == seeds.shape for part in parts.values() if part.size) or not values.size:
            raise ValueError("unequal numbers of seeds")
        parts = {name: part if part.size else np.full(seeds.shape, np.nan) for name, part in parts.items()}
        chosen, by = float(content["chosen"]), str(content.get("by") or "final return")
        return Tuning(field=files.leaf(content["field"]), values=values, seeds=seeds, **parts, chosen=chosen, by=by)
    except (KeyError, TypeError, ValueError) as error:
        notes.append(f"{path.parent.name}: its tuning cannot be read ({type(error).__name__}: {error}).")
        return None
