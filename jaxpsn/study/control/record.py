"""The study folder: its layout, its lock, its record of arms; imports no JAX."""

import contextlib
import datetime
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxpsn.control.config import ControlConfig
from jaxpsn.core import errors, files, plugins, shapes
from jaxpsn.core.components import spec_of
from jaxpsn.run import command, folder, vacancy
from jaxpsn.run.lock import locked
from jaxpsn.study.control import arms as arm_specs
from jaxpsn.study.control.arms import Arm
from jaxpsn.study.control.config import MAY_CHANGE, Place, StudyConfig

FORMAT = 1
STUDY, FINISHED, CHOICE = "study.json", "finished.json", "choice.json"
KIND = "control"
"""Kind of a study; a record without one is of this."""


@dataclass
class Study:
    """A claimed study folder and what its ``study.json`` holds."""

    path: Path
    control: ControlConfig
    """What all arms share."""
    config: StudyConfig
    arms: list[Arm]
    resumed: bool = False
    notes: tuple[str, ...] = ()
    sessions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def threshold(self) -> float | None:
        """The evaluation return that counts as solved."""
        return self.config.solved(self.control.env.name)

    def arm(self, label: str) -> Path:
        """The run folder of an arm's reported seeds."""
        return self.path / "arms" / label

    def tuning(self, label: str) -> Path:
        """The run folder of the sweep that chose an arm's scale."""
        return self.path / "tuning" / label

    def finished(self, label: str) -> dict[str, Any] | None:
        """``finished.json`` of an arm whose every step was made, None otherwise."""
        return shapes.optional(self.arm(label) / FINISHED, shapes.FINISHED)

    def put(self, arm: Arm) -> None:
        """Take over an arm that was tuned, and write it down."""
        self.arms = [arm if one.label == arm.label else one for one in self.arms]
        self.write()

    def write(self) -> None:
        """Write ``study.json``, in one move."""
        kept = replace(self.config, arms=tuple(arm.spec for arm in self.arms))
        content = {
            "format": FORMAT,
            "name": self.path.name,
            "control": folder.plain(self.control),
            "study": folder.plain(kept),
            "arms": {arm.label: arm.record() for arm in self.arms},
            "threshold": self.threshold,
            "versions": folder.versions(),
            "plugins": plugins.loaded(),
            "command": sys.argv,
            "sessions": self.sessions,
        }
        files.write_atomically(self.path / STUDY, json.dumps(content, indent=2) + "\n")


def read(path: str | Path, kind: str = KIND) -> dict[str, Any]:
    """The study.json of a study folder. Raises UserError if there is none, or of another kind or format."""
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
    found = record.get("kind", KIND)
    if found != kind:
        errors.refuse("resume", str(path), f"a study of {kind}; this one is of {found}")
    return shapes.check(path / STUDY, record, shapes.WHOLE_STUDY[kind])


def restore(record: Mapping[str, Any]) -> tuple[ControlConfig, StudyConfig]:
    """The settings of a study.json."""
    if "exploration" in record["control"]:
        old = record.get("versions", {}).get("jaxpsn", "unknown")
        errors.refuse(
            "version", old, "a newer one: this study was made before there were components; it stays as it is"
        )
    plugins.require(record.get("plugins", []))
    study = command.from_record(StudyConfig, record["study"])
    # A folder goes on where it lies, whatever it was first asked to be called or to overwrite.
    study = replace(study, name=None, resume=None, overwrite=False)
    return command.from_record(ControlConfig, record["control"]), study


def plan(control: ControlConfig, study: StudyConfig) -> list[Arm]:
    """The arms to make, those of the resumed folder first. Raises UserError for what cannot be, before any writing.

    Refused are arms that do not exist, tuning on reported seeds, and a resumed study of another kind.
    """
    if control.explore != ControlConfig().explore:
        errors.refuse("explore", spec_of(control.explore), "left to the arms (--study.arms)")
    if not control.diagnose:
        errors.refuse("diagnose", False, "True: the report tells of first rewards and of the states visited")
    kept: dict[str, Arm] = {}
    if study.resume is not None:
        record = read(place(study))
        _refuse_other_settings(record, control, study)
        with errors.within(place(study) / STUDY):
            kept = {label: Arm.restore(label, about, control) for label, about in record["arms"].items()}
    arms = arm_specs.resolve(study.arms, control, study.grid, kept)
    for arm in arms if study.tune else ():
        _check_tuning(study, arm)
    return arms


def place(study: Place) -> Path:
    """The folder that ``study`` (``resume``, ``out``) goes on with."""
    path = Path(str(study.resume))
    return Path(study.out) / path if not path.exists() and (Path(study.out) / path).is_dir() else path


def _refuse_other_settings(record: Mapping[str, Any], control: ControlConfig, study: StudyConfig) -> None:
    old_control, old_study = restore(record)

    def fixed(config: ControlConfig, asked: StudyConfig) -> dict[str, Any]:
        kept = {name: value for name, value in folder.plain(asked).items() if name not in MAY_CHANGE}
        return folder.plain(config) | {"study": kept}

    found = folder.differences(fixed(old_control, old_study), fixed(control, study))
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        errors.refuse("resume", study.resume, f"made with other settings: {', '.join(found[:3])}{more}")


def refuse_idle(study: StudyConfig, arms: list[Arm]) -> None:
    """Refuse lengths in which an arm, or the tuning of its scale, trains nothing. Raises UserError."""
    for arm in arms:
        lengths = {"steps": study.steps}
        if study.tune and arm.scale is not None:
            lengths["study.tune_steps"] = study.tune_steps or study.steps
        for name, steps in lengths.items():
            try:
                arm.control.refuse_idle(steps)
            except errors.UserError as error:
                raise errors.UserError(f"arm {arm.label}, {name} = {steps}: {error}") from None


def _check_tuning(study: StudyConfig, arm: Arm) -> None:
    if arm.scale is None:
        return
    if len(arm.scale.grid) * study.tune_seeds > 4096:
        errors.refuse(
            "study.tune_seeds", study.tune_seeds, f"at most 4096 runs in all for {len(arm.scale.grid)} values"
        )
    first, last = study.tune_seed, study.tune_seed + len(arm.scale.grid) * study.tune_seeds - 1
    if first < study.seed + study.seeds and study.seed <= last:
        reported = f"{study.seed} to {study.seed + study.seeds - 1}"
        errors.refuse(
            "study.tune_seed", first, f"seeds {first} to {last} of {arm.label} must not meet the reported {reported}"
        )


@contextlib.contextmanager
def claim(control: ControlConfig, study: StudyConfig, arms: list[Arm]) -> Iterator[Study]:
    """The study folder, locked for this process: a new one, or the one to resume; ``study.json`` is written.

    ``arms`` are those of :func:`plan`. Raises UserError if the folder exists (without ``overwrite``), is in use, or
    cannot be written.
    """
    task = control.env.name.replace("/", "-")
    with occupied(study, f"study-{task}", KIND) as (path, sessions, notes):
        claimed = Study(path, control, study, arms, study.resume is not None, notes, sessions)
        claimed.write()
        yield claimed


@contextlib.contextmanager
def occupied(
    study: Place, default_name: str, kind: str
) -> Iterator[tuple[Path, list[dict[str, Any]], tuple[str, ...]]]:
    """The folder of a study of ``kind``, locked: path, its sessions with this one at the end, and notes.

    Raises UserError as ``claim`` does.
    """
    path = folder.create(study, default_name) if study.resume is None else place(study)
    with contextlib.ExitStack() as stack:
        stale = stack.enter_context(locked(path))
        if study.resume is None and study.overwrite:
            folder.empty(path, STUDY, "study folder")
        if study.resume is None:
            stack.enter_context(vacancy.provisional(path, vacancy.studied))
        old = {} if study.resume is None else read(path, kind)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        session = {"started": now, "command": sys.argv, "versions": folder.versions()}
        yield path, [*old.get("sessions", []), session], (stale,) if stale else ()
