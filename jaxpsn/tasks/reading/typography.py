r"""First stage: an answer without its typography. Spellings become one, and what is dropped leaves a space behind.

A dropped sign never joins its neighbours: ``2\:4`` becomes ``2  4``, which is no number. Digit groups of a thousands
separator are joined here and nowhere else, and only in groups of three.
"""

import re

_MARKS = re.compile(r"(?<![\w)\]}\\])\*{2,}|\*{2,}(?![\w(\[{\\]|-[0-9])|(?<![\w\\])_{2,}|(?<!\\)_{2,}(?!\w|\{)|`+")
_EMPHASIS = re.compile(r"(?:^|(?<=[\s(\"':>]))([*_])(?=[^\s*_])([^*_$\\\n]{1,200})(?<=\S)\1(?![\w*{])", re.MULTILINE)

_CALCULATOR = re.compile(r"<<[^<>\n]{0,200}>>")

_SUPERSCRIPTS = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b", "0123456789+-"
)
_SUPERSCRIPT = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207a\u207b]+")
_PARTS = {"\u00bd": (1, 2), "\u2153": (1, 3), "\u2154": (2, 3), "\u00bc": (1, 4), "\u00be": (3, 4), "\u2155": (1, 5)}
_SIGNS = {
    "\u2212": "-", "\u2013": "-", "\u00d7": r"\times ", "\u22c5": r"\cdot ", "\u00b7": r"\cdot ", "\u00f7": "/",
    "\u2044": "/", "\u2215": "/", "\u03c0": r"\pi ", "\u03b8": r"\theta ", "\u221e": r"\infty ", "\u00b0": r"^\circ ",
    "\u2264": r"\leq ", "\u2265": r"\geq ", "\u2260": r"\neq ", "\u2248": r"\approx ", "\u222a": r"\cup ",
    "\u2229": r"\cap ", "\u2208": r"\in ", "\u2205": r"\emptyset ", "\u00b1": r"\pm ", "\u2032": "'",
    "\u00a0": "~", "\u2009": "~", "\u202f": "~", "\u2002": "~", "\u2003": "~", "\u200b": " ", "\u2060": " ",
    "\ufeff": " ",
    "\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"',
}  # fmt: skip
_ODD = re.compile("[" + "".join(_SIGNS) + "".join(_PARTS) + "\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207a\u207b\u221a]")

_METERS = re.compile("(?<=[0-9])m(?=[\u00b2\u00b3])")

_THOUSANDS = re.compile(
    r"(?<![0-9.,\\])(?<![0-9] )(?<![0-9]~)([0-9]{1,3})((?:(?:,\\[!,] ?|\{ *, *\}|\\[,!]|\\ |[,~ ])[0-9]{3})+)"
    r"(?![0-9])(?![,~ ][0-9])"
)
_SPACING = re.compile(
    r"\\[!,;:> ]|\\(?:left|right)(?![A-Za-z]) *\.?"
    r"|\\(?:q?quad|(?:display|text)style|[bB]igg?[lr]?|limits|mathstrut)(?![A-Za-z])|~"
)
_DELIMITERS = re.compile(r"\\[()\[\]]|(?<!\\)\$\$?")
_REPEATING = re.compile(
    r"(?<![0-9.])([0-9]{0,40})\.([0-9]{0,40}) *\\(?:overline|bar) *\{ *([0-9]{1,40}) *\}(?! *[0-9])"
)
_ROW_END = "\x01"  # stands for the end of a matrix row while spacing is dropped
_SPELLINGS = (
    (re.compile(r"[(\[] *\\begin\{array\} *\{[^{}]*\}(.*)\\end\{array\} *[)\]]"), r"\\begin{pmatrix}\1\\end{pmatrix}"),
    (re.compile(r"(\\begin|\\end) *\{[bB]matrix\}"), r"\1{pmatrix}"),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![A-Za-z])"), r"\\binom"),
    (re.compile(r"\bnp\."), " "),  # NumPy's functions, as in some golds
    (
        re.compile(
            r"\\(?:mathrm|mathbf|mathit|mathsf|mathbb|textbf|textit|textrm|textnormal|texttt|emph|mbox|hbox|bm"
            r"|boldsymbol|operatorname\*?)(?= *\{)"
        ),
        r"\\text",
    ),
    (re.compile(r"\\(?:le|leqslant)(?![A-Za-z])|<="), r"\\leq "),
    (re.compile(r"\\(?:ge|geqslant)(?![A-Za-z])|>="), r"\\geq "),
    (re.compile(r"\\ne(?![A-Za-z])|!="), r"\\neq "),
    (re.compile(r"\\(?:approx|simeq|thickapprox|doteq)(?![A-Za-z])"), r"\\approx "),
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset "),
    (re.compile(r"\\(?:rm|bf|it|sf)(?![A-Za-z])"), " "),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\[lr]?vert(?![A-Za-z])"), "|"),
    (re.compile(r"(?<=[0-9]) *[xX] *(?=10 *(?:\^|\*\*))"), r"\\times "),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\^ *\{ *\\circ *\}"), r"^\\circ "),
    (re.compile(r"\^ *\\circ(?![A-Za-z])"), r"^\\circ "),
    (re.compile(r"\\degrees?(?![A-Za-z])"), r"^\\circ "),
    (re.compile(r"\\sqrt +"), r"\\sqrt"),
    (re.compile(r"(?<=[0-9]) ?[eE]([-+]?[0-9]{1,4})(?![0-9A-Za-z.])"), r"e\1"),
)


def unmark(text: str) -> str:
    """A completion without Markdown's marks for bold, emphasis and code and without GSM8K's ``<<3*4=12>>``.

    A space takes the place of each. LaTeX subscripts, products and powers (``a_1 + b_2``, ``2*3*4``, ``10**33``) are no
    marks: they stand within words.
    """
    return _EMPHASIS.sub(r" \2 ", _MARKS.sub(" ", _CALCULATOR.sub(" ", text)))


def clean(text: str) -> str:
    """An answer in one spelling of LaTeX: no math delimiters, no spacing commands, no thousands separators."""
    text = _ODD.sub(_plain_sign, _METERS.sub(r"\\text{ m}", " ".join(text.split())))
    text = _DELIMITERS.sub(" ", _currency(text))
    text = _joined_thousands(text.replace("\\\\", _ROW_END))
    text = _SPACING.sub(" ", text)
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = _REPEATING.sub(_repeated, text).replace(_ROW_END, "\\\\")
    return " ".join(text.split()).rstrip(" .,;:")


def _repeated(match: re.Match) -> str:
    whole, first, period = match[1] or "0", match[2], match[3]
    scale, nines = 10 ** len(first), 10 ** len(period) - 1
    return rf"\frac{{{int(whole + first) * nines + int(period)}}}{{{scale * nines}}}"


def _plain_sign(match: re.Match) -> str:
    sign = match[0]
    if sign in _PARTS:
        above, below = _PARTS[sign]
        return rf"\frac{{{above}}}{{{below}}}"
    if sign == "\u221a":
        return r"\sqrt "
    if _SUPERSCRIPT.fullmatch(sign):
        after = match.end() < len(match.string) and _SUPERSCRIPT.fullmatch(match.string[match.end()])
        before = match.start() > 0 and _SUPERSCRIPT.fullmatch(match.string[match.start() - 1])
        return ("" if before else "^{") + sign.translate(_SUPERSCRIPTS) + ("" if after else "}")
    return _SIGNS[sign]


def _currency(text: str) -> str:
    r"""A dollar sign that stands alone before a number is money, ``\$``; the others come in pairs around LaTeX."""
    signs = [match.start() for match in re.finditer(r"(?<!\\)\$", text)]
    if len(signs) % 2 == 0:
        return text
    for place in signs:
        if re.match(r"\$ ?[-+]?\.?[0-9]", text[place : place + 5]):
            return text[:place] + "\\" + text[place:]
    return text


def _joined_thousands(text: str) -> str:
    depths, depth = [], 0
    for sign in text:
        depth += (sign in "([") - (sign in ")]")
        depths.append(depth)

    def join(match: re.Match) -> str:
        in_a_list = depths[match.start()] > 0 or r"\{" in text[: match.start()]
        if in_a_list and re.search(r"(?<!\{),(?!\\|\})", match[2]):
            return match[0]
        return match[1] + re.sub(r"[^0-9]", "", match[2])

    return _THOUSANDS.sub(join, text)
