"""Where metrics and events go: CSV and JSONL always, TensorBoard and Weights & Biases if asked."""

import contextlib
import csv
import datetime
import importlib
import importlib.util
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxpsn import errors
from jaxpsn.training.config import RunConfig
from jaxpsn.training.folder import RunFolder

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


def _text(value: Any) -> str:
    if value is None:
        return ""
    return format(value, ".9g") if isinstance(value, float) else str(value)  # 9 digits give a float32 back


class _Lines:
    """A file of whole lines that is appended to, from ``keep`` lines on."""

    def __init__(self, path: Path, keep: Callable[[str], bool]):
        self._file = path.open("a+", newline="")
        self._cut(keep)

    def _cut(self, keep: Callable[[str], bool]) -> None:
        """Drop the first line that is cut off or not to be kept, and all after it, in place: it needs no disk."""
        self._file.seek(0)
        end = 0
        for line in self._file.buffer:
            text = line.decode(errors="replace")
            if not text.endswith("\n") or not keep(text):
                break
            end += len(line)
        self._file.truncate(end)
        self._file.seek(0, os.SEEK_END)

    def append(self, lines: Sequence[str]) -> None:
        self._file.write("".join(lines))
        self._file.flush()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


class CsvSink:
    """metrics.csv; rows after ``step`` (left by a run that was killed) are cut off when it opens."""

    def __init__(self, path: Path, columns: Sequence[str], step: int):
        self.columns = tuple(columns)
        header = ",".join(self.columns) + "\n"
        found = path.read_text().partition("\n") if path.exists() else ("", "", "")
        if found[1] and found[0] + "\n" != header:
            errors.refuse("resume", str(path), f"columns {header.strip()}; it has {found[0]}")
        self._lines = _Lines(path, lambda line: line == header or self._kept(line, step))
        if path.stat().st_size == 0:
            self._lines.append([header])

    def _kept(self, line: str, step: int) -> bool:
        cells = next(csv.reader([line]))
        return len(cells) == len(self.columns) and cells[0].isdigit() and int(cells[0]) <= step

    def write(self, rows: Sequence[Row]) -> None:
        """Append the rows and flush."""
        self._lines.append([",".join(_text(row.get(name)) for name in self.columns) + "\n" for row in rows])

    def sync(self) -> None:
        """Flush to the disk."""
        self._lines.sync()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def _json(value: Any) -> Any:
    """``value`` as strict JSON allows it: NaN is null, and infinities are text, in which they still reach readers."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: _json(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


class RowLog:
    """Rows as JSON objects (JSONL), each with the whole number ``step``, in the order of their steps.

    Rows after ``kept`` (left by a run that was killed; -1 keeps none) and a torn last line are cut off when it opens.
    Absent values (None, NaN) are left out; nested lists and dicts, NumPy numbers and any text are welcome.
    """

    def __init__(self, path: Path, kept: int):
        self._lines = _Lines(path, lambda line: self._kept(line, kept))

    @staticmethod
    def _kept(line: str, kept: int) -> bool:
        try:
            return json.loads(line)["step"] <= kept
        except (ValueError, TypeError, KeyError):
            return False

    def write(self, rows: Sequence[Row]) -> None:
        """Append the rows and flush. Raises OSError if the disk does not take them."""
        clean = [{name: v for name, v in _json(row).items() if v is not None} for row in rows]
        if not all(isinstance(row.get("step"), int) for row in clean):
            raise ValueError("a row without its step could not be cut off when a run is resumed")
        self._lines.append([json.dumps(row) + "\n" for row in clean])

    def sync(self) -> None:
        """Flush to the disk."""
        self._lines.sync()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


class EventLog:
    """events.jsonl: what happened, when, at which step; never cut, it is the history of the run."""

    def __init__(self, path: Path):
        self._lines = _Lines(path, lambda line: True)

    def write(self, step: int, event: str, detail: str = "", seconds: float | None = None) -> None:
        """Append one event; ``seconds`` is what it took."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        row = {"time": now, "step": step, "event": event, "detail": detail}
        row |= {} if seconds is None else {"seconds": round(seconds, 3)}
        self._lines.append([json.dumps(row) + "\n"])

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def _numbers(row: Row) -> dict[str, float]:
    return {
        name: value for name, value in row.items() if isinstance(value, int | float) and name not in ("step", "seed")
    }


class TensorBoardSink:
    """Scalars for TensorBoard in ``tensorboard/``, one tag per metric (and seed, if there are several)."""

    def __init__(self, path: Path, seeds: int, step: int):
        module = importlib.import_module("tensorboardX")
        self._writer = module.SummaryWriter(str(path), purge_step=step + 1)
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
        self, folder: RunFolder, run: RunConfig, record: Any, columns: Sequence[str], step: int,
        warn: Callable[[str], None],
    ):  # fmt: skip
        self._warn = warn
        self._files: list[Sink] = [
            CsvSink(folder.metrics, columns, step),
            RowLog(folder.metrics.with_suffix(".jsonl"), step),
        ]
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

    def write(self, rows: Sequence[Row]) -> None:
        """Write the rows of one chunk everywhere. Raises OSError if a file cannot be written."""
        for sink in self._files:
            sink.write(rows)
        self._each_extra(lambda sink: sink.write(rows))

    def sync(self) -> None:
        """Make all rows durable. Raises OSError if a file cannot be written."""
        for sink in self._files:
            sink.sync()
        self._each_extra(lambda sink: sink.sync())

    def close(self) -> None:
        """Close them all."""
        for sink in self._files:
            sink.close()
        self._each_extra(lambda sink: sink.close())
