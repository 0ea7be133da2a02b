"""Where metrics and events go: CSV and JSONL always, TensorBoard and Weights & Biases if asked."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxpsn.core import errors, files
from jaxpsn.run.config import RunConfig
from jaxpsn.run.folder import RunFolder
from jaxpsn.run.loggers.lines import EventLog, RowLog
from jaxpsn.run.loggers.metrics import MetricsFiles

__all__ = ["EventLog", "MetricsFiles", "RowLog", "Sink", "Sinks", "TensorBoardSink", "WandbSink", "require_extras"]

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

    def close(self) -> None:
        """End."""
        ...


def _numbers(row: Row) -> dict[str, float]:
    return {
        name: value for name, value in row.items() if isinstance(value, int | float) and name not in ("step", "seed")
    }


class TensorBoardSink:
    """Scalars for TensorBoard in ``tensorboard/``, one tag per metric (and seed, if there are several)."""

    def __init__(self, path: Path, seeds: int, step: int):
        module = importlib.import_module("tensorboardX")
        self._writer = module.SummaryWriter(str(files.make_folder(path)), purge_step=step + 1)
        self._seeds = seeds

    def write(self, rows: Sequence[Row]) -> None:
        """Hand the rows over."""
        for row in rows:
            for name, value in _numbers(row).items():
                tag = f"{name}/seed{row['seed']}" if self._seeds > 1 else name
                self._writer.add_scalar(tag, value, row["step"])

    def sync(self) -> None:
        """Flush to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class WandbSink:
    """Weights & Biases; a resumed run goes on under its id."""

    def __init__(self, folder: RunFolder, seeds: int, record: dict[str, Any]):
        self._module = importlib.import_module("wandb")
        name = folder.path.name
        files.make_folder(folder.path / "wandb")
        self._run = self._module.init(
            project="jaxpsn", name=name, id=name, resume="allow", dir=str(folder.path), config=record
        )
        self._seeds = seeds

    def write(self, rows: Sequence[Row]) -> None:
        """Hand the rows of one step over together."""
        for row in rows:
            last = row is rows[-1]
            names = {f"{n}/seed{row['seed']}" if self._seeds > 1 else n: v for n, v in _numbers(row).items()}
            self._run.log(names, step=row["step"], commit=last)

    def sync(self) -> None:
        """Nothing to do: its own process sends the rows."""

    def close(self) -> None:
        """Tell it that the run ended."""
        self._run.finish()


def require_extras(run: RunConfig) -> None:
    """Refuse optional sinks that are not installed; cheap, so scripts ask before anything compiles."""
    for field, package in (("tensorboard", "tensorboardX"), ("wandb", "wandb")):
        if getattr(run, field) and importlib.util.find_spec(package) is None:
            errors.refuse(field, True, f"needs {package}: pip install 'jaxpsn[{field}]'")


class Sinks:
    """All sinks of a run. The files must be written; an optional sink that fails is dropped and said so."""

    def __init__(
        self, folder: RunFolder, run: RunConfig, record: Any, files: MetricsFiles, step: int,
        warn: Callable[[str], None],
    ):  # fmt: skip
        self._warn = warn
        self._files = files
        self._extras: dict[str, Sink] = {}
        if run.tensorboard:
            self._start("tensorboard", lambda: TensorBoardSink(folder.path / "tensorboard", run.seeds, step))
        if run.wandb:
            self._start("wandb", lambda: WandbSink(folder, run.seeds, record))

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
        self._each_extra(lambda sink: sink.write(rows))

    def sync(self) -> None:
        """Make all rows durable. Raises OSError if a file cannot be written."""
        self._files.sync()
        self._each_extra(lambda sink: sink.sync())

    def close(self) -> None:
        """Close them all."""
        self._files.close()
        self._each_extra(lambda sink: sink.close())
