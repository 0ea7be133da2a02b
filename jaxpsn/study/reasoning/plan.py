"""The units of a reasoning study and what each waits for; imports no JAX."""

from typing import Literal, NamedTuple

from jaxpsn.study.reasoning import arms
from jaxpsn.study.reasoning.record import Study


class Unit(NamedTuple):
    """What one worker makes."""

    kind: Literal["base", "tune", "arm"]
    task: str
    arm: str = ""

    @classmethod
    def of(cls, text: str) -> "Unit":
        """The unit of its text."""
        kind, task, arm = text.split("/")
        return cls(kind, task, arm)

    def __str__(self) -> str:
        return "/".join(self)

    @property
    def title(self) -> str:
        """As it is called on the display."""
        return {"base": f"{self.task} base", "tune": f"{self.task} {self.arm} tuning"}.get(
            self.kind, f"{self.task} {self.arm}"
        )


def bases(study: Study) -> list[Unit]:
    """What comes first: whether a task is of use is seen from its base alone."""
    return [Unit("base", task.label) for task in study.tasks]


def rest(study: Study) -> dict[Unit, Unit | None]:
    """Every other unit with the one that it waits for, task by task in the order of the arms."""
    found: dict[Unit, Unit | None] = {}
    for task in study.tasks:
        for arm in study.arms:
            chooser = arms.chooser(arm, study.arms) if study.config.tune else None
            tuning = None if chooser is None else Unit("tune", task.label, chooser.label)
            if tuning is not None:
                found.setdefault(tuning, None)
            found[Unit("arm", task.label, arm.label)] = tuning
    return found


def is_done(study: Study, unit: Unit) -> bool:
    """Whether all that a unit makes is there."""
    if unit.kind == "base":
        return study.finished(study.base(unit.task)) is not None
    if unit.kind == "arm":
        return all(study.finished(study.run(unit.task, unit.arm, seed)) is not None for seed in study.seeds)
    values = study.chosen(unit.task, unit.arm)
    return values is not None and values["values"] == list(study.arm(unit.arm).scale.grid)
