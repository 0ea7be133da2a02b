r"""Answers in LaTeX and plain text: finding the final one in a completion, and comparing two as normalised strings.

Everything here is total and bounded: any string goes in, only the last ``TAIL`` characters of a completion are looked
at, nothing longer than ``LONGEST`` is normalised, and nothing is evaluated beyond a fraction of two bounded integers.
"""

import re
from fractions import Fraction

from jaxpsn.tasks.latex import plain

TAIL = 10_000
"""Characters at the end of a completion in which its answer is looked for."""
LONGEST = 1_000
"""Characters of the longest answer that is normalised."""
_ATTEMPTS = 8  # boxes without a closing brace that are passed over, from the end

_NUMBER = re.compile(r"(?<![\w.])[-+]?\$?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?:/[0-9]+)?")
_PHRASE = re.compile(r"(?i:\banswer\s*(?:is|:|=)\s*:?)[ \t]*")
_BARE_BOX = re.compile(r"\s*([^\s{$][^\s$]*)")
_WORD = re.compile(r"[A-Za-z]{3,}|(?<!\S)[A-Za-z]{2,}(?!\S)")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_CHOICE = re.compile(r"\(([A-J])\)")
_RATIONAL = re.compile(r"([-+]?[0-9]{1,40})(?:\.([0-9]{0,40}))?(?:/([0-9]{1,40}))?")


def boxed(text: str) -> str | None:
    r"""The contents of the last ``\boxed{...}`` whose braces balance (``\boxed 5`` counts too), or None."""
    text = text[-TAIL:]
    end = len(text)
    for _ in range(_ATTEMPTS):
        start = max(text.rfind(r"\boxed", 0, end), text.rfind(r"\fbox", 0, end))
        if start < 0:
            return None
        after = start + (6 if text.startswith(r"\boxed", start) else 5)
        found = _braced(text, after)
        if found is not None:
            return found
        end = start
    return None


def _braced(text: str, place: int) -> str | None:
    bare = _BARE_BOX.match(text, place)
    if bare:
        return bare[1]
    opening = text.find("{", place)
    if opening < 0 or text[place:opening].strip():
        return None
    depth, skip = 0, False
    for i in range(opening, len(text)):
        if skip:
            skip = False
        elif text[i] == "\\":
            skip = True
        elif text[i] == "{":
            depth += 1
        elif text[i] == "}":
            depth -= 1
            if depth == 0:
                return text[opening + 1 : i].strip()
    return None


def after_hashes(text: str) -> str | None:
    """What follows the last ``####`` on its line (GSM8K), or None."""
    text = text[-TAIL:]
    place = text.rfind("####")
    if place < 0:
        return None
    return text[place + 4 :].split("\n", 1)[0].strip()


def last_number(text: str) -> str | None:
    """The last number in plain writing, such as ``-1,234.5`` or ``3/4``, or None."""
    found = None
    for match in _NUMBER.finditer(text[-TAIL:]):
        found = match[0]
    return found


def extract(text: str) -> str | None:
    r"""The final answer of a completion; one and no other is looked at, so that guessing many wins nothing.

    In this order: the last ``\boxed{...}``; what follows the last ``####``; what follows the last "answer is"; the
    whole text where it has no words; its last number; the whole text where it is short. None if there is nothing.
    """
    marked = boxed(text)
    if marked is None:
        marked = after_hashes(text)
    if marked is not None:
        return marked or None
    text = text[-TAIL:].strip()
    phrases = list(_PHRASE.finditer(text))
    if phrases:
        said = text[phrases[-1].end() :].split("\n", 1)[0].strip().removesuffix(".")
        if said:
            return said if not _wordy(said) else last_number(said) or said
    if len(text) <= LONGEST and not _wordy(text):
        return text or None
    return last_number(text) or (text if len(text) <= LONGEST else None)


def _wordy(text: str) -> bool:
    return _WORD.search(_COMMAND.sub(" ", text)) is not None


def choice(text: str) -> str | None:
    """The letter A to J of a multiple-choice answer: the extracted answer if it is one, else the last ``(C)``."""
    marked = extract(text)
    if marked is not None:
        letter = normalise(marked).strip("().:")
        if len(letter) == 1 and letter in "ABCDEFGHIJ":
            return letter
    found = _CHOICE.findall(text[-TAIL:])
    return found[-1] if found else None


def normalise(answer: str) -> str:
    r"""An answer as a plain string that ignores how it was typeset: ``\dfrac{1}{2}``, ``\frac12``, ``1/2`` are one.

    Fractions, roots and powers lose their braces; spacing, ``\left`` and ``\right``, dollar signs, percent and degree
    signs, units at the end, thousands separators, a leading ``x=`` and zeros in front of or behind a number go away.
    Longer answers than ``LONGEST`` come back as they are.
    """
    if len(answer) > LONGEST:
        return answer
    return plain(answer)


def number(text: str) -> Fraction | None:
    """The value of a normalised whole number, decimal or fraction of whole numbers, up to 40 digits each, or None."""
    match = _RATIONAL.fullmatch(text)
    if match is None:
        return None
    whole, decimals, below = match.groups()
    if below is not None:
        return None if decimals is not None or int(below) == 0 else Fraction(int(whole), int(below))
    value = Fraction(int(whole + (decimals or "")), 10 ** len(decimals or ""))
    return value


def equal(gold: str, answer: str) -> bool:
    """Whether two answers are the same string or the same number once normalised."""
    one, other = normalise(gold), normalise(answer)
    if one == other:
        return one != ""
    value = number(one)
    return value is not None and value == number(other)
