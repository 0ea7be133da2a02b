"""The tidy table of a study or of several runs, and how tables are written: CSV, and Parquet where pyarrow is there."""

import csv
import importlib.util
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpsn.core import files
from jaxpsn.report.study.folder import Unit

COLUMNS = ("arm", "task", "seed", "step", "metric", "value")
"""A row for every number that was recorded: what any tool can group."""
NAME = "tidy"
_ID = ("step", "seed")


class _Part(NamedTuple):
    """The numbers of one metric of one run."""

    arm: str
    task: str
    seeds: list[int]
    steps: list[int]
    metric: str
    values: list[float]


def write(units: Iterable[Unit], folder: Path) -> Path:
    """Write ``tidy.csv`` of the runs of ``units``, and ``tidy.parquet`` where pyarrow is there; returns the former."""
    parts, path = list(_parts(units)), folder / f"{NAME}.csv"
    files.write_atomically(path, "".join((",".join(COLUMNS) + "\n", *map(_lines, parts))))
    if importlib.util.find_spec("pyarrow") is not None:
        files.write_atomically(folder / f"{NAME}.parquet", _parquet(parts))
    return path


def _parts(units: Iterable[Unit]) -> Iterator[_Part]:
    for unit in units:
        run = unit.told.run
        for name, column in {} if run is None else run.columns.items():
            known = np.isfinite(column)
            if name not in _ID and known.any():
                seeds, steps = (run.columns[one][known].astype(np.int64).tolist() for one in _ID[::-1])
                yield _Part(unit.arm, unit.task, seeds, steps, name, column[known].tolist())


def _lines(part: _Part) -> str:
    quoted = csv_text((part.arm, part.task, part.metric), ()).strip("\n")
    metric = csv_text((part.metric,), ()).strip("\n")
    head = quoted[: len(quoted) - len(metric)]
    rows = zip(part.seeds, part.steps, part.values, strict=True)
    return "".join(f"{head}{seed},{step},{metric},{value!r}\n" for seed, step, value in rows)


def _parquet(parts: Sequence[_Part]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    columns: list[list[Any]] = [[] for _ in COLUMNS]
    for part in parts:
        count = len(part.values)
        filled = ([part.arm] * count, [part.task] * count, part.seeds, part.steps, [part.metric] * count, part.values)
        for column, more in zip(columns, filled, strict=True):
            column.extend(more)
    target = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(dict(zip(COLUMNS, columns, strict=True))), target)
    return target.getvalue()


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV; blank is unknown (None or NaN), numbers have nine digits."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_plain(cell) for cell in row] for row in rows)
    return file.getvalue()


def _plain(cell: Any) -> Any:
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    return format(cell, ".9g") if isinstance(cell, float) else cell
