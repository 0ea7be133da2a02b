"""Questions with a list of answers to choose from: the list as it is asked, and the letter of the right one."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxpsn.tasks.fields import Fields, written

LETTERS = "ABCDEFGHIJ"
FIELDS = ("choices", "options", "endings")
"""Fields that list the answers."""
_WRONG = re.compile(r"(?:incorrect_answer|distractor)_?\d+")
_RIGHT = "correct_answer"
_OWN = re.compile(r"\s*\(?\s*([A-Ja-j])\s*[).:]\s*")
_LISTED = re.compile(r"(?:^|,)\s*([a-j])\s*\)\s*(.*?)(?=\s*,\s*[a-j]\s*\)|$)", re.DOTALL)
_FEW = 20


class Choices(NamedTuple):
    """The answers to choose from."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    """What the file calls them, letters where it says nothing."""

    def listed(self) -> str:
        """The answers, one a line, by letters; and what is asked for."""
        lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, self.texts, strict=False)]
        return "\n".join([*lines, f"Answer with a letter from A to {LETTERS[len(self.texts) - 1]}."])


def there(row: Fields) -> bool:
    """Whether the row lists answers."""
    return bool(row.there(*FIELDS)) or bool(_scattered(row))


def _scattered(row: Fields) -> list[str]:
    """The fields of wrong answers, where each has one of its own beside that of the right one (GPQA, SciQ)."""
    wrong = [name for name in row.there(*row.plain_names()) if _WRONG.fullmatch(name)]
    return sorted(wrong) if row.there(_RIGHT) else []


def read(row: Fields, prompt: str) -> Choices:
    """The answers that the row lists. Raises UserError for a list of another form, of one, or of more than ten."""
    scattered = _scattered(row)
    if row.there(*FIELDS):
        name = row.there(*FIELDS)[0]
        found = _of(row.take(name))
    else:
        if not scattered:
            row.lacks("choices", "options")
        name = scattered[0]
        # In an order that does not give away the right one, and is the same wherever the row stands.
        texts = [str(row.take(one)).strip() for one in (_RIGHT, *scattered)]
        found = [("", text) for text in sorted(texts, key=lambda text: _shuffled(prompt, text))]
    if not found or not all(text for _, text in found):
        row.refuse(f"{name} = {str(row.value(name))[:60]!r}: a list of texts is needed, or labels and texts")
    if not 2 <= len(found) <= len(LETTERS):
        row.refuse(f"{name} lists {len(found)} answers: from 2 to {len(LETTERS)} can be chosen from")
    labels = [label or letter for (label, _), letter in zip(found, LETTERS, strict=False)]
    if len(set(labels)) < len(labels):
        row.refuse(f"{name}: two answers have one label")
    return Choices(tuple(text for _, text in found), tuple(labels))


def _shuffled(prompt: str, text: str) -> bytes:
    return hashlib.blake2b(f"{prompt}\n{text}".encode("utf-8", "surrogatepass")).digest()


def _of(value: Any) -> list[tuple[str, str]] | None:
    """(label, text) of each answer; None for a form that is not known."""
    if isinstance(value, str):
        pairs = [(match[1].upper(), match[2].strip()) for match in _LISTED.finditer(value)]
        value = [text for _, text in pairs] if [one for one, _ in pairs] == list(LETTERS[: len(pairs)]) else None
    if isinstance(value, Mapping) and {"text", "label"} <= set(value):
        texts, labels = value["text"], value["label"]
        if not isinstance(texts, list) or not isinstance(labels, list) or len(texts) != len(labels):
            return None
        value = dict(zip(map(str, labels), texts, strict=True)) if len(set(map(str, labels))) == len(labels) else {}
    if isinstance(value, Mapping):
        return [(str(label).strip(), str(text).strip()) for label, text in value.items()]
    if not isinstance(value, list):
        return None
    if all(isinstance(one, Mapping) and {"text", "label"} <= set(one) for one in value):
        return [(str(one["label"]).strip(), str(one["text"]).strip()) for one in value]
    if not all(isinstance(one, str | int | float) for one in value):
        return None
    texts = [one.strip() if isinstance(one, str) else written(one) for one in value]
    own = [_OWN.match(text) for text in texts]
    if all(own) and [match[1].upper() for match in own if match] == list(LETTERS[: len(texts)]):
        texts = [text[match.end() :] for text, match in zip(texts, own, strict=True) if match]
    return [("", text) for text in texts]


def letters(rows: Sequence[tuple[Fields, Choices, str]]) -> list[str]:
    """The letter of each row's right answer, from its list and what it calls the right one.

    That may be a label, a letter, the answer itself, or its place in the list, counted from 0. What whole numbers mean
    all rows say together: they are places if they fit every list. Raises UserError, naming the row, for a name that
    fits nothing, and for numbers that could as well be answers or be counted from 1.
    """
    numbers = [one for one in rows if _whole(one[2]) and one[2] not in one[1].labels]
    places = bool(numbers) and all(int(gold) < len(choices.texts) for _, choices, gold in numbers)
    if places:
        _refuse_doubtful(numbers)
    return [_letter(row, choices, gold, places) for row, choices, gold in rows]


def _whole(gold: str) -> bool:
    return gold.isascii() and gold.isdigit() and len(gold) <= 2


def _refuse_doubtful(numbers: Sequence[tuple[Fields, Choices, str]]) -> None:
    """Refuse numbers that fit as places, but fit as well as answers, or are never the first place."""
    if all(gold in choices.texts for _, choices, gold in numbers):
        for row, choices, gold in numbers:
            if choices.texts[int(gold)] != gold:
                row.refuse(f"answer = {gold}: is it an answer, or the place of one, counted from 0? write its letter")
    if len(numbers) >= _FEW and all(int(gold) for _, _, gold in numbers):
        row, _, gold = numbers[0]
        row.refuse(f"answer = {gold}: a place counted from 0, or a letter; in all {len(numbers)} rows it is never 0")


def _letter(row: Fields, choices: Choices, gold: str, places: bool) -> str:
    texts = [_plain(text) for text in choices.texts]
    if gold in choices.labels:
        return LETTERS[choices.labels.index(gold)]
    if _whole(gold) and places:
        return LETTERS[int(gold)]
    if texts.count(_plain(gold)) == 1:
        return LETTERS[texts.index(_plain(gold))]
    bare = gold.strip("(). ").upper()
    if bare in tuple(LETTERS[: len(texts)]):
        return bare
    last = len(texts) - 1
    allowed = f"a letter from A to {LETTERS[last]}, one of the answers, or a place from 0 to {last}"
    return row.refuse(f"answer = {gold[:60]!r}: {allowed}")


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
