"""Where metrics and events go: CSV and JSONL always, TensorBoard and Weights & Biases if asked."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxpsn.core import errors, files
from jaxpsn.run.config import RunConfig
from jaxpsn.run.folder import RunFolder
from jaxpsn.run.loggers import callbacks
from jaxpsn.run.loggers.lines import EventLog, RowLog
from jaxpsn.run.loggers.metrics import MetricsFiles

__all__ = [
    "EventLog", "Kept", "MetricsFiles", "RowLog", "Sink", "Sinks", "TensorBoardSink", "WandbSink", "require_extras",
]  # fmt: skip

Row = dict[str, Any]


@runtime_checkable
class Sink(Protocol):
    """A place for rows of metrics; a value of None is absent."""

    def write(self, rows: Sequence[Row]) -> None:
        """Take the rows of one chunk and hand them to the system."""
        ...

    def sync(self) -> None:
        """Make all rows durable: called before a checkpoint that counts on them."""
        ...

    def close(self, status: str) -> None:
        """End; ``status`` says how the run ended."""
        ...


class TensorBoardSink:
    """Scalars for TensorBoard in ``tensorboard/``, one tag per metric (and seed, if there are several)."""

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


class WandbSink:
    """Weights & Biases; a resumed run goes on under its id."""

    def __init__(self, folder: RunFolder, run: RunConfig, record: dict[str, Any]):
        self._module = importlib.import_module("wandb")
        name = folder.path.name
        files.make_folder(folder.path / "wandb")
        self._run = self._module.init(
            project=run.wandb_project, group=run.wandb_group, tags=list(run.wandb_tags), name=name, id=name,
            resume="allow", dir=str(folder.path), config=record,
        )  # fmt: skip
        self._seeds = run.seeds

    def write(self, rows: Sequence[Row]) -> None:
        """Hand the rows of one step over together."""
        for row in rows:
            self._run.log(callbacks.numbers(row, self._seeds), step=row["step"], commit=row is rows[-1])

    def sync(self) -> None:
        """Nothing to do: its own process sends the rows."""

    def close(self, status: str) -> None:
        """Tell it that the run ended, and how."""
        self._run.finish()


def require_extras(run: RunConfig) -> None:
    """Refuse optional sinks that are not installed; cheap, so scripts ask before anything compiles."""
    for field, package in (("tensorboard", "tensorboardX"), ("wandb", "wandb")):
        if getattr(run, field) and importlib.util.find_spec(package) is None:
            errors.refuse(field, True, f"needs {package}: pip install 'jaxpsn[{field}]'")


class Kept:
    """The rows of a run that leaves nothing on the disk, in place of its :class:`MetricsFiles`."""

    def __init__(self) -> None:
        self.all: list[Row] = []

    @property
    def rows(self) -> int:
        """Rows so far."""
        return len(self.all)

    def write(self, rows: Sequence[Row]) -> None:
        """Keep them."""
        self.all += rows

    def sync(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class Sinks:
    """All sinks of a run. The rows must be kept; an optional sink that fails is dropped and said so.

    ``folder`` is None for a run that leaves nothing on the disk; ``loggers`` are a user's own trackers.
    """

    def __init__(
        self, folder: RunFolder | None, run: RunConfig, record: Any, files: MetricsFiles | Kept, step: int,
        warn: Callable[[str], None], loggers: Sequence[callbacks.Logger] = (),
    ):  # fmt: skip
        self._warn = warn
        self._files = files
        self._extras: dict[str, Sink] = {}
        self.last: Sequence[Row] = ()
        """The rows that were written last."""
        if run.tensorboard and folder is not None:
            path = folder.path / "tensorboard"
            self._start("tensorboard", lambda: TensorBoardSink(path, run.seeds, step))
        if run.wandb and folder is not None:
            self._start("wandb", lambda: WandbSink(folder, run, record))
        for index, one in enumerate(loggers):
            name = f"{type(one).__name__} {index + 1}" if len(loggers) > 1 else type(one).__name__
            self._start(name, lambda one=one: callbacks.CallbackSink(one, run.seeds, record, record["name"]))

    def _start(self, name: str, make: Callable[[], Sink]) -> None:
        try:
            self._extras[name] = make()
        except Exception as error:  # third-party code of every kind: it must not cost the run
            self._warn(f"{name} does not start ({type(error).__name__}: {error}); going on without")

    def _each_extra(self, action: Callable[[Sink], None]) -> None:
        for name, sink in list(self._extras.items()):
            try:
                action(sink)
            except Exception as error:  # as above
                del self._extras[name]
                self._warn(f"{name} failed ({type(error).__name__}: {error}); going on without")

    @property
    def rows(self) -> int:
        """Rows of metrics so far, what a checkpoint counts on."""
        return self._files.rows

    def write(self, rows: Sequence[Row]) -> None:
        """Write the rows of one chunk everywhere. Raises OSError if a file cannot be written."""
        self._files.write(rows)
        self.last = rows
        self._each_extra(lambda sink: sink.write(rows))

    def sync(self) -> None:
        """Make all rows durable. Raises OSError if a file cannot be written."""
        self._files.sync()
        self._each_extra(lambda sink: sink.sync())

    def close(self, status: str) -> None:
        """Close them all; ``status`` says how the run ended."""
        self._files.close()
        self._each_extra(lambda sink: sink.close(status))
