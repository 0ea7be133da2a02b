r"""Where in a completion its final answer stands. One place and no other, so that guessing wins nothing.

In this order: the last ``\boxed{...}`` with something in it; the last ``<answer>...</answer>``; the later of the last
``#### ...`` and the last "answer is ..." that say something; the whole text where it has no words; its last value.
Only the last ``TAIL`` characters are looked at, in time that is bounded by their number.
"""

import re
from functools import lru_cache

from jaxpsn.tasks.reading import runs, typography

TAIL = 10_000
"""Characters at the end of a completion in which its answer is looked for."""
LINE = 600
"""Characters behind a phrase that are looked at."""
_ATTEMPTS = 8  # boxes that are empty, denied or without a closing brace, passed over from the end
_PHRASES = 8  # phrases that say nothing, passed over from the end

_BARE_BOX = re.compile(r"\s*([^\s{$][^\s$]*)")
_PLACEHOLDER = re.compile(
    r"[\s.?_]*|(?:\\text *\{)?(?:your |the |final )*(?:final )?answer\}?|\\[lc]?dots|\.\.\.|\\ ?", re.I
)
_GAP = r"(?:[\s$~]|\\[()\[\], ;]|\\q?quad)*"
_JOINT = re.compile(_GAP + r"(?:,|,?\s*(?:and|or)\b|\\text *\{ *(?:and|or) *\})" + _GAP)
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_PHRASE = re.compile(
    r"\banswers?\b(?: (?:to|for|of) (?:the|this|our) [a-z ]{1,40}?)?"
    r"\s{0,3}(?:\bis\b|\bare\b|\bwas\b|\bequals\b|\b(?:must|should|would|will) be\b|[:=]|\u2192|->)"
    r"|^[#\s]{0,9}(?:the )?(?:final )?answer[ \t]*\n|^(?-i:A):",
    re.IGNORECASE | re.MULTILINE,
)
_SKIPPED = re.compile(
    r"(?:\n\s{0,9}[-*](?=\s)|[\s:>]|=(?=\s)|\\approx(?![A-Za-z])|\u2248|~|(?:is|are|be|but|rather|simply|just|exactly"
    r"|approximately|about|roughly|around|equal to|given by|therefore|thus|that|the|number|value|option|choice|letter"
    r"|indeed|found to be|as follows|answer|final|correct)\b,?)+",
    re.IGNORECASE,
)
_EMPTY = re.compile(
    r"not\b|\\boxed|(?:correct|right|wrong|incorrect|clear|obvious|unique|found|in|within|inside|below|above|here|given"
    r"|required)\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"(?:\b(?:can)?not|n't|\bnever|\binstead of|\brather than|\bneither|\bnor)\s+"
    r"(?:be |equal to |the |is |option |choice )*"
    r"(?:" + runs.MATH + r"|\([A-J]\)|[A-J]\b|\\boxed ?\{[^{}]{0,80}\}|[-+]?\$?\\?[0-9](?:[0-9.,/]*[0-9])?)"
)
_EMPTY_BOX = re.compile(r"\\(?:boxed|fbox) *\{[^{}]{0,40}\}")
_EMPTY_BRACKETS = re.compile(r"(?<![A-Za-z\\])\(\s*\)")
_WORD = re.compile(r"[A-Za-z]{3,}|(?<!\S)[A-Za-z]{2,}(?!\S)")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_SENTENCE = re.compile(r"[^\n]*?(?=[.!?](?:\s|$)|\n|$)")
_ARTICLE = re.compile(r"(?:[aA]|I)\s+[a-z]{2,}")
_BLANK = re.compile(r"[\s:]*")
_VERB = re.compile(r"(?:\b(?:is|are|was|be|equals|equal to)\b(?: (?:therefore|thus|equal to|exactly|about))?|=)\s+")
_REASON = re.compile(r"[,;(]|\s(?:because|since|as|for|which|where|so|if)\b")


def boxed(text: str) -> str | None:
    r"""The contents of the last ``\boxed{...}`` (``\boxed 5`` counts too) with balanced braces and something in it.

    A box that is empty, holds a placeholder or stands behind "not" is passed over. Boxes that follow each other with
    nothing but a comma, "and" or "or" between them are one answer, ``2, 3``. None where there is no box.
    """
    text = text[-TAIL:]
    end = len(text)
    found: list[str] = []
    next_box = end
    for _ in range(_ATTEMPTS):
        start = max(text.rfind(r"\boxed", 0, end), text.rfind(r"\fbox", 0, end))
        if start < 0:
            break
        end = start
        content, closed = _box(text, start + (6 if text.startswith(r"\boxed", start) else 5))
        denied = re.search(r"(?:\bnot|n't)\s+\$?$", text[max(0, start - 12) : start])
        if content is None or denied or _PLACEHOLDER.fullmatch(content[:40]):
            continue
        if found and not _JOINT.fullmatch(text[closed:next_box][:80]):
            break
        found.insert(0, content)
        next_box = start
    return ", ".join(found) if found else None


def _box(text: str, place: int) -> tuple[str | None, int]:
    """The contents of the box whose brace opens at a place, and where it ends; None for one that does not close."""
    bare = _BARE_BOX.match(text, place)
    if bare:
        return bare[1], bare.end()
    opening = text.find("{", place)
    if opening < 0 or text[place:opening].strip():
        return None, place
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
                return text[opening + 1 : i].strip(), i + 1
    return None, place


def after_hashes(text: str) -> str | None:
    """What follows the last ``####`` on its line, or on the next where that is empty (GSM8K), or None."""
    text = text[-TAIL:]
    place = text.rfind("####")
    if place < 0:
        return None
    return text[place + 4 :].strip().split("\n", 1)[0].strip()


def split(text: str) -> tuple[str | None, str]:
    r"""What a completion marks as its answer, by ``\boxed`` or ``<answer>``, or None; and its tail as plain prose.

    The tail is without Markdown, empty boxes, and values that are denied ("5, not 6").
    """
    marked = boxed(text)
    tail = text[-TAIL:]
    if marked is None:
        tags = [found.strip() for found in _TAG.findall(tail) if found.strip()]
        marked = typography.unmark(tags[-1]).strip() if tags else None
    tail = _EMPTY_BRACKETS.sub(" ", _DENIED.sub(" ", _EMPTY_BOX.sub(" ", typography.unmark(tail))))
    return marked, tail.strip()


def announcements(text: str) -> list[int]:
    """Where the phrases that announce an answer end, and the last ``####``."""
    hashes = text.rfind("####")
    return [match.end() for match in _PHRASE.finditer(text)] + ([hashes + 4] if hashes >= 0 else [])


def skip(text: str, place: int) -> int:
    """The place behind what may stand between a phrase and its answer, such as "therefore" or "equal to"."""
    skipped = _SKIPPED.match(text, place, place + LINE)
    return skipped.end() if skipped else place


@lru_cache(maxsize=4096)
def find(text: str) -> tuple[str, ...]:
    """The final answer of a completion: its value, then the words it stands in, for gold answers in words.

    Empty where there is nothing.
    """
    marked, tail = split(text)
    if marked is not None:
        tagged = boxed(text) is None
        return (said(marked, 0) if tagged else ()) or (marked,)
    found = _announced(tail)
    if found:
        return found
    tail = tail.strip("# \n")
    if len(tail) <= runs.LONGEST and not _WORD.search(_COMMAND.sub(" ", tail)):
        tail = tail.removesuffix(".").strip()
        return (tail,) if tail else ()
    whole = tail if len(tail) <= runs.LONGEST else None
    return tuple(reading for reading in (runs.last(tail), whole) if reading)


def said(text: str, place: int) -> tuple[str, ...]:
    """What is said at a place: the value that begins there or stands in its sentence; then the sentence itself."""
    announced, place = place, skip(text, place)
    if _EMPTY.match(text, place):
        return ()
    value, _ = runs.run(text, place)
    sentence = _SENTENCE.match(text, place, place + LINE)[0].strip()
    if not value or _ARTICLE.match(text, place):
        solution = "\n" in text[announced:place] and text[place + len(sentence) :].strip(" .!*\n")
        if solution:  # not its answer
            return ()
        end = place + len(sentence)
        value = _stated(text, place, end) or next(runs.values(text, place, end), None)
    start = _BLANK.match(text, announced).end()
    literal = _SENTENCE.match(text, start, start + LINE)[0].strip()
    short = _REASON.split(sentence, maxsplit=1)[0].strip()
    return tuple(dict.fromkeys(reading for reading in (value, sentence, short, literal) if reading))


def _stated(text: str, place: int, end: int) -> str | None:
    """The first value of a sentence that stands behind a verb, as in "The volume of $V$ is 120"."""
    for verb in _VERB.finditer(text, place, end):
        value, _ = runs.run(text, verb.end())
        if re.search(r"[0-9$\\]", value):
            return value
    return None


def _announced(text: str) -> tuple[str, ...]:
    """What the last announcement says that says a value; if none does, the last that says anything."""
    words: tuple[str, ...] = ()
    for place in sorted(announcements(text), reverse=True)[:_PHRASES]:
        found = said(text, place)
        if found and (re.search(r"[0-9$\\]", found[0]) or not _WORD.search(found[0])):
            return found
        words = words or found
    return words
