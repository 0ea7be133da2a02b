r"""The letter of a multiple-choice answer: where a completion names it, and which one."""

import re

from jaxpsn.tasks.reading import spans

_PHRASE = re.compile(
    r"\b(?i:options?|choices?|letter|choose|chose|pick|select|go with)\s*(?i:(?:is|are|would be|must be|should be)\b)?"
    r"[\s:]*(?=\(?[A-J]\b)"
)
_LETTER = re.compile(
    r"(?:[\s\"'*\[{$]|\\[(\[])*(?:\\text\s*\{|\\(?:mathrm|mathbf|textbf)\s*\{)?\s*(?:(?:option|choice|answer)\s+)?"
    r"(?:\(([A-J])\)|([A-J])(?=\s*[).:,;}\]$\\]|\s*$|\s*\n|\s+(?:because|since|as|is|for|which)\b))"
)
_SECOND = re.compile(r"[\s,;}$)]*(?:and|or|/|&)?[\s(${]*(?:\\text\s*\{)?\(?([A-J])(?:\)|\b(?![\w']))")
_BRACKETED = re.compile(r"(?:\(|\$(?:\\text\{)?\(?|\\text\{\(?)([A-J])(?=\)|\$|\})")
_SENTENCE = re.compile(r"[^\n]*?(?=[.!?](?:\s|$)|\n|$)")
_PLACES = 16  # phrases that are looked at, from the end


def choice(text: str) -> str | None:
    """The letter A to J that a completion chooses; None for none, or for several at once."""
    marked, tail = spans.split(text)
    if marked is not None:
        return _letter(marked) or _letter(marked[spans.skip(marked, 0) :])
    places = sorted([*spans.announcements(tail), *(match.end() for match in _PHRASE.finditer(tail))], reverse=True)
    for place in places[:_PLACES]:
        said = tail[spans.skip(tail, place) :][: spans.LINE]
        if _LETTER.match(said):
            return _letter(said)
        inner = _BRACKETED.search(_SENTENCE.match(said)[0])
        if inner:
            return inner[1]
    letter = _letter(tail)
    found = _BRACKETED.findall(tail) if letter is None else []
    return found[-1] if found else letter


def _letter(text: str) -> str | None:
    """The letter that a text begins with, where no second one follows."""
    match = _LETTER.match(text)
    if match is None:
        return None
    letter = match[1] or match[2]
    other = _SECOND.match(text, match.end())
    return None if other and other[1] != letter else letter
