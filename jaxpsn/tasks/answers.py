r"""Answers in LaTeX and plain text: finding the final one in a completion, and comparing two.

One pipeline: find the place (`spans`), drop the typography (`typography`), read it (`readings`, with `units` and
`values` over `latex`), compare by kind (here). What this cannot decide is a question for math-verify (`question`).

Everything is total and bounded: any string goes in, only the last ``TAIL`` characters of a completion are looked at,
nothing longer than ``LONGEST`` is read, and nothing is evaluated beyond exact fractions of bounded size.
"""

import re
from fractions import Fraction

from jaxpsn.tasks.reading import latex, readings, spans, typography, values
from jaxpsn.tasks.reading.letters import choice
from jaxpsn.tasks.reading.readings import Reading
from jaxpsn.tasks.reading.runs import LONGEST
from jaxpsn.tasks.reading.spans import TAIL, after_hashes, boxed

__all__ = [
    "LONGEST", "TAIL", "after_hashes", "boxed", "choice", "compare", "equal", "extract", "judge", "normalise", "number",
    "question",
]  # fmt: skip

_NO_ALGEBRA = re.compile(r"(?:^|[^_0-9.])[0-9.]+ [0-9.]|%|[0-9]_|:[0-9]{2}(?![0-9])")
"""Two numbers side by side, a share, another base, a time of day: no expression that algebra could compare."""
_BITS = 512  # of the largest number that `normalise` writes out


def extract(text: str) -> str | None:
    """The final answer of a completion, as it stands there (`spans.find`); None if there is nothing."""
    found = spans.find(text)
    return found[0] if found else None


def judge(gold: str, completion: str) -> bool | None:
    """Whether a completion's final answer equals the gold one; None where only algebra could tell (`question`).

    A gold answer in words may also be the whole sentence in which the answer is given, literally.
    """
    found = spans.find(completion)
    in_words = any(reading.words or not re.search("[0-9]", reading.body) for reading in readings.read(gold))
    if in_words and any(equal(gold, sentence) for sentence in found[1:]):
        return True
    return compare(gold, found[0]) if found else False


def normalise(answer: str) -> str:
    r"""An answer as a plain string that ignores how it was typeset: ``\dfrac{1}{2}``, ``\frac12``, ``1/2`` are one.

    Spacing, ``\left`` and ``\right``, dollar signs, percent and degree signs, units, thousands separators, a leading
    ``x=`` and zeros in front of or behind a number go away; a whole number is written out (``1.2e3`` is ``1200``).
    Longer answers than ``LONGEST`` come back as they are.
    """
    found = readings.read(answer)
    if not found:
        return answer if len(answer) > LONGEST else latex.canonical(typography.clean(answer))
    one = found[0]
    if one.value is not None:
        value = one.amount
        if value.denominator == 1 and value.numerator.bit_length() <= _BITS:
            return str(value.numerator)
    plain = one.around.scale == 1 and not one.around.half_day
    return one.body if plain else latex.canonical(one.whole)


def number(text: str) -> Fraction | None:
    """The exact value of a normalised answer, or None where it has none (`values.exact`)."""
    return values.exact(text)


def equal(gold: str, answer: str) -> bool:
    """Whether two answers are equal by strings, exact values and units alone."""
    return compare(gold, answer) is True


def compare(gold: str, answer: str) -> bool | None:
    """Whether two answers are equal; None where only algebra could tell (`question`)."""
    verdicts = [_compare(one, other) for one in readings.read(gold) for other in readings.read(answer)]
    return True if True in verdicts else None if None in verdicts else False


def question(gold: str, answer: str) -> tuple[str, str] | None:
    """What math-verify should be asked, as (gold, answer) in plain LaTeX; None where `compare` can tell by itself."""
    for one in readings.read(gold):
        for other in readings.read(answer):
            if _compare(one, other) is None:
                equation = "=" in one.body + other.body
                texts = (one.whole, other.whole) if equation else (one.text, other.text)
                try:
                    return latex.rendered(texts[0]), latex.rendered(texts[1])
                except latex.TooDeep:
                    return None
    return None


def _compare(gold: Reading, answer: Reading) -> bool | None:
    names = (gold.name, answer.name)
    if all(len(name.lstrip("\\")) == 1 or name[:1] == "\\" for name in names) and names[0] != names[1]:
        return False
    one, other = gold.around, answer.around
    if one.half_day not in ("", other.half_day) or (other.half_day and one.known):
        return False
    if one.known and other.known and sorted(one.known) != sorted(other.known):
        return False
    if gold.value is not None and answer.value is not None:
        return _same_number(gold, answer)
    if gold.body == answer.body:
        return gold.body != "" and one.scale == other.scale
    return None if one.scale == other.scale and one.percent == other.percent and _algebra(gold, answer) else False


def _same_number(gold: Reading, answer: Reading) -> bool:
    """Exactly equal; where only one of the two is a percentage, in per cent or as a share."""
    one, other = gold.amount, answer.amount
    if gold.around.percent == answer.around.percent:
        return one == other
    share = one / 100 == other if gold.around.percent else one == other / 100
    return one == other or share


def _algebra(gold: Reading, answer: Reading) -> bool:
    """Whether the two are expressions of one kind, such that a computer algebra system may compare them."""
    bodies = (gold.body, answer.body)
    if gold.words or answer.words > 1 or any(not body or _NO_ALGEBRA.search(body) for body in bodies):
        return False
    if "=" in gold.body + answer.body and not ("=" in gold.whole and "=" in answer.whole):
        return False
    one, other = map(_shape, bodies)
    if one == "single" and other != "single":
        return _relation(gold.body) or _relation(answer.body)
    return {one, other} not in ({"tuple", "set"}, {"single", "tuple"}, {"single", "list"}) or _relation(answer.body)


def _relation(body: str) -> bool:
    return re.search(r"\\(?:leq|geq|neq|cup|cap|pm|emptyset)|[<>]", body) is not None


def _shape(body: str) -> str:
    """ "tuple" (or an open interval), "set", "list" or "single"."""
    depth, commas, top = 0, 0, 0
    for i, sign in enumerate(body):
        depth += (sign in "([{") - (sign in ")]}")
        commas += sign == ","
        top += sign == "," and depth <= 0 and i > 0
    if top:
        return "list"
    if body.startswith(r"\{") and body.endswith(r"\}"):
        return "set" if commas else "single"
    return "tuple" if commas and body[:1] in "([" and body[-1:] in ")]" else "single"
