"""``metrics.csv`` and ``metrics.jsonl`` of a run: the same rows twice, so that at a resume each mends the other.

Opening only looks. What must go (rows beyond the checkpoint), and what can be put back, is done with the first write,
so a resume that is refused leaves both files as they were.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxpsn.core import errors, files
from jaxpsn.run.loggers import lines

Row = dict[str, Any]
Key = tuple[int, int]
"""Step and seed."""
JUDGED = "eval_"
"""How the columns of an evaluation begin: they may come and go when a run is resumed."""
_KEY = ("step", "seed")
_WHOLE = (*_KEY, "updates")
_NUMBER = re.compile(r"[0-9]{1,18}")


class _Half(NamedTuple):
    """One of the two files as found: its rows up to the checkpoint, as text, and lines that say nothing."""

    rows: Mapping[Key, str]
    unreadable: int
    """Lines before the last of ``rows`` that are no rows."""
    columns: tuple[str, ...] = ()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return format(value, ".9g") if isinstance(value, float) else str(value)  # 9 digits give a float32 back


def _csv_line(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    return ",".join(_cell(row.get(name)) for name in columns)


def _read(path: Path) -> str | None:
    try:
        with files.open_own(path) as file:
            return file.read().decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        return None


def _half(texts: Sequence[str], read: Any, kept: int) -> tuple[dict[Key, str], int]:
    """The rows that stand among ``texts``, each read by ``read``, and how many before the last of them are none."""
    rows: dict[Key, str] = {}
    unreadable = pending = 0
    for text in texts:
        key = read(text)
        if key is None:
            pending += bool(text.strip())
        elif key[0] <= kept:
            rows[key] = text
            unreadable, pending = unreadable + pending, 0
    return rows, unreadable


def _csv_half(path: Path, kept: int, twin: Mapping[Key, str]) -> _Half:
    text = _read(path)
    head, *body = lines.split(text or "") or [""]
    columns = tuple(head.split(","))
    if not {"step", "seed"} <= set(columns):
        return _Half({}, 0)
    rows, unreadable = _half(body, lambda line: _csv_key(line, columns), kept)
    if text and not text.endswith("\n") and (last := _csv_key(body[-1], columns) if body else None) in twin:
        rows.pop(last, None)  # its last number may have lost digits
    return _Half(rows, unreadable, columns)


def _csv_key(line: str, columns: Sequence[str]) -> Key | None:
    """Step and seed of a row all of whose cells can be; None of any other line."""
    row = _csv_row(line, columns)
    return None if row is None else (row["step"], row["seed"])


def _csv_row(line: str, columns: Sequence[str]) -> Row | None:
    try:
        cells = next(csv.reader([line]), [])
    except csv.Error:
        return None
    if len(cells) != len(columns):
        return None
    row: Row = {}
    for name, cell in zip(columns, cells, strict=True):
        if name in _WHOLE and (cell or name in _KEY):
            if not _NUMBER.fullmatch(cell):
                return None
            row[name] = int(cell)
        elif cell:
            try:
                row[name] = float(cell)
            except ValueError:
                return None
    return row


def _json_half(path: Path, kept: int) -> _Half:
    text = _read(path)
    return _Half(*_half(lines.split(text or ""), _json_key, kept))


def _json_key(line: str) -> Key | None:
    row = _json_row(line)
    return None if row is None else (row["step"], row["seed"])


def _json_row(line: str) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    for name in _KEY:
        if isinstance(row.get(name), bool) or not isinstance(row.get(name), int) or row[name] < 0:
            return None
    numbers = (v for v in row.values() if v not in ("inf", "-inf"))
    return row if all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers) else None


class MetricsFiles:
    """Both files of a run, as a sink of rows (``training.sinks.Sink``).

    Rows of steps after ``kept`` (left by a run that was killed; -1 keeps none) go with the first write. All rows up to
    it stay: what one file lacks, or has damaged, comes from the other, and ``notes`` say so. Raises UserError where
    rows are in neither: fewer than the ``expected`` that the checkpoint counted, or none of the step ``kept``.
    """

    def __init__(self, path: Path, kept: int, expected: int = 0):
        self.columns: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self._path, self._twin = path, path.with_suffix(".jsonl")
        self._json = _json_half(self._twin, kept)
        self._csv = _csv_half(path, kept, self._json.rows)
        self._keys = sorted(self._csv.rows.keys() | self._json.rows.keys())
        self.rows = len(self._keys)
        """Rows that stand in each file, once it was written to."""
        self._files: tuple[lines.Lines, lines.Lines] | None = None
        if kept >= 0:
            self._refuse_lost(kept, expected)

    def _refuse_lost(self, kept: int, expected: int) -> None:
        halves = (self._csv, self._json)
        most = expected or max(len(half.rows) + half.unreadable for half in halves)
        if len(self._keys) < most:
            lost = f"{most - len(self._keys)} of {most} rows up to step {kept} are"
        elif kept > 0 and (not self._keys or self._keys[-1][0] != kept):
            lost = f"the row of step {kept} is"
        else:
            return
        errors.refuse("resume", str(self._path.parent), f"{lost} neither in {self._path.name} nor in {self._twin.name}")

    def begin(self, columns: Sequence[str]) -> None:
        """Say which columns the rows to come have. Raises UserError if they are not those of the rows before.

        Only columns of evaluations may differ: those of the file stay, new ones follow before the last two.
        """
        self.columns = self._joined(tuple(columns))
        rows = [self._csv_text(key) for key in self._keys]
        listed = [self._json_text(key) for key in self._keys]
        self._note("metrics.csv", self._csv, rows, "metrics.jsonl")
        self._note("metrics.jsonl", self._json, listed, "metrics.csv, to its 9 digits")
        self._files = (
            lines.Lines.of(self._path, [",".join(self.columns), *rows]),
            lines.Lines.of(self._twin, listed),
        )
        self._csv = self._json = _Half({}, 0)
        self._keys = []

    def _joined(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        if self._damaged(columns):
            self._csv = _Half({}, 0)
        if not self._csv.rows:
            logged = {name for line in self._json.rows.values() for name in _json_row(line) or ()}
            return _with(columns, sorted(name for name in logged - {*columns} if name.startswith(JUDGED)))
        old = self._csv.columns
        strange = [name for name in {*old} ^ {*columns} if not name.startswith(JUDGED)]
        if strange:
            errors.refuse("resume", str(self._path), f"columns {','.join(columns)}; it has {','.join(old)}")
        return _with(old, [name for name in columns if name not in old])

    def _damaged(self, columns: tuple[str, ...]) -> bool:
        """Whether the header was spoilt: the rows of the twin, which has them all, know only columns of ours."""
        if len(self._json.rows) < len(self._keys):
            return False
        logged = (name for line in self._json.rows.values() for name in _json_row(line) or ())
        names = {name for name in logged if not name.startswith(JUDGED)}
        strange = {name for name in self._csv.columns if name not in columns and not name.startswith(JUDGED)}
        return bool(strange) and not strange & names and names <= {*columns}

    def _csv_text(self, key: Key) -> str:
        line = self._csv.rows.get(key)
        if line is not None and self.columns == self._csv.columns:
            return line
        row = _json_row(self._json.rows[key]) if line is None else _csv_row(line, self._csv.columns)
        return _csv_line(row or {}, self.columns)

    def _json_text(self, key: Key) -> str:
        line = self._json.rows.get(key)
        if line is not None:
            return line
        row = _csv_row(self._csv.rows[key], self._csv.columns) or {}
        return _dumps(row)

    def _note(self, name: str, half: _Half, rows: Sequence[str], source: str) -> None:
        missing = len(rows) - len(half.rows)
        if missing:
            self.notes += (f"{missing} of {len(rows)} rows of {name} were lost or damaged; restored from {source}",)

    def write(self, rows: Sequence[Row]) -> None:
        """Append the rows to both files and flush. Raises OSError if the disk does not take them."""
        table, listed = self._opened()
        table.append([_csv_line(row, self.columns) for row in rows])
        listed.append([_dumps(row) for row in rows])
        self.rows += len(rows)

    def _opened(self) -> tuple[lines.Lines, lines.Lines]:
        assert self._files is not None, "begin was not called"
        return self._files

    def sync(self) -> None:
        """Flush both to the disk."""
        for file in self._opened():
            file.sync()

    def close(self) -> None:
        """Close both."""
        for file in self._files or ():
            file.close()


def _with(columns: tuple[str, ...], more: Sequence[str]) -> tuple[str, ...]:
    """``columns`` with those of an evaluation before the last two."""
    return (*columns[:-2], *more, *columns[-2:]) if more else columns


def _dumps(row: Mapping[str, Any]) -> str:
    return json.dumps({name: v for name, v in lines.strict(row).items() if v is not None})
