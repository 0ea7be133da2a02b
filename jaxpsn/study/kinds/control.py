"""Studies of control: one task; the seeds of an arm, or of its tuning, are one program and so one unit."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxpsn.control.config import ControlConfig
from jaxpsn.core import errors, shapes
from jaxpsn.core.components import spec_of
from jaxpsn.core.lazily import Lazy
from jaxpsn.envs import registry
from jaxpsn.run import command, status
from jaxpsn.study import job as jobs
from jaxpsn.study import record, units
from jaxpsn.study.control import arms as arm_specs
from jaxpsn.study.control import presets
from jaxpsn.study.control.arms import Arm
from jaxpsn.study.control.config import MAY_CHANGE, StudyConfig
from jaxpsn.study.units import Result, Unit

CHECK, TUNE, ARM = "check", "tune", "arm"


class ControlStudy(record.Study):
    """A study of control: ``arms/ARM`` and ``tuning/ARM`` are run folders of all seeds."""

    KIND = "control"
    SHARED = "control"
    TYPES = (ControlConfig, StudyConfig)
    MAY_CHANGE = MAY_CHANGE
    SAVES = "chunk"
    ONE_SEED = "one seed: there will be no intervals, and no probability of improvement"

    @classmethod
    def plan(cls, shared: ControlConfig, config: StudyConfig) -> tuple[list[Arm], list[Any]]:
        """The arms, those of the resumed folder first, and no tasks.

        Raises UserError for arms and tasks that do not exist, for tuning on reported seeds, and for lengths in which
        an arm trains nothing.
        """
        if shared.explore != ControlConfig().explore:
            errors.refuse("explore", spec_of(shared.explore), "left to the arms (--study.arms)")
        if not shared.diagnose:
            errors.refuse("diagnose", False, "True: the report tells of first rewards and of the states visited")
        kept = {arm.label: arm for arm in cls.before(shared, config)[0]}
        arms = arm_specs.resolve(config.arms, shared, config.grid, kept)
        registry.check(shared.env.name, shared.env.backend)
        for arm in arms:
            _check(config, arm)
        return arms, []

    @classmethod
    def restored(cls, record: Mapping[str, Any], shared: ControlConfig) -> tuple[list[Arm], list[Any]]:
        """The arms of a study.json."""
        return [Arm.restore(label, about, shared) for label, about in record["arms"].items()], []

    @property
    def default_name(self) -> str:
        """Named after the task."""
        return f"study-{self._task}"

    @property
    def _task(self) -> str:
        return registry.slug(self.shared.env.name)

    def content(self) -> dict[str, Any]:
        """The evaluation return that counts as solved."""
        return {"threshold": self.config.solved(self.shared.env.name)}

    def arm(self, label: str) -> Arm:
        """The arm of that label."""
        return next(arm for arm in self.arms if arm.label == label)

    def folder(self, unit: Unit) -> Path:
        """The run folder of an arm's reported seeds, or of the sweep that chooses its scale."""
        return self.path / ("tuning" if unit.kind == TUNE else "arms") / unit.arm

    def units(self) -> dict[Unit, tuple[Unit, ...]]:
        """Of each arm its tuning, unless it is finished without, and its seeds; before them a look at them all."""
        found: dict[Unit, tuple[Unit, ...]] = {}
        check = Unit(CHECK, self._task)
        for arm in self.arms:
            own, tune = Unit(ARM, self._task, arm.label), Unit(TUNE, self._task, arm.label)
            tunes = self.config.tune and arm.scale is not None and not self.is_done(own)
            found |= {tune: (check,)} if tunes else {}
            found[own] = (check, tune) if tunes else (check,)
        left = any(not self.is_done(unit) and self.failed(unit) is None for unit in found)
        return {check: ()} | found if left else found

    def title(self, unit: Unit) -> str:
        """Such as arm 1/2 gaussian; a look at all arms names the one that it refuses itself."""
        if unit.kind == CHECK:
            return ""
        number = [arm.label for arm in self.arms].index(unit.arm) + 1
        return f"arm {number}/{len(self.arms)} {unit.arm}" + (", tuning" if unit.kind == TUNE else "")

    def is_done(self, unit: Unit) -> bool:
        """Whether the choice, or all steps of an arm, are there; a look at the arms is taken in every session."""
        if unit.kind == TUNE:
            choice = self._choice(unit.arm)
            return choice is not None and choice["values"] == list(self.arm(unit.arm).scale.grid)
        return unit.kind == ARM and record.finished(self.folder(unit)) is not None

    def failed(self, unit: Unit) -> str | None:
        """What ``failed.json`` says."""
        return None if unit.kind == CHECK else record.failed(self.folder(unit))

    def kept(self, unit: Unit) -> list[dict[str, Any] | None]:
        """All seeds of an arm are one run."""
        return [record.finished(self.folder(unit))] if unit.kind == ARM else []

    def take(self, unit: Unit) -> None:
        """Write down a scale that was chosen; let the checkpoints go that are of no more use."""
        if unit.kind == CHECK:
            return
        record.drop_checkpoints(self, self.folder(unit))
        if unit.kind == TUNE:
            tuned = self._scaled(self.arm(unit.arm))
            if tuned not in self.arms:
                self.arms = [tuned if one.label == unit.arm else one for one in self.arms]
                self.write()

    def _choice(self, label: str) -> dict[str, Any] | None:
        return shapes.optional(self.folder(Unit(TUNE, "", label)) / record.CHOICE, shapes.CONTROL_CHOICE)

    def _scaled(self, arm: Arm) -> Arm:
        """The arm with the scale that was chosen for it, if there is one to choose."""
        choice = self._choice(arm.label) if self.config.tune and arm.scale is not None else None
        return arm if choice is None else arm.scaled(choice["chosen"])

    def is_worth_a_report(self, unit: Unit, left: Sequence[Unit]) -> bool:
        """Once an arm is there."""
        return unit.kind == ARM

    def make(self, unit: Unit) -> Result:
        """Make an arm's tuning or seeds, or refuse what one of the arms could not run with."""
        from jaxpsn.study.control import making

        if unit.kind == CHECK:
            making.check(self.arms, self.config, making.environment(self.shared))
            return Result(status.DONE)
        folder, arm, title = self.folder(unit), self.arm(unit.arm), self.title(unit)
        if unit.kind == TUNE:
            place = units.place(self.path, unit)
            return making.tune(self, folder, arm, title, lambda text: units.say(place, text))
        return making.run(self, folder, self._scaled(arm), title)


STUDY = ControlStudy


def _check(config: StudyConfig, arm: Arm) -> None:
    """Refuse the tuning of an arm on reported seeds, and lengths in which it trains nothing."""
    lengths = {"steps": config.steps}
    if config.tune and arm.scale is not None:
        lengths["study.tune_steps"] = config.tune_steps or config.steps
        count = len(arm.scale.grid) * config.tune_seeds
        if count > 4096:
            allowed = f"at most 4096 runs in all for {len(arm.scale.grid)} values"
            errors.refuse("study.tune_seeds", config.tune_seeds, allowed)
        config.refuse_shared_seeds(count, f" of {arm.label}")
    for name, steps in lengths.items():
        try:
            arm.control.refuse_idle(steps)
        except errors.UserError as error:
            raise errors.UserError(f"arm {arm.label}, {name} = {steps}: {error}") from None


@dataclass(frozen=True)
class StudyJob:
    """What all arms share, and what is compared."""

    control: Annotated[ControlConfig, tyro.conf.arg(name="")] = field(
        default_factory=lambda: ControlConfig(diagnose=True)
    )
    study: StudyConfig = field(default_factory=StudyConfig)


def _preset(name: str) -> StudyJob:
    control, study = presets.PRESETS[name]
    return StudyJob(replace(control, diagnose=True), study)


PRESETS: Lazy[StudyJob] = Lazy({name: functools.partial(_preset, name) for name in presets.PRESETS})
"""Whole comparisons by name."""


def restore(content: Mapping[str, Any]) -> StudyJob:
    """The job of a study folder's study.json. Raises UserError for one that was made before there were components."""
    if "exploration" in content["control"]:
        old = content.get("versions", {}).get("jaxpsn", "unknown")
        errors.refuse(
            "version", old, "a newer one: this study was made before there were components; it stays as it is"
        )
    return StudyJob(*ControlStudy.restore(content))


def run(job: StudyJob) -> int:
    """Make all arms, or those that are left, and the report; returns the exit status."""
    return jobs.run(ControlStudy, job.control, job.study)


def main(argv: Sequence[str]) -> int:
    """Run the comparison that ``argv`` asks for; returns the exit status."""
    about = "Exploration methods compared on one task: the same learner (but for es), seeds and steps for every arm."
    about += (
        f"\n\nArms: {', '.join(arm_specs.names())}; with their fields, pink(std=1), and sums, parameter + gaussian."
    )
    names = {"env.name": registry.canonical}
    parts = StudyJob, PRESETS, argv, restore, about, ControlStudy.read
    return run(command.parse(*parts, resumes="study of control", values=names))
