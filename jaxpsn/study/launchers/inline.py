"""Units in this process, one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxpsn.study import units
from jaxpsn.study.launchers import LAUNCHERS, Launcher, Pool, Study
from jaxpsn.study.units import Result, Unit


class _Here(Pool):
    def __init__(self, study: Study):
        self._study = study
        self._made: dict[Unit, Result] = {}

    def room(self) -> int:
        return 0 if self._made else 1

    def start(self, units_: Sequence[Unit]) -> None:
        for unit in units_:
            folder = units.place(self._study.path, unit)
            with units.claimed(folder):
                self._made[unit] = self._study.make(unit)

    @property
    def running(self) -> Sequence[Unit]:
        return tuple(self._made)

    def poll(self) -> Mapping[Unit, Result | None]:
        made, self._made = self._made, {}
        return dict(made)


@LAUNCHERS.register("inline")
@dataclass(frozen=True)
class Inline(Launcher):
    """One unit after the other in this process: for notebooks, and for objects that have no name."""

    here: ClassVar[bool] = True

    def pool(self, study: Study) -> Pool:
        """The process itself."""
        return _Here(study)
