"""Tables as people read them on a terminal, and as files: CSV, JSON with options and machine, a plot."""

import csv
import dataclasses
import io
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.options import Benchmark
from jaxpsn.core import errors, files
from jaxpsn.run import folder

Row = dict[str, Any]


class Table(NamedTuple):
    """What a benchmark found, and on what machine (:func:`benchmarks.timing.machine`)."""

    rows: list[Row]
    machine: dict[str, Any]
    details: dict[str, Any] | None = None
    """What the JSON file holds besides the rows, by its names there."""


def check(out: Path) -> None:
    """Refuse, before anything is timed, a folder of results that cannot be one; it is made with the first table."""
    there = next(one for one in (out, *out.absolute().parents) if one.exists())
    if not there.is_dir():
        errors.refuse("out", str(out), "a folder, here lies a file" if there == out else f"a folder; {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        errors.refuse("out", str(out), f"a folder that can be written: {there} cannot")


def there(options: Benchmark) -> dict[str, Any]:
    """What :func:`write` left there in an earlier call, for a benchmark that goes on; empty if nothing."""
    path = options.out / f"{options.stem}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write(options: Benchmark, table: Table) -> None:
    """Write ``table`` as CSV, JSON and SVG under the name of the benchmark, and say where."""
    from benchmarks import plots

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.stem}.json"
    columns = list(dict.fromkeys(name for row in table.rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(table.rows)
    files.write_atomically(path.with_suffix(".csv"), text.getvalue())
    about = {
        "benchmark": options.name,
        "options": neutral(dataclasses.asdict(options)),
        "command": neutral(sys.argv),
        "machine": table.machine,
        "versions": folder.versions(),
        "rows": table.rows,
    } | (table.details or {})
    files.write_atomically(path, json.dumps(about, indent=1) + "\n")
    plots.write(path)
    print(f"written: {path.with_suffix('')}.csv, .json and .svg", flush=True)


def neutral(told: Any) -> Any:
    """What was asked for, without the places of one machine: paths from here, and of what lies elsewhere the name."""
    if isinstance(told, dict):
        return {name: neutral(value) for name, value in told.items()}
    if isinstance(told, list | tuple):
        return [neutral(value) for value in told]
    if not isinstance(told, str | Path):
        return told
    path, here = Path(told), Path.cwd()
    if not path.is_absolute():
        return str(told)
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name


def show(rows: list[Row]) -> None:
    """Print ``rows``: what, how long, how many times the baseline."""
    names = [_label(row) for row in rows]
    width = max(map(len, names))
    timed = any(row.get("seconds") is not None for row in rows)
    print(f"{'':{width}}  " + ("median ms   ratio    best   (10% .. 90%)" if timed else "planned MiB   ratio"))
    for name, row in zip(names, rows, strict=True):
        print(f"{name:{width}}  {_numbers(row)}")


def _label(row: Row) -> str:
    parts = [f"{row['members']:,} members" if row.get("members") else None, row.get("part"), row["name"]]
    return ", ".join(filter(None, parts))


def _numbers(row: Row) -> str:
    if "left_out" in row:
        return f"left out: {row['left_out']}"
    if row.get("seconds") is None:
        planned = row.get("planned_bytes")
        return "not told by this backend" if planned is None else f"{planned / 2**20:11.3f}  {row['ratio']:6.3f}"
    spread = f"({row['ratio_low']:.2f} .. {row['ratio_high']:.2f})"
    return f"{row['seconds'] * 1e3:9.3f}  {row['ratio']:6.2f}  {row['best']:6.2f}   {spread}"
