"""Read the folder of a study: several arms (exploration rules) on one task and learner, each a run folder of its own.

``study.json`` names the arms, their scales and the threshold; ``arms/LABEL/`` are run folders, complete once they hold
``finished.json``; ``tuning/LABEL/choice.json`` tells how an arm's scale was chosen, on seeds that are not reported.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpsn import errors
from jaxpsn.analysis import runs, text
from jaxpsn.analysis.runs import Run

FORMAT = 1
FINISHED, RUNNING, FAILED, MISSING = "finished", "unfinished", "failed", "missing"
_NOT_FINITE = "not finite"  # how the run loop's last event begins where NaN or infinity stopped it


@dataclass(frozen=True)
class Tuning:
    """How the scale of an arm was chosen among V values, S seeds each; NaN is unknown, inf in a time is never."""

    field: str
    values: Float[np.ndarray, "v"]
    seeds: Int[np.ndarray, "v s"]
    final: Float[np.ndarray, "v s"]
    first_reward: Float[np.ndarray, "v s"]
    coverage: Float[np.ndarray, "v s"]
    chosen: float
    by: str

    @property
    def at_an_end(self) -> bool:
        """Whether the chosen value is the smallest or the largest that was tried."""
        return len(self.values) > 1 and self.chosen in (self.values.min(), self.values.max())


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
    path = Path(folder)
    content = _json(path / "study.json", folder)
    if content.get("format") != FORMAT:
        errors.refuse("format", content.get("format"), f"a study of format {FORMAT}")
    arms = content.get("arms")
    if not isinstance(arms, dict) or not arms or not all(isinstance(arm, dict) for arm in arms.values()):
        errors.refuse("arms", arms, "an object with at least one arm")
    threshold = content.get("threshold")
    if threshold is not None and not _is_real(threshold):
        errors.refuse("threshold", threshold, "null or a number")
    notes: list[str] = []
    found = tuple(_arm(path, label, about, notes) for label, about in arms.items())
    return Study(path, content, found, None if threshold is None else float(threshold), tuple(notes))


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _json(path: Path, folder: str | Path) -> dict[str, Any]:
    if not path.is_file():
        errors.refuse("study folder", str(folder), "a folder with study.json, written by experiments/compare.py")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise errors.UserError(f"{path}: a JSON object is expected")
    return content


def _arm(path: Path, label: str, about: Mapping[str, Any], notes: list[str]) -> Arm:
    if label != Path(label).name or label in ("", ".", ".."):
        errors.refuse("arm", label, "a label that is the name of a folder")
    folder = path / "arms" / label
    run, status, detail = None, MISSING, "not started"
    if (folder / "metrics.csv").is_file():
        try:
            run = runs.read(folder)
            status, detail = _progress(run)
        except errors.UserError as error:
            detail = "no rows yet" if "no metrics yet" in str(error) else str(error)
    done, failed = (_optional(folder / name, notes) for name in ("finished.json", "failed.json"))
    if run is not None and done:
        status, detail = FINISHED, ""
    elif failed:
        status, detail = FAILED, str(failed.get("reason", detail))
    scale = about.get("scale")
    return Arm(
        label=label,
        spec=str(about.get("spec") or label),
        settings=_mapping(about.get("exploration")),
        scale={**scale, "field": _leaf(scale.get("field"))} if isinstance(scale, Mapping) else None,
        status=status,
        detail=detail,
        run=run,
        seconds=_seconds(run, done),
        versions=tuple(_versions(run, done)),
        tuning=_tuning(path / "tuning" / label / "choice.json", notes),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _optional(path: Path, notes: list[str]) -> Mapping[str, Any]:
    """A JSON object that may be missing; one that cannot be read is noted and counts as missing."""
    if not path.is_file():
        return {}
    try:
        return _json(path, path.parent)
    except errors.UserError as error:
        notes.append(f"{error}; it is left out.")
        return {}


def _progress(run: Run) -> tuple[str, str]:
    """Status and detail of an arm that is not complete, from its last stop."""
    step, budget = float(run.columns["step"].max()), runs.setting(run.config, "run.steps")
    made = f"{text.count(step)} of {text.count(budget)} steps" if _is_real(budget) else f"{text.count(step)} steps"
    stops = [str(event.get("detail", "")) for event in run.events if event.get("event") == "stop"]
    if stops and stops[-1].startswith(_NOT_FINITE):
        return FAILED, stops[-1].split(";")[0]
    return RUNNING, made


def _seconds(run: Run | None, done: Mapping[str, Any]) -> float:
    if _is_real(done.get("seconds")):
        return float(done["seconds"])
    series = None if run is None else run.series("seconds")
    return float("nan") if series is None else float(np.nanmax(series.values))


def _versions(run: Run | None, done: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    sessions = runs.setting(run.config, "sessions") if run is not None else None
    sources = [*sessions] if isinstance(sessions, list) else []
    if run is not None and not sources:
        sources.append(run.config)
    for source in (*sources, done):
        versions = source.get("versions") if isinstance(source, Mapping) else None
        if isinstance(versions, Mapping) and versions:
            yield {str(name): str(version) for name, version in versions.items()}


def unlike_versions(arms: Sequence[Arm]) -> dict[str, dict[str, list[str]]]:
    """Packages of which arms were made with different versions: package -> version -> labels."""
    found: dict[str, dict[str, list[str]]] = {}
    for arm in arms:
        for session in arm.versions:
            for package, version in session.items():
                labels = found.setdefault(package, {}).setdefault(version, [])
                if arm.label not in labels:
                    labels.append(arm.label)
    return {package: versions for package, versions in found.items() if len(versions) > 1}


def _tuning(path: Path, notes: list[str]) -> Tuning | None:
    content = _optional(path, notes)
    if not content:
        return None
    try:
        values = np.asarray(content["values"], float)
        shape = (len(values), -1)
        parts = {name: _cells(content.get(name), shape) for name in ("final", "first_reward", "coverage")}
        first = content.get("first_reward")
        if first is not None:  # null in a list of times is never; the whole missing is unknown
            parts["first_reward"][np.isnan(parts["first_reward"])] = np.inf
        seeds = np.asarray(content["seeds"], np.int64).reshape(shape)
        if not all(part.shape == seeds.shape for part in parts.values() if part.size) or not values.size:
            raise ValueError("unequal numbers of seeds")
        parts = {name: part if part.size else np.full(seeds.shape, np.nan) for name, part in parts.items()}
        chosen, by = float(content["chosen"]), str(content.get("by") or "final return")
        return Tuning(field=_leaf(content["field"]), values=values, seeds=seeds, **parts, chosen=chosen, by=by)
    except (KeyError, TypeError, ValueError) as error:
        notes.append(f"{path.parent.name}: its tuning cannot be read ({type(error).__name__}: {error}).")
        return None


def _leaf(field: Any) -> str:
    """A setting by its own name: exploration.target is target."""
    return str(field).rpartition(".")[2]


def _cells(values: Any, shape: tuple[int, int]) -> Float[np.ndarray, "v s"]:
    """A table of numbers, null as NaN; an empty one where there is none."""
    if values is None:
        return np.zeros((shape[0], 0))
    return np.array([[np.nan if cell is None else float(cell) for cell in row] for row in values]).reshape(shape)
