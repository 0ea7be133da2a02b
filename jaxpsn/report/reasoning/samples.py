"""Sample answers of a reasoning run: a few right and wrong ones of its first and last step, from ``samples.jsonl``.

A row is an object with ``step``, ``problem`` (id), ``prompt``, ``text`` and ``reward``; of what else the log holds
``score``, ``advantage``, ``member``, ``sigma``, ``length``, ``ended`` and ``weight`` are shown. The text is a model's:
it may hold anything.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from jaxpsn.core import text
from jaxpsn.report import page

_WINDOW = 1 << 25  # bytes read at each end of the log: a run's may have gigabytes
_PROMPT, _TEXT = 600, 1200  # characters shown
_NAMES = ("problem", "reward", "advantage", "member", "sigma", "length", "weight", "ended")
_KEPT = ("step", "prompt", "text", "score", *_NAMES)


class Step(NamedTuple):
    """Rows of one step, as read: some that are right, some that are wrong, and how many there were of each."""

    step: int
    right: tuple[Mapping[str, Any], ...]
    wrong: tuple[Mapping[str, Any], ...]
    counts: tuple[int, int]


def read(path: str | Path, each: int = 3) -> tuple[list[Step], list[str]]:
    """The first and the last step of a sample log, with up to ``each`` right and wrong answers, of unlike problems.

    Reads both ends of the file alone. Also returns a line for whatever could not be read; a last line that was being
    written when the run stopped is passed over.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            head, broken = _rows(_lines(file, 0, _WINDOW))
            tail, more = _rows(_lines(file, max(_WINDOW, size - _WINDOW), size))
    except OSError as error:
        return [], [f"{path.name}: cannot be read ({error.strerror})"]
    problems = [f"{path.name}: {broken + more} lines cannot be read and are left out."] if broken + more else []
    rows = [*head, *tail]
    if not rows:
        return [], [*problems, f"{path.name} holds no answers."]
    ends = sorted({min(row["step"] for row in rows), max(row["step"] for row in rows)})
    return [_step(step, [row for row in rows if row["step"] == step], each) for step in ends], problems


def _lines(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Whole lines that begin in [start, end) and are no longer than the window; one that is cut off is left out."""
    file.seek(max(0, start - 1))
    if start:
        file.readline(_WINDOW)  # the end of a line that begins before
    while file.tell() < end:
        line = file.readline(_WINDOW)
        if not line.endswith(b"\n"):
            return
        yield line


def _rows(lines: Iterable[bytes]) -> tuple[list[Mapping[str, Any]], int]:
    """Rows that can be shown, and how many lines are none."""
    rows, broken = [], 0
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if _sound(row):
            rows.append({name: row[name] for name in _KEPT if name in row})
        elif line.strip():
            broken += 1
    return rows, broken


def _sound(row: Any) -> bool:
    if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
        return False
    step = row.get("step")
    return isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 1 << 53 and _score(row) is not None


def _score(row: Mapping[str, Any]) -> float | None:
    """What the verifier said; the reward where the log does not tell them apart."""
    score = row.get("score", row.get("reward"))
    number = isinstance(score, int | float) and not isinstance(score, bool) and abs(score) < 1e300
    return float(score) if number else None


def _step(step: int, rows: list[Mapping[str, Any]], each: int) -> Step:
    right = [row for row in rows if _score(row) > 0]
    wrong = [row for row in rows if not _score(row) > 0]
    return Step(step, _varied(right, each), _varied(wrong, each), (len(right), len(wrong)))


def _varied(rows: list[Mapping[str, Any]], each: int) -> tuple[Mapping[str, Any], ...]:
    """The first ``each`` rows of unlike problems, filled up with others."""
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault(str(row.get("problem", row.get("prompt"))), row)
    chosen = list(first.values())[:each]
    chosen += [row for row in rows if not any(row is other for other in chosen)][: each - len(chosen)]
    return tuple(chosen)


class Answer(NamedTuple):
    """An answer as it is shown."""

    facts: tuple[tuple[str, str], ...]
    prompt: str
    text: str


class Answers(NamedTuple):
    """Right answers beside wrong ones: a block of the page."""

    right: Sequence[Answer]
    wrong: Sequence[Answer]
    kind = "samples"


def blocks(step: Step) -> list[Any]:
    """The answers of a step as blocks of the page: a heading, right ones beside wrong ones."""
    right, total = step.counts[0], sum(step.counts)
    heading = page.Heading(f"Step {step.step:,}: {right:,} right of {total:,} answers read")
    return [heading, Answers([_answer(row) for row in step.right], [_answer(row) for row in step.wrong])]


def _answer(row: Mapping[str, Any]) -> Answer:
    prompt, answer = (text.visible(row.get(name, ""), most) for name, most in (("prompt", _PROMPT), ("text", _TEXT)))
    return Answer(tuple(_facts(row)), prompt, answer)


def _facts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the log says of an answer, in the order of _NAMES; what it leaves out is left out."""
    for name in _NAMES:
        value = row.get(name)
        if name == "ended":
            if value is False:
                yield "cut off", "at the limit"
        elif name == "member" and value == -1:
            yield "policy", "clean"
        elif name == "sigma" and not value:
            continue
        elif isinstance(value, str):
            yield name, text.visible(value, 48).replace("\n", " ")
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            yield name, f"{value:.3g}" if isinstance(value, float) else str(value)
