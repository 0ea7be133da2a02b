r"""Stage zero: where in a completion its final answer stands. One place and no other, so that guessing wins nothing.

In this order: the last ``\boxed{...}`` with something in it; the last ``<answer>...</answer>``; the later of the last
``#### ...`` and the last "answer is ..." that say something; the whole text where it has no words; its last value.
Only the last ``TAIL`` characters are looked at, in time linear in them.
"""

import re
from functools import lru_cache

from jaxpsn.tasks import typography

TAIL = 10_000
"""Characters at the end of a completion in which its answer is looked for."""
LONGEST = 1_000
"""Characters of the longest text that is an answer as a whole."""
_ATTEMPTS = 8  # boxes that are empty, negated or without a closing brace, passed over from the end
_PHRASES = 8  # phrases that say nothing, passed over from the end
_LINE = 600  # characters behind a phrase that are looked at

_BARE_BOX = re.compile(r"\s*([^\s{$][^\s$]*)")
_PLACEHOLDER = re.compile(
    r"[\s.?_]*|(?:\\text *\{)?(?:your |the |final )*(?:final )?answer\}?|\\[lc]?dots|\.\.\.|\\ ?", re.I
)
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_PHRASE = re.compile(
    r"\b(?:answer|option|choice|result)s?\b(?: (?:to|for|of) (?:the|this|our) [a-z ]{1,40}?)?"
    r"\s{0,3}(?:\bis\b|\bare\b|\bwas\b|\bequals\b|\b(?:must|should|would|will) be\b|[:=]|\u2192|->)"
    r"|\bfinal answer\s*\n",
    re.IGNORECASE,
)
_SKIPPED = re.compile(
    r"(?:[\s:>]|[-=](?=\s)|(?:is|are|be|simply|just|exactly|approximately|about|roughly|around|equal to|given by|therefore|thus"
    r"|that|the|number|value|option|choice|letter|indeed|found to be|as follows|answer|final|correct|final answer)\b,?"
    r"|\\approx(?![A-Za-z])|\u2248|~)+",
    re.IGNORECASE,
)
_EMPTY = re.compile(
    r"(?:correct|right|wrong|incorrect|clear|obvious|unique|found|in|within|inside|below|above|here|given|required)\b|\\boxed",
    re.IGNORECASE,
)
_VALUE = (
    r"(?:\$\$(?:[^$]{1,900})\$\$|\$(?=\S)[^$\n]{0,900}(?<=\S)\$(?![0-9])|\$ [^$\n]{1,900} \$(?![0-9])"
    r"|\\\((?:[^\\]|\\[^)]){1,900}?\\\)|\\\[(?:[^\\]|\\[^\]]){1,900}?\\\])"
)
_SPAN = re.compile(_VALUE)
_SPANS = re.compile(_VALUE + r"(?:\s{0,2}(?:,|,?\s?and\b|,?\s?or\b)\s{0,2}" + _VALUE + "){0,20}")
_NEGATED = re.compile(
    r"(?:\bnot|n't|\bnever|\binstead of|\brather than|\bneither|\bnor)\s+(?:be |equal to |the |is |option |choice )*"
    r"(" + _VALUE + r"|\([A-J]\)|[A-J]\b(?!\w)|\\boxed ?\{[^{}]{0,80}\}|[-+]?\$?\\?[0-9][0-9.,/]*[0-9]|[-+]?\$?[0-9])",
)
_FUNCTIONS = (
    r"(?:sqrt|sin|cos|tan|cot|sec|csc|log|ln|exp|arcsin|arccos|arctan|sinh|cosh|tanh|pi|det|gcd|max|min|infinity"
    r"|and(?=\s{1,2}(?:[-+]?[0-9$(\\\[]|[a-z]\b))|or(?=\s{1,2}(?:[-+]?[0-9$(\\\[]|[a-z]\b)))"
)
_UNIT_WORDS = (
    r"(?:square|sq\.?|cubic|cu\.?|hundred|thousand|million|billion|trillion|dozen|percent(?:age)?|degrees?|[ckm]m|k?g|mg|mph"
    r"|km/h|inch(?:es)?|f(?:ee|oo)?t|yards?|miles?|(?:centi|kilo|milli)?met(?:er|re)s?|(?:kilo|milli)?grams?"
    r"|(?:milli)?lit(?:er|re)s?|m[Ll]|pounds?|lbs?|ounces?|seconds?|min(?:ute)?s?|hours?|hrs?|days?|weeks?|months?|years?"
    r"|dollars?|cents?|euros?|USD|EUR|GBP|units?|radians?|per|[ap]\.?m\b\.?|m/s|halves|thirds?|fourths?|quarters?|fifths?"
    r"|tenths?|hundredths?|thousandths?|squared|cubed|factorial|[km]?Hz|eV|mol|tons?)(?![A-Za-z])"
)
_PIECE = re.compile(
    r"\\text *\{[^{}\n]{0,200}\}|\\(?:mathrm|mathbf|mbox|textbf|operatorname)\*? *\{[^{}\n]{0,200}\}|\\begin *\{[a-z*]{1,20}\}"
    r"|\\end *\{[a-z*]{1,20}\}|\\[A-Za-z]+|\\[^A-Za-z\s()\[\]]|\\ |"
    + _VALUE
    + "|"
    + _FUNCTIONS
    + r"(?![A-Za-z])|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,4}(?![0-9A-Za-z]))?|\.[0-9]+"
    r"|(?<=[0-9}$)]) ?[ap]\.m\.|(?<=[0-9}$)]) ?"
    + _UNIT_WORDS
    + r"|[A-Z]{2,4}(?= ?=)|(?:USD|EUR|GBP|Rs\.?)(?= ?[0-9])|(?<![A-Za-z])[A-Za-z](?![A-Za-z'])|(?<=[0-9)])[a-z]{1,3}(?![A-Za-z])"
    r"|[,;](?=\s?[-+0-9$\\(\[{]|\s[a-zA-Z] ?=)|,(?=[A-Za-z])|:(?=\s?[0-9])|!(?!\s*[A-Z])|[-+*/^_=<>()\[\]{}|%'$&]"
    r"|[^\x00-\x7f\u2014\u2018-\u201f\u2026\u4e00-\u9fff]|[ \t]"
)
_WORDY = re.compile(r"[A-Za-z]{3,}|(?<!\S)[A-Za-z]{2,}(?!\S)")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_SENTENCE = re.compile(r"[^\n]*?(?=[.!?](?:\s|$)|\n|$)")
_ARTICLE = re.compile(r"(?:[aA]|I)\s+[a-z]{2,}")
_REASON = re.compile(r"[,;(]|\s(?:because|since|as|for|which|where|so|if)\b")
_CHOICES = "ABCDEFGHIJ"
_CHOICE_PHRASE = re.compile(r"\b(?:options?|choices?|letter)\s+(?:is\s+)?(?=\(?[A-J]\b)")
_CHOICE = re.compile(
    r"[\s\"'*\[{$]*(?:\\text\s*\{|\\(?:mathrm|mathbf|textbf)\s*\{)?\s*(?:(?:option|choice|answer)\s+)?"
    r"(?:\(([A-J])\)|([A-J])(?=\s*[).:,;}\]$]|\s*$|\s*\n|\s+(?:because|since|as|is|for|which)\b))"
)
_SECOND_CHOICE = re.compile(r"[\s,;}$)]*(?:and|or|/|&)?[\s(${]*(?:\\text\s*\{)?\(?([A-J])(?:\)|\b(?![\w']))")
_BRACKETED_CHOICE = re.compile(r"\(([A-J])\)")


def boxed(text: str) -> str | None:
    r"""The contents of the last ``\boxed{...}`` (``\boxed 5`` counts too) with balanced braces and something in it.

    A box that is empty, holds a placeholder or stands behind "not" is passed over. None where there is no other.
    """
    text = text[-TAIL:]
    end = len(text)
    for _ in range(_ATTEMPTS):
        start = max(text.rfind(r"\boxed", 0, end), text.rfind(r"\fbox", 0, end))
        if start < 0:
            return None
        after = start + (6 if text.startswith(r"\boxed", start) else 5)
        found = _braced(text, after)
        negated = re.search(r"(?:\bnot|n't)\s+\$?$", text[max(0, start - 12) : start])
        if found is not None and not negated and not _PLACEHOLDER.fullmatch(found[:40]):
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
    """What follows the last ``####`` on its line, or on the next where that is empty (GSM8K), or None."""
    text = text[-TAIL:]
    place = text.rfind("####")
    if place < 0:
        return None
    return text[place + 4 :].strip().split("\n", 1)[0].strip()


@lru_cache(maxsize=4096)
def find(text: str) -> tuple[str, ...]:
    """The final answer of a completion as one or two readings of its one place: the value, and the words it is said in.

    Empty where there is nothing.
    """
    marked = boxed(text)
    if marked is not None:
        return (marked,)
    tail = text[-TAIL:]
    tags = [found for found in _TAG.findall(tail) if found.strip()]
    if tags:
        return said(typography.unmark(tags[-1]), 0) or (tags[-1].strip(),)
    tail = _denied(_unboxed(typography.unmark(tail))).strip()
    found = _announced(tail)
    tail = tail.strip("# \n")
    if found:
        return found
    if len(tail) <= LONGEST and not _wordy(tail):
        return (tail.removesuffix(".").strip(),) if tail else ()
    last = _last_value(tail)
    whole = tail if len(tail) <= LONGEST else None
    return tuple(reading for reading in (last, whole) if reading)


def said(text: str, place: int) -> tuple[str, ...]:
    """The readings of what is said at a place: the value that begins there, or the first of its sentence, with it."""
    skipped = _SKIPPED.match(text, place, place + _LINE)
    place = skipped.end() if skipped else place
    if text.startswith("not ", place) or _EMPTY.match(text, place):
        return ()
    value = _run(text, place)
    if value and not _ARTICLE.match(text, place):
        return (value,)
    sentence = _SENTENCE.match(text, place, place + _LINE)[0].strip()
    short = _REASON.split(sentence, maxsplit=1)[0].strip()
    inner = next(_values(text, place, place + len(sentence)), None)
    return tuple(dict.fromkeys(reading for reading in (inner, sentence, short) if reading))


def choice(text: str) -> str | None:
    """The letter A to J that a completion chooses; None for none, or for several at once."""
    marked = boxed(text)
    if marked is not None:
        return _letter(marked)
    tail = text[-TAIL:]
    tags = [found for found in _TAG.findall(tail) if found.strip()]
    if tags:
        return _letter(typography.unmark(tags[-1])) or choice(tags[-1])
    tail = _denied(_unboxed(typography.unmark(tail))).strip()
    places = [match.end() for match in _PHRASE.finditer(tail)] + [m.end() for m in _CHOICE_PHRASE.finditer(tail)]
    hashes = tail.rfind("####")
    for place in sorted([*places, *([hashes + 4] if hashes >= 0 else [])], reverse=True)[: 2 * _PHRASES]:
        skipped = _SKIPPED.match(tail, place, place + _LINE)
        said_at = tail[skipped.end() if skipped else place :][:_LINE]
        if _CHOICE.match(said_at):
            return _letter(said_at)
        inner = _BRACKETED_CHOICE.search(_SENTENCE.match(said_at)[0])
        if inner:
            return inner[1]
    letter = _letter(tail)
    if letter is not None:
        return letter
    found = _BRACKETED_CHOICE.findall(tail)
    return found[-1] if found else None


def _letter(text: str) -> str | None:
    """The letter that a text begins with, where no second one follows."""
    match = _CHOICE.match(text)
    if match is None:
        return None
    letter = match[1] or match[2]
    other = _SECOND_CHOICE.match(text, match.end())
    return None if other and other[1] != letter else letter


def _denied(text: str) -> str:
    """The text without the values that it denies: "5, not 6"."""
    return _NEGATED.sub(" ", text)


def _unboxed(text: str) -> str:
    return re.sub(r"\\(?:boxed|fbox) *\{[^{}]{0,40}\}", " ", text)


def _announced(text: str) -> tuple[str, ...]:
    """What the last phrase or the last ``####`` says, whichever is later and says something."""
    places = [match.end() for match in _PHRASE.finditer(text)]
    hashes = text.rfind("####")
    if hashes >= 0:
        places.append(hashes + 4)
    nothing_said: tuple[str, ...] = ()
    for place in sorted(places, reverse=True)[:_PHRASES]:
        found = said(text, place)
        if found and (len(found) == 1 or not nothing_said):
            value = found[0]
            if re.search(r"[0-9$\\]", value) or len(found) == 1:
                return found
            nothing_said = nothing_said or found
    return nothing_said


def _run(text: str, place: int) -> str:
    """The value that begins at a place, with the units behind it: the longest run of signs that are no prose."""
    spans = _SPANS.match(text, place)
    end = spans.end() if spans and not _prose(spans[0]) else place
    stop = min(len(text), place + LONGEST)
    while end < stop:
        piece = _PIECE.match(text, end)
        if piece is None or (piece[0][:1] == "$" and len(piece[0]) > 1 and _prose(piece[0])):
            break
        end = piece.end()
    return _trimmed(text[place:end])


def _trimmed(run: str) -> str:
    """A run without what dangles at its ends: brackets that are not closed, operators, the sign of a new list."""
    run = run.strip()
    while True:
        before = run
        run = run.rstrip(" ,;:=+*<>&_^").rstrip()
        run = re.sub(
            r"(?<![0-9}\])|A-Za-z])\s*[-]$|(?<=\s)[-/]$|(?<!\\)[(\[{]$|(?:^|\s)(?:and|or)$|\\$", "", run
        ).rstrip()
        run = re.sub(r"(?<=[^A-Za-z0-9\\])\s+[a-zI]$|(?<=[0-9)}$])\s+[aI]$", "", run)
        if run.startswith("=") or run.startswith(","):
            run = run[1:].lstrip()
        opened, closed = (len(re.findall(r"(?<!\\)[(\[]", run)), len(re.findall(r"(?<!\\)[)\]]", run)))
        if closed > opened and run[-1:] in ")]" and not run.endswith(("\\)", "\\]")):
            run = run[:-1]
        if run == before:
            return run


def _prose(span: str) -> bool:
    bare = re.sub(r"\\(?:text|mathrm|mathbf|mbox|textbf|operatorname|begin|end)[a-z]*\*? *\{[^{}]*\}", " ", span)
    return re.search(r"[A-Za-z]{4,}\s+[A-Za-z]{2,}|[a-z]{2,}\s+[a-z]{2,}", _COMMAND.sub(" ", bare)) is not None


def _values(text: str, place: int, end: int):
    """The runs with a digit or a LaTeX span in them, from left to right."""
    while place < end:
        run_end = place
        value = ""
        if _PIECE.match(text, place) and not (place and text[place - 1].isalnum() and text[place].isalpha()):
            value = _run(text, place)
            run_end = place + max(len(value), 1)
            if value and re.search(r"[0-9]|\$|\\[(\[a-z]", value) and re.search(r"[0-9A-Za-z]", value):
                start = text.find(value, place)
                yield value
                run_end = max(run_end, start + len(value))
        place = max(run_end, place + 1)


def _last_value(text: str) -> str | None:
    found = None
    for found in _values(text, max(0, len(text) - 4000), len(text)):
        pass
    return found


def _wordy(text: str) -> bool:
    return _WORDY.search(_COMMAND.sub(" ", text)) is not None
