"""``jaxpsn.compare``: arms of a control study in one call, and its tables as plain Python."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxpsn.api import runs, settings
from jaxpsn.core import errors
from jaxpsn.run import interrupts, startup, status
from jaxpsn.study.control.config import StudyConfig
from jaxpsn.study.kinds import control as jobs

_PLACED = ("arms", "out", "name", "resume", "overwrite", "progress", "seeds", "seed", "steps", "tune")
_WORDS = {status.DONE: "finished", status.NOT_FINITE: "not finite", status.INTERRUPTED: "SIGINT"}


class Study:
    """A study of control in its folder."""

    def __init__(self, folder: str | Path, status: str = "finished"):
        """``status``: ``finished``, ``not finite`` if some arm failed, ``SIGINT`` if it was stopped."""
        self.folder, self.status = Path(folder), status

    def __repr__(self) -> str:
        return f"Study({self.folder}, {', '.join(self.arms)}, {self.status})"

    @property
    def arms(self) -> tuple[str, ...]:
        """The labels of its arms."""
        from jaxpsn.core import files

        return tuple(files.read_json(self.folder / "study.json")["arms"])

    def table(self) -> list[dict[str, Any]]:
        """One row an arm, as the report has it: ``table.csv`` with its numbers as numbers, None where there is none."""
        return _rows(self.folder / "table.csv")

    def pairs(self) -> list[dict[str, Any]]:
        """One row a pair of arms: how likely the first one is better, with its interval."""
        return _rows(self.folder / "pairs.csv")

    def metrics(self, arm: str) -> dict[str, Any]:
        """The metrics of an arm: ``step`` [points], every other one [points, seeds]."""
        from jaxpsn.report.runs import read

        if arm not in self.arms:
            errors.refuse("arm", arm, errors.nearest(arm, self.arms))
        return runs.table(dict(read(self.folder / "arms" / arm).columns))

    def curve(self, arm: str, name: str = "eval_return") -> Any:
        """Steps [t] and values [t, seeds] of a metric of an arm."""
        return runs.curve(self.metrics(arm), name)


def compare(
    arms: Sequence[Any] | None = None, env: str | None = None, *, agent: Any = None, preset: str = "default",
    seeds: int | None = None, seed: int | None = None, steps: int | None = None, tune: bool | None = None,
    folder: str | Path | None = None, resume: bool = False, overwrite: bool = False, progress: str = "auto",
    **fields: Any,
) -> Study:  # fmt: skip
    """Compare ways to explore on one task: the same learner, seeds and steps for every arm.

    ``arms``: such as ``["parameter(target=0.6)", "wide: pink(std=1.0)", "none"]``. ``tune=True`` chooses the
    scale of each first, on seeds that are not reported. What is left out is that of the ``preset``; any other field, of
    the study or of what all arms share, is named as it is. The study lies in ``folder``, or in a new one under
    ``runs``; ``resume=True`` goes on with it if it is there. It is made in this process, unless ``launcher`` is another
    one, such as ``"local(workers=4)"``. Ctrl-C saves the arm under way and gives the study back,
    with ``study.status == "SIGINT"``. Raises :class:`jaxpsn.UserError`.
    """
    path, going_on = settings.place(folder, resume)
    base = _recorded(path) if going_on else settings.preset(jobs.PRESETS, preset)
    known = [field.name for field in dataclasses.fields(StudyConfig) if field.name not in _PLACED]
    of_study = {name: value for name, value in fields.items() if name in known}
    shared = {name: value for name, value in fields.items() if name not in known}
    control = settings.control_config(base.control, env, agent, None, shared)
    changes: dict[str, Any] = {"progress": progress, "overwrite": overwrite, "launcher": "inline"} | of_study
    if arms is not None:
        changes["arms"] = tuple(settings.arm(one) for one in ([arms] if isinstance(arms, str) else arms))
    changes |= settings.cadence(steps, of_study)
    stated = (("seeds", seeds), ("seed", seed), ("tune", tune))
    changes |= {name: value for name, value in stated if value is not None}
    if path is not None:
        changes |= {"resume": str(path)} if going_on else {"out": str(path.parent), "name": path.name}
    job = jobs.StudyJob(control, dataclasses.replace(base.study, **changes))
    found: list[object] = []
    with startup.within(found, silent=progress == "none"), interrupts.gentle():
        code = jobs.run(job)
    if code > 128 and interrupts.ends(code - 128):
        raise SystemExit(code)
    return Study(str(found[-1]), _WORDS.get(code, f"status {code}"))


def _recorded(path: Path | None) -> Any:
    return jobs.restore(jobs.ControlStudy.read(str(path)))


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise errors.UserError(f"{path}: there is none; the study has no finished arm")
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str | None) -> Any:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and text.lstrip("-").isdigit() else number
