"""TensorBoard as a logger."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jaxpsn.core import files
from jaxpsn.run.loggers import callbacks
from jaxpsn.run.loggers.family import LOGGERS, Log, Opening, Row, Sink


@LOGGERS.register("tensorboard")
@dataclass(frozen=True)
class TensorBoard(Log):
    """Scalars for TensorBoard, in ``tensorboard/`` of the run folder; needs the extra tensorboard."""

    package: ClassVar[str | None] = "tensorboardX"
    extra: ClassVar[str | None] = "tensorboard"
    in_folder: ClassVar[bool] = True

    def opened(self, opening: Opening) -> Sink | None:
        assert opening.folder is not None
        return TensorBoardSink(opening.folder / "tensorboard", opening.seeds, opening.step)


class TensorBoardSink:
    """Scalars for TensorBoard, one tag per metric (and seed, if there are several)."""

    def __init__(self, path: Path, seeds: int, step: int):
        module = importlib.import_module("tensorboardX")
        self._writer = module.SummaryWriter(str(files.make_folder(path)), purge_step=step + 1)
        self._seeds = seeds

    def write(self, rows: Sequence[Row]) -> None:
        """Hand the rows over."""
        for row in rows:
            for tag, value in callbacks.numbers(row, self._seeds).items():
                self._writer.add_scalar(tag, value, row["step"])

    def sync(self) -> None:
        """Flush to the disk."""
        self._writer.flush()

    def close(self, status: str) -> None:
        """Flush and close."""
        self._writer.close()
