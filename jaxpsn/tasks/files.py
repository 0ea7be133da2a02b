r"""Readers of users' files of problems (`containers` says which files): GSM8K, MATH, AIME, choice sets, and others.

===========  ====================================================================================================
kind         answer
===========  ====================================================================================================
``gsm8k``    the value after the last ``####`` of ``answer``
``math``     ``answer`` if there (what it boxes, if it is a solution), else the last ``\boxed{...}`` of ``solution``
``aime``     ``answer``, a whole number from 0 to 999; zeros in front do not matter
``choice``   the letter of the right one of ``choices`` or ``options``, whatever the row calls it (`choices.letters`)
``general``  ``answer`` or its like (`fields.GOLDS`); ``verifier`` (`file_task.VERIFIERS`) may say how to compare
===========  ====================================================================================================

The question is asked whole (`fields.question`), a choice with its list. A row may name itself by ``id``; otherwise its
id is a hash of its prompt, so that it stays when rows move. Every error is a UserError that names file and row.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxpsn.core import checks, errors
from jaxpsn.tasks import answers, choices, containers, fields
from jaxpsn.tasks.fields import Fields
from jaxpsn.tasks.file_task import VERIFIERS
from jaxpsn.tasks.problem import Problem

KINDS = ("auto", "gsm8k", "math", "aime", "choice", "general")
_LONG = 200  # characters of an answer that is probably a solution

Read = tuple[str, str, str | None]
"""Prompt, answer, verifier."""


def read(path: str | Path, kind: str = "auto", say: Callable[[str], None] = lambda text: None) -> list[Problem]:
    """The problems of a file, in its order; ``task`` is the kind of their row.

    "auto" looks at each row by itself, so that sets may be joined: a list of choices means choice, ``####`` in its
    answer gsm8k, a solution with a box math; a file of questions whose answers are all whole numbers from 0 to 999 is
    aime, anything else general. ``say`` is told, in one line each, which fields are not asked and what is doubtful.
    """
    checks.choice("kind", kind, KINDS)
    rows = [Fields(where, row) for where, row in containers.rows(Path(path))]
    kinds = _guess(rows) if kind == "auto" else [kind] * len(rows)
    found = _read(rows, kinds)
    problems: list[Problem] = []
    places: dict[str, str] = {}
    for row, own, (prompt, answer, verifier) in zip(rows, kinds, found, strict=True):
        name = _identity(row, prompt, places)
        places[name] = row.where
        problems.append(Problem(name, prompt, answer, own, verifier=verifier))
    for text in _doubts(rows, problems):
        say(f"{path}: {text}")
    return problems


def _read(rows: Sequence[Fields], kinds: Sequence[str]) -> list[Read]:
    readers = {"gsm8k": _gsm8k, "math": _math, "aime": _aime, "general": _general}
    asked = [fields.question(row) for row in rows]
    listed = {
        place: choices.read(row, prompt)
        for place, (row, own, prompt) in enumerate(zip(rows, kinds, asked, strict=True))
        if own == "choice"
    }
    golds = [(rows[place], one, _gold(rows[place])) for place, one in listed.items()]
    letters = dict(zip(listed, choices.letters(golds), strict=True))
    return [
        (f"{prompt}\n{listed[place].listed()}", letters[place], "choice")
        if place in listed
        else (prompt, *readers[own](row))
        for place, (row, own, prompt) in enumerate(zip(rows, kinds, asked, strict=True))
    ]


def _doubts(rows: Sequence[Fields], problems: Sequence[Problem]) -> list[str]:
    """What a user should know of a file that was read: fields that nobody looked at, and answers that look wrong."""
    left: dict[str, int] = {}
    for row, problem in zip(rows, problems, strict=True):
        for name in row.left(problem.prompt):
            left[name] = left.get(name, 0) + 1
    shown = [
        name if count == len(rows) else f"{name} ({count:,} of {len(rows):,} rows)" for name, count in left.items()
    ]
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    told = [f"fields not asked: {', '.join(shown[:8])}{more}"] if shown else []
    long = [row.where for row, one in zip(rows, problems, strict=True) if len(str(one.answer)) > _LONG]
    if long:
        place = long[0].rpartition(", ")[2]
        told.append(f"{len(long):,} answers of more than {_LONG} characters ({place}): solutions without a mark?")
    return told


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, for the record of a run."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise errors.UserError(f"{path}: {error.strerror or error}") from None


def overlap(train: Iterable[Problem], test: Iterable[Problem]) -> list[str]:
    """Ids of the ``test`` problems whose prompt is also in ``train``, letter case and spacing aside."""
    seen = {_plain(problem.prompt) for problem in train}
    return [problem.id for problem in test if _plain(problem.prompt) in seen]


def _plain(prompt: str) -> str:
    return " ".join(prompt.casefold().split())


def _guess(rows: Sequence[Fields]) -> list[str]:
    """The kind of each row."""
    kinds = [_kind(row) for row in rows]
    bare = all(row.there("problem", "question") and not row.there(*fields.STORIES, fields.CASE) for row in rows)
    if set(kinds) == {"general"} and bare and all(_three_digits(row.value("answer")) is not None for row in rows):
        return ["aime"] * len(rows)
    return kinds


def _kind(row: Fields) -> str:
    if choices.there(row):
        return "choice"
    answer, solution = row.value("answer"), row.value("solution")
    if isinstance(answer, str) and ("####" in answer or "\\boxed" in answer):
        return "gsm8k" if "####" in answer else "math"
    boxes = not row.there(*fields.SURE) and isinstance(solution, str) and "\\boxed" in solution
    return "math" if boxes or row.there("problem", "solution") == ["problem", "solution"] else "general"


def _three_digits(answer: Any) -> int | None:
    text = str(answer).strip() if isinstance(answer, str | int) and not isinstance(answer, bool) else ""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else None
    return number


def _gold(row: Fields) -> str:
    found = fields.gold(row)
    return row.lacks("answer") if found is None else found


def _gsm8k(row: Fields) -> tuple[str, str | None]:
    solution = _gold(row)
    found = answers.after_hashes(solution)
    if not found:
        row.refuse("answer has no '#### value' at its end")
    value = answers.number(answers.normalise(found))
    if value is None:
        row.refuse(f"answer = {found[:60]!r} after '####': a number is needed")
    return answers.normalise(found), "integer"


def _math(row: Fields) -> tuple[str, str | None]:
    found = fields.gold(row, fields.SURE)
    if found is not None:
        return (answers.boxed(found) if "\\boxed" in found else None) or found, "math"
    solution = row.value("solution")
    if not isinstance(solution, str):
        row.lacks("answer", "solution")
    found = answers.boxed(solution)
    if not found:
        row.refuse("solution has no \\boxed{...} with balanced braces")
    return found, "math"


def _aime(row: Fields) -> tuple[str, str | None]:
    number = _three_digits(row.value("answer"))
    if number is None:
        shown = None if row.value("answer") is None else str(row.value("answer"))[:60]
        row.refuse(f"answer = {shown!r}: a whole number from 0 to 999 is needed")
    return str(number), "integer"


def _general(row: Fields) -> tuple[str, str | None]:
    verifier = row.value("verifier")
    if verifier is not None and verifier not in VERIFIERS:
        row.refuse(f"verifier = {verifier!r}: {errors.nearest(str(verifier), VERIFIERS)}")
    return _gold(row), verifier


def _identity(row: Fields, prompt: str, places: dict[str, str]) -> str:
    given = row.value("id")
    if given is not None:
        if not isinstance(given, str | int) or isinstance(given, bool) or str(given) == "":
            row.refuse(f"id = {str(given)[:60]!r}: text or a whole number is needed")
        if str(given) in places:
            row.refuse(f"id = {given!r}: already used in {places[str(given)].rpartition(', ')[2]}")
        return str(given)
    name = digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    copy = 1
    while name in places:
        copy += 1
        name = f"{digest}-{copy}"
    return name
