"""Read what every study has: ``study.json``, its run folders, files that may be missing, how far a run got."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpsn.core import errors, files, shapes, text
from jaxpsn.report import runs
from jaxpsn.report.runs import Run

FORMAT = 1
FINISHED, RUNNING, FAILED, MISSING = "finished", "unfinished", "failed", "missing"
_NOT_FINITE = "not finite"  # how the run loop's last event begins where NaN or infinity stopped it
FILE = "study.json"
KINDS = ("control", "reasoning")


def content(folder: str | Path) -> dict[str, Any]:
    """``study.json`` of a study of either kind, with at least one arm; ``kind`` is always there.

    Raises UserError, in one line, if there is none, if it is malformed, or if a label of an arm is no name of a folder.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        errors.refuse("study folder", str(folder), f"a folder with {FILE}")
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise errors.UserError(f"{path}: a JSON object is expected")
    if content.get("format") != FORMAT:
        errors.refuse("format", content.get("format"), f"a study of format {FORMAT}")
    kind = content.setdefault("kind", KINDS[0])
    if kind not in KINDS:
        errors.refuse("kind", kind, f"a study of {' or '.join(KINDS)}")
    shapes.check(path, content, shapes.STUDY[kind])
    objects("arms", content["arms"])
    return content


def objects(field: str, value: Any) -> Mapping[str, Mapping[str, Any]]:
    """Objects by a label that names their folder. Raises UserError if it is anything else, or empty."""
    if not isinstance(value, dict) or not value or not all(isinstance(about, dict) for about in value.values()):
        errors.refuse(field, value, f"an object with at least one {field[:-1]}")
    for label in value:
        if label != Path(label).name or label in ("", ".", ".."):
            errors.refuse(field[:-1], label, "a label that is the name of a folder")
    return value


def optional(path: Path, shape: shapes.Shape, notes: list[str]) -> Mapping[str, Any]:
    """A JSON object that may be missing; one that cannot be read, or has another ``shape``, is noted and left out."""
    try:
        return shapes.optional(path, shape) or {}
    except (errors.UserError, OSError) as error:
        notes.append(f"{error}; it is left out.")
        return {}


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def is_real(value: Any) -> bool:
    """Whether ``value`` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def leaf(field: Any) -> str:
    """A setting by its own name: exploration.target is target."""
    return str(field).rpartition(".")[2]


@dataclass(frozen=True)
class Choice:
    """The value of an arm's scale that was chosen among V values, with S runs of each, and by what."""

    field: str
    values: Float[np.ndarray, "v"]
    chosen: float
    by: str
    seeds: Int[np.ndarray, "v s"]
    scores: Mapping[str, Float[np.ndarray, "v s"]]
    """NaN is unknown, inf in a time is never."""

    @property
    def at_an_end(self) -> bool:
        """Whether the chosen value is the smallest or the largest that was tried."""
        return len(self.values) > 1 and self.chosen in (self.values.min(), self.values.max())


def choice(path: Path, shape: shapes.Shape, tables: Sequence[str], notes: list[str], who: str) -> Choice | None:
    """How the scale of ``who`` was chosen, from its ``choice.json``; one that cannot be read is noted and left out.

    Of the ``tables`` of scores one that is missing is unknown; null in ``first_reward`` is never.
    """
    content = optional(path, shape, notes)
    if not content:
        return None
    try:
        values, seeds = np.asarray(content["values"], float), np.asarray(content["seeds"], np.int64)
        seeds = np.broadcast_to(seeds, (len(values), len(seeds))) if seeds.ndim == 1 else seeds
        scores = {name: _table(content.get(name), seeds.shape, name == "first_reward") for name in tables}
        if not values.size or len(seeds) != len(values):
            raise ValueError("no seeds of each value")
        chosen = float(content["chosen"])
        return Choice(str(content["field"]), values, chosen, str(content.get("by") or tables[0]), seeds, scores)
    except (KeyError, TypeError, ValueError) as error:
        notes.append(f"{who}: its tuning cannot be read ({type(error).__name__}: {error}).")
        return None


def _table(rows: Any, shape: tuple[int, ...], times: bool) -> Float[np.ndarray, "v s"]:
    """Numbers in JSON as a table of ``shape``; null is unknown, of times never."""
    if rows is None:
        return np.full(shape, np.nan)
    found = np.array([[np.nan if cell is None else float(cell) for cell in row] for row in rows])
    if found.shape != shape:
        raise ValueError(f"scores {found.shape} for seeds {shape}")
    return np.where(np.isnan(found), np.inf, found) if times else found


class Unit(NamedTuple):
    """The run folder of an arm on a task; it may hold several seeds."""

    task: str
    arm: str
    name: str
    """How it is called where something is said of it."""
    told: "Told"


@dataclass(frozen=True)
class Study:
    """What a study of either kind is: its folder, ``study.json``, its run folders, and what had to be tolerated."""

    path: Path
    content: Mapping[str, Any]
    units: tuple[Unit, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the study."""
        return str(self.content.get("name") or self.path.resolve().name)

    @property
    def labels(self) -> tuple[str, ...]:
        """The arms by their labels."""
        return tuple(self.content["arms"])

    def versions(self, arm: str, status: Sequence[str] = ()) -> tuple[Mapping[str, str], ...]:
        """The versions of every session of every run of an arm, of those of that ``status`` if it is named."""
        found = [unit.told for unit in self.units if unit.arm == arm and (not status or unit.told.status in status)]
        return tuple(version for told in found for version in told.versions)


@dataclass(frozen=True)
class Told:
    """What the folder of a run tells: its rows, None where there are none to read, and how far it got."""

    run: Run | None
    status: str
    """finished, unfinished, failed or missing."""
    detail: str
    """Why it is not finished, in words."""
    done: Mapping[str, Any]
    """``finished.json``, empty where there is none."""

    @property
    def seconds(self) -> float:
        """Wall time: what ``finished.json`` says, else the last row; NaN if unknown."""
        if is_real(self.done.get("seconds")):
            return float(self.done["seconds"])
        series = None if self.run is None else self.run.series("seconds")
        return float("nan") if series is None else float(np.nanmax(series.values))

    @property
    def versions(self) -> tuple[Mapping[str, str], ...]:
        """The versions of every session, and those of ``finished.json``."""
        sessions = runs.setting(self.run.config, "sessions") if self.run is not None else None
        sources = [*sessions] if isinstance(sessions, list) else []
        if self.run is not None and not sources:
            sources.append(self.run.config)
        found = (mapping(source).get("versions") for source in (*sources, self.done))
        return tuple({str(name): str(version) for name, version in one.items()} for one in map(mapping, found) if one)


def told(folder: Path, notes: list[str]) -> Told:
    """Read the folder of a run: finished once it has rows and ``finished.json``, failed where it says so."""
    run, status, detail = None, MISSING, "not started"
    if (folder / "metrics.csv").is_file():
        try:
            run = runs.read(folder)
            status, detail = _progress(run)
        except errors.UserError as error:
            detail = "no rows yet" if "no metrics yet" in str(error) else str(error)
    done = optional(folder / "finished.json", shapes.FINISHED, notes)
    failed = optional(folder / "failed.json", shapes.FAILED, notes)
    if run is not None and done:
        status, detail = FINISHED, ""
    elif failed:
        status, detail = FAILED, str(failed.get("reason", detail))
    return Told(run, status, detail, done)


def _progress(run: Run) -> tuple[str, str]:
    """Status and detail of a run that is not complete, from its last stop."""
    step, budget = float(run.columns["step"].max()), runs.setting(run.config, "run.steps")
    made = f"{text.count(step)} of {text.count(budget)} steps" if is_real(budget) else f"{text.count(step)} steps"
    stops = [str(event.get("detail", "")) for event in run.events if event.get("event") == "stop"]
    if stops and stops[-1].startswith(_NOT_FINITE):
        return FAILED, stops[-1].split(";")[0]
    return RUNNING, made


def unlike_versions(arms: Iterable[tuple[str, Sequence[Mapping[str, str]]]]) -> Iterator[str]:
    """A sentence for each package of which the arms, (label, versions), were not all made with one version."""
    found: dict[str, dict[str, list[str]]] = {}
    for label, sessions in arms:
        for session in sessions:
            for package, version in session.items():
                labels = found.setdefault(package, {}).setdefault(version, [])
                if label not in labels:
                    labels.append(label)
    for package, versions in found.items():
        if len(versions) > 1:
            shown = text.listed([f"{version} ({', '.join(labels)})" for version, labels in versions.items()])
            yield f"Arms were made with different versions of {package}: {shown}. Differences may come from that."
