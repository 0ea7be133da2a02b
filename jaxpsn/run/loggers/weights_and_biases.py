"""Weights & Biases as a logger."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxpsn.core import errors, files
from jaxpsn.run.loggers import callbacks
from jaxpsn.run.loggers.family import LOGGERS, Log, Opening, Row, Sink


@LOGGERS.register("wandb")
@dataclass(frozen=True)
class Wandb(Log):
    """Weights & Biases; a resumed run goes on under its id; needs the extra wandb."""

    package: ClassVar[str | None] = "wandb"
    extra: ClassVar[str | None] = "wandb"
    in_folder: ClassVar[bool] = True

    project: str = "jaxpsn"
    """Its project there."""
    group: str | None = None
    """Its group there."""
    tags: tuple[str, ...] = ()
    """Its tags there."""

    def validate(self) -> None:
        """Refuse names of nothing."""
        for name in ("project", "group"):
            if getattr(self, name) == "":
                errors.refuse(f"wandb.{name}", "", f"the name of a {name}")
        if "" in self.tags:
            errors.refuse("wandb.tags", self.tags, "tags of at least one character")

    def opened(self, opening: Opening) -> Sink | None:
        return WandbSink(self, opening)


class WandbSink:
    """A run of Weights & Biases, named as its folder."""

    def __init__(self, asked: Wandb, opening: Opening):
        assert opening.folder is not None
        self._module = importlib.import_module("wandb")
        name = opening.folder.name
        files.make_folder(opening.folder / "wandb")
        self._run = self._module.init(
            project=asked.project, group=asked.group, tags=list(asked.tags), name=name, id=name, resume="allow",
            dir=str(opening.folder), config=dict(opening.record),
        )  # fmt: skip
        self._seeds = opening.seeds

    def write(self, rows: Sequence[Row]) -> None:
        """Hand the rows of one step over together."""
        for row in rows:
            self._run.log(callbacks.numbers(row, self._seeds), step=row["step"], commit=row is rows[-1])

    def sync(self) -> None:
        """Nothing to do: its own process sends the rows."""

    def close(self, status: str) -> None:
        """Tell it that the run ended."""
        self._run.finish()
