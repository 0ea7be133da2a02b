"""The fields of a row: what is asked, in full, and what a gold answer may be called.

Public sets call one thing by many names, and a question is often more than the field of that name: a story stands in
``body`` (ASDiv, SVAMP), a text in ``passage`` or ``context``, a task in ``instruction`` and its case in ``input``. All
of that is asked. A field that is neither part of a question that is known, nor an answer, nor a note about the row is
named, so that nothing is left out in silence.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

from jaxpsn.core import errors

QUESTIONS = ("prompt", "problem", "question", "query", "question_stem", "messages", "conversations", "ctx")
"""Fields that hold the question; the first that is there is asked."""
STORIES = (
    "instruction", "context", "passage", "article", "document", "paragraph", "story", "scenario", "premise", "body",
    "background", "setup", "table_title", "table",
)  # fmt: skip
"""Fields that stand in front of it, in this order."""
CASE = "input"
"""What an instruction is about, or a question on its own."""
SURE = (
    "answer",
    "final_answer",
    "final_ans",
    "expected_answer",
    "ground_truth",
    "reward_model",
    "answerkey",
    "answer_key",
)
"""Fields that hold the answer; the first that is there counts."""
GOLDS = (*SURE, "correct", "correct_option", "correct_answer", "gold", "target", "label", "output")
"""The same, and those that hold it where nothing else does."""
_NOTES = frozenset(
    """
    id idx index uid qid unique_id problem_idx question_id row_idx verifier solution rationale explanation
    reasoning equation formula annotated_formula linear_formula solution_type answer_idx problem_type answer_type
    question_type type level grade grade_level difficulty subject topic category domain ability source data_source
    dataset url year split language license extra_info metadata canary question_concat subfield
    """.split()
)
"""Fields that say something about a row or how it is solved: they are never asked, and nobody misses them."""


_SPEAKERS = {"human": "user", "gpt": "assistant"}


class Fields:
    """A row, its fields found by name whatever their case; ``left()`` names those that nobody looked at."""

    def __init__(self, where: str, row: Mapping[str, Any]):
        self.where, self._row = where, {}
        for name, value in row.items():
            plain = name.strip().casefold().replace(" ", "_").replace("-", "_")
            if plain in self._row and self._row[plain][1] != value:
                both = f"{self._row[plain][0]!r} and {name!r}"
                raise errors.UserError(f"{where}: the fields {both} differ in letter case alone")
            self._row[plain] = (name, value)
        question = self.value("question")
        if isinstance(question, Mapping) and "stem" in question:  # as the first releases of ARC have it
            self._row |= {"question": ("question", question["stem"])}
            self._row |= {"choices": ("choices", question["choices"])} if "choices" in question else {}
        self._used: set[str] = set()

    def value(self, name: str) -> Any:
        """What is in the field, None if it is not there."""
        return self._row.get(name, (name, None))[1]

    def take(self, name: str) -> Any:
        """The same; the field counts as asked."""
        self._used.add(name)
        return self.value(name)

    def has(self, name: str) -> bool:
        """Whether the field is there, with or without anything in it."""
        return name in self._row

    def there(self, *names: str) -> list[str]:
        """Those of the fields that hold anything."""
        return [name for name in names if self.value(name) not in (None, "", [], {})]

    def plain_names(self) -> list[str]:
        """All fields, as they are looked for."""
        return list(self._row)

    def names(self) -> list[str]:
        """All fields, as they are written."""
        return [name for name, _ in self._row.values()]

    def left(self, prompt: str) -> list[str]:
        """Fields with something in them that are not part of ``prompt``, no answer, and no known note."""
        known = {*self._used, *_NOTES, *GOLDS}
        unread = (name for name in self.there(*self._row) if name not in known)
        return [self._row[name][0] for name in unread if str(self.value(name)).strip() not in prompt]

    def refuse(self, says: str) -> Any:
        """Raise UserError for this row."""
        raise errors.UserError(f"{self.where}: {says}")

    def lacks(self, *needed: str) -> Any:
        """Raise UserError: none of the fields is there."""
        listed = ", ".join(map(repr, self.names()[:12])) or "none"
        more = f" and {len(self.names()) - 12} more" if len(self.names()) > 12 else ""
        self.refuse(f"no field {' or '.join(map(repr, needed))}; there are: {listed}{more}")


def question(row: Fields) -> str:
    """The whole question, its choices aside: stories, the question itself, the case of an instruction."""
    present = row.there(*QUESTIONS)
    asked = next((name for name in QUESTIONS if row.value(name) is not None), None)
    asked = present[0] if present else asked
    case = row.there(CASE)
    if asked is None and not case and not row.there("instruction"):
        row.lacks("prompt", "problem", "question")
    parts = [(name, _text(row, name)) for name in (*row.there(*STORIES), *([asked] if asked else []), *case)]
    whole = parts[0][1]
    for (before, _), (_, text) in itertools.pairwise(parts):
        whole += (" " if before == "body" else "\n\n") + text
    return whole


def _text(row: Fields, name: str) -> str:
    """A field's text, which must have something in it; of a list of messages the user's."""
    value = row.take(name)
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        if all("role" in one for one in value):
            return _said(row, name, value)
        if all("from" in one for one in value):  # as ShareGPT has them
            turns = ((_SPEAKERS.get(str(one["from"]), str(one["from"])), one.get("value")) for one in value)
            return _said(row, name, [{"role": role, "content": content} for role, content in turns])
    if not isinstance(value, str) or not value.strip():
        row.refuse(f"{name} = {str(value)[:60]!r}: text is needed")
    return value


def _said(row: Fields, name: str, messages: list[Mapping[str, Any]]) -> str:
    """What the user of a conversation asks, behind what the system says; refuses all but one turn."""
    roles = [str(one["role"]) for one in messages]
    if name != "prompt" and roles[-1:] == ["assistant"]:
        messages, roles = messages[:-1], roles[:-1]  # the answer that a conversation ends with
    if roles not in (["user"], ["system", "user"]):
        row.refuse(f"{name} has messages of {', '.join(roles)[:60]}: one of a user is needed, maybe behind a system's")
    texts = []
    for one in messages:
        content = one.get("content")
        if isinstance(content, list) and all(isinstance(part, Mapping) and "text" in part for part in content):
            content = "\n".join(str(part["text"]) for part in content)
        if not isinstance(content, str) or (one["role"] == "user" and not content.strip()):
            row.refuse(f"{name}: content = {str(content)[:60]!r}: text is needed")
        texts += [content] if content.strip() else []
    return "\n\n".join(texts)


def gold(row: Fields, names: Sequence[str] = GOLDS) -> str | None:
    """The answer as text, a number written out; None where no field of ``names`` holds one."""
    name = next(iter(row.there(*names) or [name for name in names if row.has(name)]), None)
    if name is None:
        return None
    value = row.take(name)
    if isinstance(value, Mapping) and "ground_truth" in value:  # verl
        value = _unwrapped(value["ground_truth"])
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        row.refuse(f"{name} = {str(value)[:60]!r}: {len(value)} answers, where one is needed")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return written(value) if isfinite(value) else row.refuse(f"{name} = {value}: a finite number is needed")
    if not isinstance(value, str) or not value.strip():
        row.refuse(f"{name} = {str(value)[:60]!r}: text is needed")
    return value.strip()


def _unwrapped(value: Any) -> Any:
    """A list that was written as text, as some of verl's sets have it."""
    if isinstance(value, str) and value.startswith('["'):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def written(number: int | float) -> str:
    """A number in plain digits: no exponent, and no fraction where it is whole beyond what a float holds."""
    text = repr(number)
    return format(Decimal(text), "f") if "e" in text and abs(Decimal(text).adjusted()) <= 40 else text
