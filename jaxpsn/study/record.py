"""The study folder: its layout, its lock, its record of arms and tasks; imports no JAX.

``study.json`` is written by the process that holds the folder alone; workers read it.
"""

import contextlib
import csv
import datetime
import json
import shlex
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from jaxpsn.core import errors, files, plugins, shapes
from jaxpsn.run import command, folder, started, vacancy
from jaxpsn.run.lock import locked
from jaxpsn.study.units import Result, Unit

FORMAT = 1
STUDY, FINISHED, FAILED, CHOICE = "study.json", "finished.json", "failed.json", "choice.json"


@dataclass
class Study(ABC):
    """A study folder and what its ``study.json`` holds. What differs between homes is for ``study/kinds/``."""

    path: Path
    shared: Any
    """What all arms start from: the config of one run."""
    config: Any
    """Of the study."""
    arms: list[Any]
    tasks: list[Any] = field(default_factory=list)
    resumed: bool = False
    notes: tuple[str, ...] = ()
    sessions: list[dict[str, Any]] = field(default_factory=list)

    KIND: ClassVar[str]
    """As study.json has it."""
    SHARED: ClassVar[str]
    """The entry of study.json with what all arms start from."""
    TYPES: ClassVar[tuple[type, type]]
    """Of ``shared`` and ``config``."""
    MAY_CHANGE: ClassVar[frozenset[str]]
    """Fields of the config that a resumed study may set anew."""
    SAVES: ClassVar[str]
    """What a run finishes before it saves: chunk or step."""
    ONE_SEED: ClassVar[str]
    """What is said of a study of one seed."""

    @classmethod
    @abstractmethod
    def plan(cls, shared: Any, config: Any) -> tuple[list[Any], list[Any]]:
        """Arms and tasks to make, those of a resumed folder first; UserError for what cannot be, before any writing."""

    @classmethod
    @abstractmethod
    def restored(cls, record: Mapping[str, Any], shared: Any) -> tuple[list[Any], list[Any]]:
        """Arms and tasks of a study.json."""

    @property
    @abstractmethod
    def default_name(self) -> str:
        """What a folder without a name is called, before the date."""

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """What study.json holds of this kind alone."""

    @abstractmethod
    def units(self) -> dict[Unit, tuple[Unit, ...]]:
        """Every unit, in order, with those that it waits for."""

    @abstractmethod
    def title(self, unit: Unit) -> str:
        """What a unit is called on the display; empty for one that says so itself."""

    @abstractmethod
    def is_done(self, unit: Unit) -> bool:
        """Whether all that a unit makes is there."""

    @abstractmethod
    def failed(self, unit: Unit) -> str | None:
        """Why a unit is not made again: something in it was not finite; None otherwise."""

    @abstractmethod
    def kept(self, unit: Unit) -> list[dict[str, Any] | None]:
        """``finished.json`` of each run of an arm that is reported, None for one that is left."""

    @abstractmethod
    def make(self, unit: Unit) -> Result:
        """Make a unit in this process, or what is left of it."""

    @abstractmethod
    def take(self, unit: Unit) -> None:
        """Look at a unit that is done; UserError if no other makes sense after it."""

    @abstractmethod
    def is_worth_a_report(self, unit: Unit, left: Sequence[Unit]) -> bool:
        """Whether the report so far is built once a unit is done, while others are ``left``."""

    def report(self) -> Path:
        """Tables, plots and the report of what there is so far; returns the page."""
        from jaxpsn.report import build

        return build.build(self.path)

    @property
    def again(self) -> str:
        """The command that goes on with the study."""
        name = vacancy.SCRIPTS[f"study of {self.KIND}"]
        return f"{started.command(name)} --resume {shlex.quote(str(self.path))}"

    @property
    def seeds(self) -> range:
        """The reported seeds."""
        return range(self.config.seed, self.config.seed + self.config.seeds)

    def write(self) -> None:
        """Write ``study.json``, in one move."""
        asked = {name: tuple(one.spec for one in getattr(self, name)) for name in self._listed}
        content = {
            "format": FORMAT,
            "kind": self.KIND,
            "name": self.path.name,
            self.SHARED: folder.plain(self.shared),
            "study": folder.plain(replace(self.config, **asked)),
            **{name: {one.label: one.record() for one in getattr(self, name)} for name in self._listed},
            **self.content(),
            "plugins": plugins.loaded(),
            "versions": folder.versions(),
            "command": sys.argv,
            "sessions": self.sessions,
        }
        files.write_atomically(self.path / STUDY, json.dumps(content, indent=2) + "\n")

    @property
    def _listed(self) -> list[str]:
        return ["tasks", "arms"] if self.tasks else ["arms"]

    @classmethod
    def read(cls, path: str | Path) -> dict[str, Any]:
        """The study.json of a folder of this kind. Raises UserError if there is none, or of another kind or format."""
        record = read(path)
        if record["kind"] != cls.KIND:
            errors.refuse("resume", str(path), f"a study of {cls.KIND}; this one is of {record['kind']}")
        return shapes.check(Path(path) / STUDY, record, shapes.WHOLE_STUDY[cls.KIND])

    @classmethod
    def restore(cls, record: Mapping[str, Any]) -> tuple[Any, Any]:
        """The settings of a study.json, after its plugins are loaded."""
        shared, config = cls.TYPES
        asked = command.going_on(config, record, "study")
        return command.from_record(shared, record[cls.SHARED]), asked

    @classmethod
    def load(cls, path: Path) -> "Study":
        """The study of a folder, without claiming it: for workers."""
        record = cls.read(path)
        with errors.within(path / STUDY):
            shared, config = cls.restore(record)
            return cls(path, shared, config, *cls.restored(record, shared), True, (), record.get("sessions", []))

    @classmethod
    def before(cls, shared: Any, config: Any) -> tuple[list[Any], list[Any]]:
        """Arms and tasks of the folder that a study goes on with. Raises UserError if its settings were others."""
        if config.resume is None:
            return [], []
        path = place(config)
        record = cls.read(path)
        found = folder.differences(cls._fixed(*cls.restore(record)), cls._fixed(shared, config))
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            errors.refuse("resume", config.resume, f"made with other settings: {', '.join(found[:3])}{more}")
        with errors.within(path / STUDY):
            return cls.restored(record, shared)

    @classmethod
    def _fixed(cls, shared: Any, asked: Any) -> dict[str, Any]:
        kept = {name: value for name, value in folder.plain(asked).items() if name not in cls.MAY_CHANGE}
        return folder.plain(shared) | {"study": kept}

    @classmethod
    @contextlib.contextmanager
    def claim(cls, shared: Any, config: Any, arms: Sequence[Any], tasks: Sequence[Any] = ()) -> Iterator["Study"]:
        """The study folder, locked for this process: a new one, or the one to resume; ``study.json`` is written.

        ``arms`` and ``tasks`` are those of :meth:`plan`. Raises UserError if the folder exists (without
        ``overwrite``), is in use, or cannot be written.
        """
        study = cls(Path(), shared, config, list(arms), list(tasks), config.resume is not None)
        path = folder.create(config, study.default_name) if config.resume is None else place(config)
        with contextlib.ExitStack() as stack:
            stale = stack.enter_context(locked(path))
            if config.resume is None:
                if config.overwrite:
                    folder.empty(path, STUDY, "study folder")
                stack.enter_context(vacancy.provisional(path, vacancy.studied))
            old = {} if config.resume is None else cls.read(path)
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            session = {"started": now, "command": sys.argv, "versions": folder.versions()}
            study.path, study.sessions = path, [*old.get("sessions", []), session]
            study.notes = (stale,) if stale else ()
            study.write()
            yield study


def read(path: str | Path) -> dict[str, Any]:
    """The study.json of any kind of study, which it names. Raises UserError if there is none, or of another format."""
    path = Path(path)
    try:
        record = files.read_json(path / STUDY)
    except OSError:
        near = f"no {STUDY} there"
        with contextlib.suppress(OSError):
            names = [one.name for one in path.absolute().parent.iterdir() if (one / STUDY).is_file() and one != path]
            near = errors.nearest(path.name, names) if names else near
        errors.refuse("resume", str(path), f"a study folder; {near}")
    if not isinstance(record, dict):
        errors.refuse("resume", str(path), f"a study folder; its {STUDY} is no object")
    if record.get("format") != FORMAT:
        errors.refuse("resume", str(path), f"a study of format {FORMAT}; this one has format {record.get('format')}")
    return {"kind": "control"} | record  # older records of control do not name it


def place(config: Any) -> Path:
    """The folder that a study (``resume``, ``out``) goes on with."""
    path = Path(str(config.resume))
    return Path(config.out) / path if not path.exists() and (Path(config.out) / path).is_dir() else path


def finished(path: Path) -> dict[str, Any] | None:
    """``finished.json`` of a part that is complete, None otherwise."""
    return shapes.optional(path / FINISHED, shapes.FINISHED)


def finish(path: Path, **told: Any) -> None:
    """Mark a part as complete, with what made it; only then may its checkpoints go."""
    files.write_atomically(path / FINISHED, json.dumps(told | {"versions": folder.versions()}, indent=2) + "\n")


def failed(path: Path) -> str | None:
    """Why the run in ``path`` is not made again, and what to do about it; None if nothing stands against it."""
    told = shapes.optional(path / FAILED, shapes.FAILED)
    return None if told is None else f"{told['reason']} (delete {path} to try again)"


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of the metrics of a run."""
    with (path / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def drop_checkpoints(study: Study, path: Path) -> None:
    """Delete what only an unfinished stage needs, unless the study keeps it."""
    if not study.config.keep_checkpoints:
        shutil.rmtree(path / "checkpoints", ignore_errors=True)
