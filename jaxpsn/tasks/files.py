r"""Readers of users' files: JSON lines in the manner of GSM8K, MATH or AIME, or with ``prompt`` and ``answer``.

===========  ==========================  ==================================================================
kind         question                    answer
===========  ==========================  ==================================================================
``gsm8k``    ``question``                ``answer``, the value after the last ``####``
``math``     ``problem``                 ``answer`` if there, else the last ``\boxed{...}`` of ``solution``
``aime``     ``problem``, ``question``   ``answer``, a whole number from 0 to 999; zeros in front do not matter
``general``  ``prompt``, ``problem``,    ``answer``; ``verifier`` (`file_task.VERIFIERS`) may say how to compare
             ``question``
===========  ==========================  ==================================================================

A row may name itself by ``id``; otherwise its id is a hash of its prompt, so that it stays when rows move. Every error
is a UserError that names the file and the line.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxpsn import checks, errors
from jaxpsn.tasks import answers
from jaxpsn.tasks.file_task import VERIFIERS
from jaxpsn.tasks.problem import Problem

KINDS = ("auto", "gsm8k", "math", "aime", "general")

Row = tuple[str, dict[str, Any]]  # "file, line n" and the object


def read(path: str | Path, kind: str = "auto") -> list[Problem]:
    """The problems of a JSONL file, in its order; ``task`` is their kind.

    "auto" looks at the first row: ``####`` in its ``answer`` means gsm8k, ``problem`` with ``solution`` means math; a
    question whose answers are whole numbers from 0 to 999 in every row means aime, anything else general.
    """
    checks.choice("kind", kind, KINDS)
    rows = _rows(Path(path))
    kind = _guess(rows) if kind == "auto" else kind
    reader = {"gsm8k": _gsm8k, "math": _math, "aime": _aime, "general": _general}[kind]
    problems: list[Problem] = []
    places: dict[str, str] = {}
    for where, row in rows:
        prompt, answer, verifier = reader(where, row)
        name = _identity(where, row, prompt, places)
        places[name] = where
        problems.append(Problem(name, prompt, answer, kind, verifier=verifier))
    return problems


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


def _rows(path: Path) -> list[Row]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise errors.UserError(f"{path}: {error.strerror or error}") from None
    rows = [
        (f"{path}, line {i}", _object(f"{path}, line {i}", line)) for i, line in enumerate(lines, 1) if line.strip()
    ]
    if not rows:
        raise errors.UserError(f"{path}: no problems; one JSON object a line is needed")
    return rows


def _object(where: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig" if where.endswith("line 1") else "utf-8"))
    except UnicodeDecodeError as error:
        raise errors.UserError(f"{where}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise errors.UserError(f"{where}: not JSON ({error.msg} at column {error.colno})") from None
    except (RecursionError, ValueError) as error:  # nested too deep; a number of thousands of digits
        raise errors.UserError(f"{where}: not JSON that can be read ({type(error).__name__})") from None
    if not isinstance(row, dict):
        raise errors.UserError(f"{where}: {type(row).__name__} where an object {{...}} is needed, one a line")
    return row


def _guess(rows: list[Row]) -> str:
    row = rows[0][1]
    if "question" in row and "####" in str(row.get("answer")):
        return "gsm8k"
    if "problem" in row and "solution" in row:
        return "math"
    questions = all("problem" in row or "question" in row for _, row in rows)
    return "aime" if questions and all(_three_digits(row.get("answer")) is not None for _, row in rows) else "general"


def _three_digits(answer: Any) -> int | None:
    text = str(answer).strip() if isinstance(answer, str | int) and not isinstance(answer, bool) else ""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else None
    return number


def _text(where: str, row: dict[str, Any], *names: str) -> str:
    """The first of the fields that is there, which must be text with something in it."""
    for name in names:
        if name in row:
            if not isinstance(row[name], str) or not row[name].strip():
                raise errors.UserError(f"{where}: {name} = {str(row[name])[:60]!r}: text is needed")
            return row[name]
    needed = " or ".join(repr(name) for name in names)
    raise errors.UserError(f"{where}: no field {needed}; there are: {', '.join(map(repr, row)) or 'none'}")


def _scalar(where: str, row: dict[str, Any]) -> str:
    """The field ``answer``: text, or a number as text."""
    answer = row.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return repr(answer)
    return _text(where, row, "answer").strip()


def _gsm8k(where: str, row: dict[str, Any]) -> tuple[str, str, str | None]:
    prompt, solution = _text(where, row, "question"), _text(where, row, "answer")
    found = answers.after_hashes(solution)
    if not found:
        raise errors.UserError(f"{where}: answer has no '#### value' at its end")
    value = answers.number(answers.normalise(found))
    if value is None:
        raise errors.UserError(f"{where}: answer = {found[:60]!r} after '####': a number is needed")
    return prompt, answers.normalise(found), "integer"


def _math(where: str, row: dict[str, Any]) -> tuple[str, str, str | None]:
    prompt = _text(where, row, "problem")
    if row.get("answer") is not None:
        return prompt, _scalar(where, row), "math"
    found = answers.boxed(_text(where, row, "solution"))
    if not found:
        raise errors.UserError(f"{where}: solution has no \\boxed{{...}} with balanced braces")
    return prompt, found, "math"


def _aime(where: str, row: dict[str, Any]) -> tuple[str, str, str | None]:
    prompt = _text(where, row, "problem", "question")
    number = _three_digits(row.get("answer"))
    if number is None:
        shown = str(row["answer"])[:60] if "answer" in row else None
        raise errors.UserError(f"{where}: answer = {shown!r}: a whole number from 0 to 999 is needed")
    return prompt, str(number), "integer"


def _general(where: str, row: dict[str, Any]) -> tuple[str, str, str | None]:
    verifier = row.get("verifier")
    if verifier is not None and verifier not in VERIFIERS:
        raise errors.UserError(f"{where}: verifier = {verifier!r}: {errors.nearest(str(verifier), VERIFIERS)}")
    return _text(where, row, "prompt", "problem", "question"), _scalar(where, row), verifier


def _identity(where: str, row: dict[str, Any], prompt: str, places: dict[str, str]) -> str:
    given = row.get("id")
    if given is not None:
        if not isinstance(given, str | int) or isinstance(given, bool) or str(given) == "":
            raise errors.UserError(f"{where}: id = {str(given)[:60]!r}: text or a whole number is needed")
        if str(given) in places:
            raise errors.UserError(f"{where}: id = {given!r}: already used in {places[str(given)].rpartition(', ')[2]}")
        return str(given)
    name = digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    copy = 1
    while name in places:
        copy += 1
        name = f"{digest}-{copy}"
    return name
