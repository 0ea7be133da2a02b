"""Launchers: which processes make the units of a study, and where; imports no JAX."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxpsn.core import Component, Family
from jaxpsn.study.units import Result, Unit

WORKER = "jaxpsn.study.worker"
"""The module that a worker process runs: ``python -m jaxpsn.study.worker FOLDER UNIT``."""

PATIENCE = 60.0
"""Seconds in which workers save and end, before they are killed."""


@runtime_checkable
class Study(Protocol):
    """What a launcher needs of a study."""

    path: Path

    def make(self, unit: Unit) -> Result:
        """Make a unit in this process."""


class Pool:
    """The workers of one session of a study."""

    def adopt(self, units: Sequence[Unit]) -> list[Unit]:
        """Those of ``units`` that workers of an earlier session still make; they count as started."""
        return []

    def room(self) -> int:
        """How many units may be started now."""
        raise NotImplementedError

    def start(self, units: Sequence[Unit]) -> None:
        """Start workers for these units."""
        raise NotImplementedError

    @property
    def running(self) -> Sequence[Unit]:
        """The units that were started and have not ended."""
        raise NotImplementedError

    def poll(self) -> Mapping[Unit, Result | None]:
        """Wait for a moment; the units that ended, None for those whose worker was lost without a word."""
        raise NotImplementedError

    def stop(self) -> None:
        """Let the workers save and end; what has not begun does not begin."""

    def kill(self) -> None:
        """End the workers at once."""


class Launcher(Component):
    """How the units of a study become processes."""

    here: ClassVar[bool] = False
    """Whether units are made in the process of the study."""

    def pool(self, study: Study) -> Pool:
        """The workers of a study. Raises UserError if there can be none."""
        raise NotImplementedError

    @contextlib.contextmanager
    def open(self, study: Study) -> Iterator[Pool]:
        """The workers of a study; those that are left at the end are stopped, and waited for."""
        pool = self.pool(study)
        try:
            yield pool
        finally:
            pool.stop()
            begun = time.monotonic()
            while pool.running and time.monotonic() - begun < PATIENCE:
                pool.poll()
            if pool.running:
                pool.kill()


LAUNCHERS: Family[Any] = Family(
    "launcher",
    Launcher,
    {
        "inline": "jaxpsn.study.launchers.inline",
        "local": "jaxpsn.study.launchers.local",
        "slurm": "jaxpsn.study.launchers.slurm",
    },
    doc="Which processes make the units of a study.",
)
