"""Studies of reasoning: a base for each task, tuning and arms on it, each seed an ordinary run."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxpsn.core import errors, shapes
from jaxpsn.core.lazily import Lazy
from jaxpsn.rlvr import names
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.run import command, startup
from jaxpsn.run.reasoning.job import SHORT
from jaxpsn.study import job as jobs
from jaxpsn.study import record, units
from jaxpsn.study.reasoning import arms as arm_specs
from jaxpsn.study.reasoning import presets
from jaxpsn.study.reasoning.arms import Arm, TaskChoice
from jaxpsn.study.reasoning.config import MAY_CHANGE, ReasoningStudyConfig
from jaxpsn.study.units import Result, Unit

BASE, TUNE, ARM = "base", "tune", "arm"


class ReasoningStudy(record.Study):
    """A study of reasoning: ``tasks/TASK/`` holds ``base/``, ``tuning/ARM/`` and ``arms/ARM/SEED/``."""

    KIND = "reasoning"
    SHARED = "shared"
    TYPES = (RlvrConfig, ReasoningStudyConfig)
    MAY_CHANGE = MAY_CHANGE
    SAVES = "step"
    ONE_SEED = "one seed: intervals will tell of the problems alone, not of the training"

    @classmethod
    def plan(cls, shared: RlvrConfig, config: ReasoningStudyConfig) -> tuple[list[Arm], list[TaskChoice]]:
        """The arms and tasks to make, those of the resumed folder first.

        Raises UserError for what cannot be, before any writing: unknown arms and tasks, settings that arms own, arms
        that the shared settings do not allow, and a resumed study of other settings.
        """
        default = RlvrConfig()
        for name, owner in (("task", "tasks"), ("data", "tasks")):
            if getattr(shared, name) != getattr(default, name):
                errors.refuse(name, str(getattr(shared, name)), f"left to the {owner} (--study.{owner})")
        kept_arms, kept_tasks = ({one.label: one for one in kept} for kept in cls.before(shared, config))
        arms = arm_specs.resolve(config.arms, config.grid, kept_arms)
        tasks = arm_specs.resolve_tasks(config.tasks, kept_tasks)
        for arm in arms:
            arm_specs.check(arm, shared)
            chooser = arm_specs.chooser(arm, arms)
            if chooser is not None:
                arm_specs.check(chooser, shared)
        arm_specs.refuse_unkept(arms, shared)
        return arms, tasks

    @classmethod
    def restored(cls, record: Mapping[str, Any], shared: RlvrConfig) -> tuple[list[Arm], list[TaskChoice]]:
        """The arms and tasks of a study.json."""
        arms = [Arm.restore(label, about) for label, about in record["arms"].items()]
        return arms, [TaskChoice(label, **about) for label, about in record["tasks"].items()]

    @property
    def default_name(self) -> str:
        """The same for all."""
        return "study-reasoning"

    def content(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def base(self, task: str) -> Path:
        """The folder of a task's base and its evaluation."""
        return self.path / "tasks" / task / arm_specs.BASE

    def run(self, task: str, arm: str, seed: int) -> Path:
        """The run folder of one reported seed."""
        return self.path / "tasks" / task / "arms" / arm / str(seed)

    def tuning(self, task: str, arm: str) -> Path:
        """The folder of the runs that chose an arm's scale."""
        return self.path / "tasks" / task / "tuning" / arm

    def arm(self, label: str) -> Arm:
        """The arm of that label: of the study, or a named one that only chooses a scale."""
        return next((one for one in self.arms if one.label == label), None) or arm_specs.parse(label)

    def task(self, label: str) -> TaskChoice:
        """The task of that label."""
        return next(one for one in self.tasks if one.label == label)

    def choice(self, task: str, arm: Arm) -> float | None:
        """The value of an arm's scale on a task: what was tuned, or the arm's own; None without a scale."""
        if arm.scale is None:
            return None
        chooser = arm_specs.chooser(arm, self.arms)
        tuned = self.chosen(task, chooser.label) if self.config.tune else None
        if tuned is None and self.config.tune:
            raise FileNotFoundError(f"{self.tuning(task, chooser.label) / record.CHOICE}: nothing was chosen yet")
        section, _, name = arm.scale.field.partition(".")
        own = getattr(getattr(chooser.config(self.shared), section), name)
        return arm.scale.factor * (own if tuned is None else tuned["chosen"])

    def chosen(self, task: str, arm: str) -> dict[str, Any] | None:
        """``choice.json`` of an arm's tuning, None before it is made."""
        return shapes.optional(self.tuning(task, arm) / record.CHOICE, shapes.REASONING_CHOICE)

    def units(self) -> dict[Unit, tuple[Unit, ...]]:
        """All bases, as whether a task is of use is seen from its base alone; then task by task, in order of arms."""
        bases = {Unit(BASE, task.label): () for task in self.tasks}
        found: dict[Unit, tuple[Unit, ...]] = dict(bases)
        for task in self.tasks:
            for arm in self.arms:
                chooser = arm_specs.chooser(arm, self.arms) if self.config.tune else None
                tuning = () if chooser is None else (Unit(TUNE, task.label, chooser.label),)
                found |= {unit: tuple(bases) for unit in tuning if unit not in found}
                found[Unit(ARM, task.label, arm.label)] = (*bases, *tuning)
        return found

    def title(self, unit: Unit) -> str:
        """Such as countdown psn."""
        named = {BASE: f"{unit.task} base", TUNE: f"{unit.task} {unit.arm} tuning"}
        return named.get(unit.kind, f"{unit.task} {unit.arm}")

    def is_done(self, unit: Unit) -> bool:
        """Whether the base, the choice over the arm's own grid, or all seeds are there."""
        if unit.kind == TUNE:
            choice = self.chosen(unit.task, unit.arm)
            return choice is not None and choice["values"] == list(self.arm(unit.arm).scale.grid)
        if unit.kind == BASE:
            return record.finished(self.base(unit.task)) is not None
        return None not in self.kept(unit)

    def failed(self, unit: Unit) -> str | None:
        """What ``failed.json`` of a seed says, if no other seed is left."""
        if unit.kind != ARM:
            return None
        runs = [(seed, self.run(unit.task, unit.arm, seed)) for seed in self.seeds]
        told = [(seed, record.failed(path)) for seed, path in runs if record.finished(path) is None]
        if not told or None in [why for _, why in told]:
            return None
        return "; ".join(f"seed {seed}: {why}" for seed, why in told)

    def kept(self, unit: Unit) -> list[dict[str, Any] | None]:
        """Each seed is a run."""
        seeds = self.seeds if unit.kind == ARM else ()
        return [record.finished(self.run(unit.task, unit.arm, seed)) for seed in seeds]

    def take(self, unit: Unit) -> None:
        """Refuse a task whose base leaves no room: its pass@k with all answers is at the limit."""
        if unit.kind != BASE:
            return
        from jaxpsn.stats import evaluations, pass_at_k

        found = evaluations.read(evaluations.path(self.base(unit.task), evaluations.BASE))
        reached = float(pass_at_k.estimate(found.n, found.correct, found.n).mean())
        if reached >= self.config.saturation:
            allowed = f"a task whose base stays below {self.config.saturation:g} (study.saturation)"
            allowed += f"; here pass@{found.n} = {reached:.3f} before any training. Harder numbers, or fewer answers"
            errors.refuse(arm_specs.TASK_FIELD, self.task(unit.task).spec, allowed)
        if found.correct.sum() == 0:
            startup.speak(f"warning: {unit.task}: the base solves nothing in {found.n} answers: no signal")

    def is_worth_a_report(self, unit: Unit, left: Sequence[Unit]) -> bool:
        """Once all of a task is there."""
        return unit.kind == ARM and not any(one.task == unit.task for one in left)

    def make(self, unit: Unit) -> Result:
        """Make a task's base, an arm's tuning, or all seeds of an arm."""
        from jaxpsn.run import memory
        from jaxpsn.study.reasoning import making

        place = units.place(self.path, unit)

        def say(text: str) -> None:
            units.say(place, text)

        sizes = f"{names.LOWERS_ROLLOUT}, {names.LOWERS_EVALUATION}, decoder.hidden_size, decoder.num_layers"
        with memory.told(sizes):
            if unit.kind == BASE:
                return making.base(self, unit.task, say)
            made = making.tune if unit.kind == TUNE else making.arm
            return made(self, unit.task, self.arm(unit.arm), say)


STUDY = ReasoningStudy


@dataclass(frozen=True)
class ReasoningStudyJob:
    """What all arms share, and what is compared."""

    rlvr: Annotated[RlvrConfig, tyro.conf.arg(name="")] = field(default_factory=RlvrConfig)
    study: ReasoningStudyConfig = field(default_factory=ReasoningStudyConfig)


def _preset(name: str) -> ReasoningStudyJob:
    return ReasoningStudyJob(*presets.PRESETS[name])


PRESETS: Lazy[ReasoningStudyJob] = Lazy({name: functools.partial(_preset, name) for name in presets.PRESETS})
"""Whole studies by name."""


def restore(content: Mapping[str, Any]) -> ReasoningStudyJob:
    """The job of a study folder's study.json."""
    return ReasoningStudyJob(*ReasoningStudy.restore(content))


def run(job: ReasoningStudyJob) -> int:
    """Make the whole study, or what is left of it, and the report; returns the exit status."""
    return jobs.run(ReasoningStudy, job.rlvr, job.study)


def main(argv: Sequence[str]) -> int:
    """Run the study that ``argv`` asks for; ``--quick`` stands for ``--preset quick``. Returns the exit status."""
    given = [part for word in argv for part in (("--preset", "quick") if word == "--quick" else (word,))]
    about = "What parameter-space noise does to pass@k: arms with the same base, prompts, answers and updates."
    about += f"\n\nArms: {', '.join(arm_specs.VARIANTS)}; path=value after a comma."
    asked = command.parse(
        ReasoningStudyJob, PRESETS, given, restore, about, ReasoningStudy.read, "study of reasoning", SHORT
    )
    return run(asked)
