r"""Second stage: what a cleaned answer says. Sides of an equation, the name it is for, its value, its unit."""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from jaxpsn.tasks.reading import latex, runs, typography, units, values

_EQUALS = re.compile(r"(?<![<>!:\\])=+|\\approx(?![A-Za-z])|\\(?:equiv)(?![A-Za-z])")
_COMMA = re.compile(r",? *\b(?:and|or)\b|\\text *\{ *(?:and|or) *\}|[,;]")
_LETTERS = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_WORD = re.compile(r"(?<![A-Za-z\\{])(?!arc|sqrt|sinh|cosh|tanh)[A-Za-z]+")
_CONSTANTS = re.compile(r"sqrt|binom|\\(?:pi|angle|triangle|sin|cos|tan|log|ln|exp)")
_LABEL = re.compile(r"\\text *\{[^{}]*(?:\bis|:|=) *\} *")
_CLOSE = Fraction(1, 50)  # how far apart two sides of an approximate equation may be, relatively


@dataclass(frozen=True)
class Reading:
    r"""One way to read an answer. ``body``: its value as a canonical string; ``value``: as an exact number, or None.

    ``name``: what an equation assigns it to, "" for nothing. ``text``: the body before it became canonical; ``whole``:
    all of the cleaned answer. ``around``: its units. ``words``: how many words it has,
    0 for LaTeX.
    """

    text: str
    whole: str
    body: str
    value: Fraction | None
    name: str
    around: units.Around
    words: int

    @property
    def amount(self) -> Fraction | None:
        """The value with its factor, such as "million"; None where there is no exact value."""
        return None if self.value is None else self.value * self.around.scale


@lru_cache(maxsize=65536)
def read(answer: str) -> tuple[Reading, ...]:
    """The readings of an answer, the first the main one; none where it is empty, too long or contradicts itself.

    An equation says its last side: ``30*40 = 1200`` says 1200, ``4 = 5`` nothing. An approximate one
    (``1/3 \\approx 0.33``) says either of its last two sides.
    """
    if len(answer) > runs.LONGEST:
        return ()
    text = typography.clean(answer)
    if not text:
        return ()
    sides, approximate = _sides(text)
    if len(sides) == 1:
        return (_reading(sides[0], "", text),)
    last = _reading(sides[-1], "", text)
    known = [side for side in (_reading(each, "", text) for each in sides[:-1]) if side.value is not None]
    if not all(_agree(side, last, approximate) for side in known):
        return ()
    if known and _letters(sides[-1]) and last.value is None and not last.words:
        if _LETTERS.fullmatch(last.body) is None:
            return (_reading(text, "", text),)
        sides = sides[::-1]  # 5 = x
    name = _name(sides[0])
    if name is None and not known:  # an equation of its own, such as a circle's
        return (_reading(text, "", text),)
    name = name or ""
    found = [_reading(sides[-1], name, text)]
    if approximate and (len(sides) > 2 or not _letters(sides[0])):
        found.insert(0, _reading(sides[-2], name, text))
    return tuple(found)


def _agree(side: Reading, last: Reading, approximate: bool) -> bool:
    """Whether two sides of an equation may be equal; in different units they may, as ``1 m = 100 cm``."""
    one, other = side.around, last.around
    if last.value is None or (one.known and other.known and one.known != other.known):
        return True
    ours, theirs = side.amount, last.amount
    if one.percent != other.percent and ours / (100 if one.percent else 1) == theirs / (100 if other.percent else 1):
        return True
    return ours == theirs or (approximate and abs(ours - theirs) <= _CLOSE * max(abs(ours), abs(theirs)))


def _sides(text: str) -> tuple[list[str], bool]:
    """The sides of an equation that is not inside brackets or a list, and whether one of its signs is approximate."""
    sides, depth, start, approximate = [], 0, 0, False
    signs = {match.start(): match for match in _EQUALS.finditer(text)}
    for i, sign in enumerate(text):
        depth += (sign in "{([") - (sign in "})]")
        if i in signs and depth <= 0:
            sides.append(text[start:i].strip())
            start = signs[i].end()
            approximate = approximate or "approx" in signs[i][0]
    sides.append(text[start:].strip())
    listed = len(sides) > 2 and re.search(r",|\\text|\bor\b|\band\b", "=".join(sides[1:-1]))
    if listed or not sides[-1]:
        return _assignments(text) or [text], False
    if len(sides) > 1 and not sides[0]:
        sides = sides[1:]
    return sides, approximate


def _assignments(text: str) -> list[str] | None:
    """``x = 2 or x = -2`` as the sides ``x`` and ``2, -2``, ``y = 4, x = 3`` as ``x,y`` and ``(3, 4)``; else None."""
    parts = [re.split(r"(?<![<>!:\\])=", part) for part in _COMMA.split(text)]
    if len(parts) < 2 or any(len(part) != 2 for part in parts):
        return None
    found = [(latex.canonical(name), value.strip()) for name, value in parts]
    names = sorted({name for name, _ in found})
    roots = {re.sub(r"_[0-9]$", "", name) for name in names}
    if len(roots) == 1:
        return [roots.pop(), ", ".join(value for _, value in found)]
    if len(names) < len(found) or any(
        re.fullmatch(r"\\[a-z]+|[A-Za-z]{1,3}(?:_[0-9])?", name) is None for name in names
    ):
        return None
    return [",".join(names), f"({', '.join(value for _, value in sorted(found))})"]


def _name(side: str) -> str | None:
    r"""The left side of an assignment as a string: a symbol, a function, a length, a word, an expression of several
    symbols. None where it would still have to be solved, as ``2x`` or ``x^2``."""
    text = latex.canonical(re.sub(r"\^ *\\circ", "", side))
    letters = _letters(side)
    if not letters:
        return ""
    words = r"\text" in side or re.fullmatch(r"[A-Za-z ]{2,}", side) is not None
    applied = re.fullmatch(
        r"(?:\\?[A-Za-z]+'*(?:_\(?[A-Za-z0-9]+\)?)?|m\\angle [A-Z]+|\\angle [A-Z]+)(?:\(.*\))?", text
    )
    measured = re.fullmatch(r"\|[^|]*\|", text)
    if words or applied or measured:
        return text
    return "" if len(letters) > 1 and not re.search(r"[0-9^]", re.sub(r"_[0-9]", "", text)) else None


def _letters(side: str) -> set[str]:
    """The symbols of a side, constants and functions aside."""
    return set(_LETTERS.findall(_CONSTANTS.sub("", latex.canonical(side))))


def _reading(side: str, name: str, whole: str) -> Reading:
    member = re.match(r"([A-Za-z]) *\\in(?![A-Za-z])(.*)", side)
    if member and not name:
        name, side = member[1], member[2].strip()
    around = units.split(_LABEL.sub("", side, count=1) if side.startswith(r"\text") else side)
    text = around.value
    body = _unbracketed(latex.canonical(text)).removeprefix("+").replace("+\\infty", "\\infty")
    if body.isalpha() and len(body) > 1:
        body = body.lower()
    words = 2 * text.count(r"\text") + sum(len(word) > 3 for word in _WORD.findall(text))
    words = words or int(body.isalpha() and len(body) > 2)
    return Reading(text, whole, body, values.exact(body), name, around, words)


def _unbracketed(body: str) -> str:
    """Without round brackets around a whole single value."""
    while body.startswith("(") and body.endswith(")"):
        depth, comma = 0, False
        for i, sign in enumerate(body):
            depth += (sign in "([") - (sign in ")]")
            comma = comma or sign == ","
            if depth == 0 and i < len(body) - 1:
                return body
        if comma or len(body) <= 2:
            return body
        body = body[1:-1]
    return body
