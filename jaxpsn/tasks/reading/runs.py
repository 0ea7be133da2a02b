r"""Where a value ends in prose: the longest run of numbers, LaTeX, signs and units that begins at a place.

"42, since there are 3" gives 42, "6 * 7 = 42 dollars because" gives ``6 * 7 = 42 dollars``. Work is bounded: a run has
at most ``LONGEST`` characters.
"""

import re
from collections import deque
from collections.abc import Iterator

from jaxpsn.tasks.reading import units

LONGEST = 1_000
"""Characters of the longest answer."""
_SEARCHED = 4_000  # characters at the end in which the last value is looked for, where no phrase leads to it
_DANGLING = 20  # signs that are taken off a value's ends

_INSIDE = r"(?:\\\$|[^$\n])"
MATH = (
    r"(?:\$\$(?:\\\$|[^$]){1,900}\$\$|\$(?=\S)" + _INSIDE + r"{1,900}(?<=\S)(?<!\\)\$(?![0-9])"
    r"|\$ " + _INSIDE + r"{1,900} \$(?![0-9])"
    r"|\\\((?:[^\\]|\\[^)]){1,900}?\\\)|\\\[(?:[^\\]|\\[^\]]){1,900}?\\\])"
)
"""A pattern for LaTeX between delimiters; money such as "$5 and $6" is none."""
_MATHS = re.compile(MATH + r"(?:\s{0,2}(?:,|,?\s?and\b|,?\s?or\b)\s{0,2}" + MATH + "){0,20}")
_VALUE_AHEAD = r"(?=\s{1,2}(?:[-+]?[0-9$(\\\[]|[a-z]\b))"
_PIECE = re.compile(
    "|".join(
        (
            r"\\(?:text|mathrm|mathbf|mbox|textbf|operatorname)\*? *\{[^{}\n]{0,200}\}",
            r"\\(?:begin|end) *\{[a-z*]{1,20}\}",
            r"\\[A-Za-z]+|\\[^A-Za-z\s()\[\]]|\\ ",
            MATH,
            r"(?:a?sinh?|a?cosh?|a?tanh?|arc(?:sin|cos|tan)|sqrt|cot|sec|csc|log|ln|exp|pi|det|gcd|max|min|infinity)(?![A-Za-z])",
            rf"(?:and|or)(?![A-Za-z]){_VALUE_AHEAD}",
            r"[0-9]+\.(?=\\(?:overline|bar|dot))|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,4}(?![0-9A-Za-z]))?|\.[0-9]+",
            r"(?<=[0-9}$)]) ?[AaPp]\.[Mm]\.",
            r"[A-Z]{2,4}(?= ?=)|(?:USD|EUR|GBP|Rs\.?)(?= ?[0-9])",
            r"(?<![A-Za-z'])[A-Za-z](?![A-Za-z]|'[a-z])",
            r"(?<=[0-9)])[a-z]{1,3}(?![A-Za-z])|(?:(?<=[-+*/^=])|(?<=[-+*/^=] ))[a-z]{2,3}(?![A-Za-z])",  # 2ab, a - bc
            r"(?<![A-Za-z])[a-z]{2}(?= ?[+*/^=])",
            r"[,;](?=\s?[-+0-9$\\(\[{]|\s[a-zA-Z] ?=)|,(?=[A-Za-z])|\{ ?, ?\}",
            r":(?=\s?[0-9])|!(?!\s*[A-Z])|[-+*/^_=<>()\[\]{}|%$&]|(?<=[A-Za-z0-9)}])'(?![a-z])|[ \t]",
            "[^\\x00-\\x7f\u2014\u2018-\u201f\u2026\u4e00-\u9fff]",
        )
    )
)
_UNIT = re.compile(r"(?<=[0-9}$)A-Za-z.]) ?([A-Za-z]{2,})(?:\.(?=[a-z ]|$))?(?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+")


def run(text: str, place: int) -> tuple[str, int]:
    """The value that begins at a place, with the units behind it, and where it ends: the longest run without prose."""
    spans = _MATHS.match(text, place)
    end = spans.end() if spans and not _prose(spans[0]) else place
    stop = min(len(text), place + LONGEST)
    while end < stop:
        unit = _UNIT.match(text, end) if end > place else None
        piece = unit if unit and units.is_word(unit[1]) else _PIECE.match(text, end)
        if piece is None or (piece[0][:1] == "$" and len(piece[0]) > 1 and _prose(piece[0])):
            break
        end = piece.end()
    return _trimmed(text[place:end]), end


def values(text: str, place: int, end: int) -> Iterator[str]:
    """The runs with a number or LaTeX in them, from left to right."""
    while place < end:
        run_end = place
        inside_a_word = place and text[place - 1].isalnum() and text[place].isalpha()
        if not inside_a_word and _PIECE.match(text, place):
            value, run_end = run(text, place)
            if re.search(r"[0-9]|\$|\\[(\[a-z]", value) and re.search(r"[0-9A-Za-z]", value):
                yield value
        place = max(run_end, place + 1)


def last(text: str) -> str | None:
    """The last value of a text, or None."""
    found = deque(values(text, max(0, len(text) - _SEARCHED), len(text)), maxlen=1)
    return found[0] if found else None


def _trimmed(run: str) -> str:
    """A run without what dangles at its ends: brackets that are not closed, operators, the sign of a new list."""
    run = run.strip()
    for _ in range(_DANGLING):
        before = run
        run = run.rstrip(" ,;:=+*<>&_^").lstrip("=, ")
        run = re.sub(r"(?<![0-9}\])|A-Za-z])\s*[-]$|(?<=\s)[-/]$|(?<!\\)[(\[{]$|(?:^|\s)(?:and|or)$|\\$", "", run)
        run = re.sub(r"(?<=[,;.:0-9)}$])\s+[aAI]$", "", run)
        opened, closed = (len(re.findall(r"(?<!\\)[(\[]", run)), len(re.findall(r"(?<!\\)[)\]]", run)))
        if closed > opened and run[-1:] in ")]" and not run.endswith(("\\)", "\\]")):
            run = run[:-1]
        if run == before:
            return run
    return ""


def _prose(span: str) -> bool:
    bare = re.sub(r"\\(?:text|mathrm|mathbf|mbox|textbf|operatorname|begin|end)[a-z]*\*? *\{[^{}]*\}", " ", span)
    return re.search(r"[A-Za-z]{4,}\s+[A-Za-z]{2,}|[a-z]{2,}\s+[a-z]{2,}", _COMMAND.sub(" ", bare)) is not None
