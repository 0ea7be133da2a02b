"""Read a run folder into NumPy arrays: CSV and JSON only, no JAX, no pandas."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpsn.core import errors, shapes


class Series(NamedTuple):
    """One metric over a run: ``steps`` [t] environment steps, ``values`` [seeds, t], NaN where a seed has no value."""

    steps: Float[np.ndarray, "t"]
    values: Float[np.ndarray, "s t"]


@dataclass(frozen=True)
class Run:
    """A run folder as read: rows of ``metrics.csv`` by column, the config, and what had to be tolerated."""

    path: Path
    config: Mapping[str, Any]
    columns: Mapping[str, Float[np.ndarray, "rows"]]
    events: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def seeds(self) -> Int[np.ndarray, "s"]:
        """The seeds that have rows, ascending."""
        return np.unique(self.columns["seed"]).astype(np.int64)

    def series(self, name: str) -> Series | None:
        """The metric ``name`` as steps [t] by seeds [s, t], or None where no row has a finite value of it.

        Steps at which no seed has a value are left out; of two rows of one step and seed the later one counts.
        """
        column = self.columns.get(name)
        if column is None or not np.isfinite(column).any():
            return None
        steps, column_index = np.unique(self.columns["step"], return_inverse=True)
        row_index = np.searchsorted(self.seeds, self.columns["seed"])
        values = np.full((len(self.seeds), len(steps)), np.nan)
        values[row_index, column_index] = column
        values[~np.isfinite(values)] = np.nan
        seen = np.isfinite(values).any(axis=0)
        return Series(steps[seen], values[:, seen])


def read(folder: str | Path, *, metrics: bool = True) -> Run:
    """Read a run folder: ``metrics.csv``, ``config.json`` and ``events.jsonl`` (the last two may be missing).

    A last line that was being written when the run stopped is left out and noted. Raises UserError, in one line, if
    the folder or its metrics are missing, or if a line cannot be read. ``metrics=False`` takes a folder without
    metrics, or with none yet, for a run that has no columns but ``step`` and ``seed``, and notes it.
    """
    path = Path(folder)
    if not path.is_dir():
        errors.refuse("run folder", str(folder), "an existing folder written by a run")
    notes: list[str] = []
    columns = _columns(path / "metrics.csv", metrics, notes)
    config = _config(path / "config.json", notes)
    events = _events(path / "events.jsonl", notes)
    return Run(path, config, columns, events, tuple(notes))


def setting(config: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """The setting ``section.field`` of a config, at whatever depth its section lies; ``default`` if there is none.

    Of a component it is the name; its fields lie below it.
    """
    if _is_component(config):
        config = config["fields"]
    head, _, rest = name.partition(".")
    if head in config:
        value = config[head]
        if not rest:
            return value["name"] if _is_component(value) else value
        if isinstance(value, Mapping):
            found = setting(value, rest, _ABSENT)
            if found is not _ABSENT:
                return found
    for value in config.values():
        if isinstance(value, Mapping):
            found = setting(value, name, _ABSENT)
            if found is not _ABSENT:
                return found
    return default


def named(config: Mapping[str, Any], section: str, field: str = "name") -> str:
    """What a component of a config is called: its ``field`` or its name, or the text that it is; empty if unknown."""
    found = setting(config, section)
    found = found.get(field, found.get("name")) if isinstance(found, Mapping) else found
    return found if isinstance(found, str) else ""


def flags(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by the name of its flag: a component by its own, its fields below it, in a sum below each term."""
    for name, value in config.items():
        inner = f"{path}.{name}" if path else name
        found = value.get("sum", [value]) if isinstance(value, Mapping) else []
        if isinstance(found, list) and found and all(_is_component(term) for term in found):
            yield inner, " + ".join(term["name"] for term in found)
            for term in found:
                yield from flags(term["fields"], inner if len(found) == 1 else f"{inner}.{term['name']}")
        elif isinstance(value, Mapping) and value:
            yield from flags(value, inner)
        else:
            yield inner, value


def _is_component(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"name", "fields"} and isinstance(value["fields"], Mapping)


_ABSENT = object()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error})") from None


def _columns(path: Path, needed: bool, notes: list[str]) -> dict[str, Float[np.ndarray, "rows"]]:
    if not needed and (not path.is_file() or len(_text(path).splitlines()) < 2):
        notes.append("metrics.csv has no rows: nothing is known of the training.")
        return {"step": np.zeros(0), "seed": np.zeros(0)}
    if not path.is_file():
        errors.refuse("run folder", str(path.parent), "a run folder with metrics.csv")
    text = _text(path)
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        notes.append("The last line of metrics.csv was cut short and is left out.")
    header, *rows = list(csv.reader(io.StringIO(text))) or [[]]
    if not {"step", "seed"} <= set(header):
        errors.refuse("metrics.csv", ",".join(header), "a header with the columns step and seed")
    if not rows:
        raise errors.UserError(f"{path}: no metrics yet (a header and no rows)")
    table = np.array([_row(path, number, header, row) for number, row in enumerate(rows, start=2)])
    for name in ("step", "seed"):
        column = table[:, header.index(name)]
        bad = np.flatnonzero(~((column >= 0) & (column < 1 << 53) & (column == np.floor(column))))
        if bad.size:
            raise errors.UserError(f"{path}, line {bad[0] + 2}: no {name} that is a whole number of at least 0")
    return {name: table[:, index] for index, name in enumerate(header)}


def _row(path: Path, number: int, header: list[str], row: list[str]) -> list[float]:
    if len(row) != len(header):
        raise errors.UserError(f"{path}, line {number}: {len(row)} cells, the header has {len(header)}")
    values = []
    for name, cell in zip(header, row, strict=True):
        try:
            values.append(float(cell) if cell.strip() else np.nan)
        except ValueError:
            raise errors.UserError(f"{path}, line {number}: {name} = {cell!r} is no number") from None
    return values


def _config(path: Path, notes: list[str]) -> Mapping[str, Any]:
    if not path.is_file():
        notes.append("config.json is missing: the settings of this run are not known.")
        return {}
    try:
        return shapes.read(path, shapes.RUN)
    except OSError as error:
        raise errors.UserError(f"{path}: cannot be read ({error})") from None


def _events(path: Path, notes: list[str]) -> tuple[Mapping[str, Any], ...]:
    events = []
    for line in _text(path).splitlines() if path.is_file() else ():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict):
            events.append(event)
        elif line.strip():
            notes.append("A line of events.jsonl could not be read and is left out.")
    return tuple(events)
