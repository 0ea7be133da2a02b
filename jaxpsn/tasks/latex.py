r"""LaTeX to a plain string: the rewriting rules behind `answers.normalise`, each bounded by the text's length."""

import re

_PASSES = 12  # how deep fractions, roots and powers may nest

_DROPPED = re.compile(
    r"\\\\|\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|quad|qquad|[!,;:> ]|rm|bf|it)(?![A-Za-z])"
    r"|\\[()\[\]]|(?<!\\)\$|\\\$|[~\u200b\u00a0]"
)
_SPELLINGS = (
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:mathrm|mathbf|mathit|mathsf|textbf|textit|textrm|textnormal|mbox|operatorname)\b"), r"\\text"),
    (re.compile(r"\\(?:cdot|times|ast)(?![A-Za-z])"), "*"),
    (re.compile(r"\\(?:le|leqslant)(?![A-Za-z])"), r"\\leq"),
    (re.compile(r"\\(?:ge|geqslant)(?![A-Za-z])"), r"\\geq"),
    (re.compile(r"\\(?:ne)(?![A-Za-z])"), r"\\neq"),
    (re.compile(r"\\(?:emptyset|varnothing)(?![A-Za-z])"), r"\\emptyset"),
    (re.compile("[\u2212\u2013]"), "-"),
    (re.compile("\u03c0"), r"\\pi"),
    (re.compile("\u221e"), r"\\infty"),
    (re.compile("\u00d7"), "*"),
    (re.compile(r"\u221a *\(?([0-9]+)\)?"), r"\\sqrt{\1}"),
    (re.compile("\u2044"), "/"),
    (re.compile("\u00b2"), "^2"),
    (re.compile("\u00b3"), "^3"),
)
_DEGREE = re.compile(r"\^ *(?:\\circ(?![A-Za-z])|\{ *\\circ *\})|\u00b0|(?<=[0-9}]) *\\?degrees?\b")
_PERCENT = re.compile(r"\\?%")
_UNIT_WORDS = (
    r"(?:square|sq\.?|cubic|cu\.?)? *(?:[ckm]m|k?g|mph|km/h|in(?:ch(?:es)?)?|f(?:ee|oo)?t|yards?|miles?|units?"
    r"|(?:centi|kilo|milli)?met(?:er|re)s?|(?:kilo|milli)?grams?|(?:milli)?lit(?:er|re)s?|pounds?|ounces?"
    r"|seconds?|minutes?|hours?|days?|weeks?|months?|years?|dollars?|cents?|percent|points?|people|ways?|radians?)"
    r"(?: *(?:per|/) *[a-z]+)?(?: *\^ *\{?[23]\}?)?\.?"
)
_UNIT = re.compile(r"(?<=[0-9})]) *(?:\\text *\{[^{}]*\} *(?:\^ *\{?[23]\}?)?|" + _UNIT_WORDS + ") *$")
_TEXT = re.compile(r"\\text *\{([^{}]*)\}")
_AND = re.compile(r"(?:\\text *\{)?(?:,? +(?:and|or) +)\}?")
_SHORT_FRACTION = re.compile(r"\\frac *(?:\{([^{}]*)\}|([0-9A-Za-z])) *(?:\{([^{}]*)\}|([0-9A-Za-z]))")
_ROOT = re.compile(r"\\sqrt *(?:\[([^\[\]{}]*)\])? *(?:\{([^{}]*)\}|([0-9A-Za-z]))")
_RAISED = re.compile(r"([\^_]) *\{([^{}]*)\}")
_MIXED = re.compile(r"(?<![0-9.])([0-9]{1,9}) *\\frac *\{? *([0-9]{1,9}) *\}? *\{ *([0-9]{1,9}) *\}")
_ASSIGNED = re.compile(r"(?:[A-Za-z](?:_[0-9A-Za-z])?|[a-z]\([a-z]\))(?:=|\\in(?![a-z]))(?=[^=<>]+$)")
_THOUSANDS = re.compile(r"(?<![0-9.])([0-9]{1,3})((?:(?:,|\{,\})[0-9]{3})+)(?![0-9])")
_LEADING = re.compile(r"(?<![0-9.])0+(?=[0-9])")
_TRAILING = re.compile(r"(?<=[0-9])(\.[0-9]*?)0+(?![0-9])")
_BARE_POINT = re.compile(r"(?<![0-9])(?=\.[0-9])")
_SPACE = re.compile(r"\s+(?![0-9])|(?<![0-9])\s+")  # between digits it is kept: "7 3" is not 73
_SIMPLE = re.compile(r"[0-9]+|(?:[A-Za-z]|\\[a-zA-Z]+|sqrt\([^()]*\))")
_SIMPLE_ABOVE = re.compile(r"[0-9]+|[0-9]*(?:[A-Za-z]|\\[a-zA-Z]+|sqrt\([^()]*\))")


def plain(text: str) -> str:
    """The text without what typesetting adds (see `answers.normalise`); text of at most some thousand characters."""
    text = _DROPPED.sub(_space, " ".join(text.split()))
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = _PERCENT.sub("", _DEGREE.sub("", text)).strip().removesuffix(".").strip()
    text = _UNIT.sub("", text)
    text = _AND.sub(",", text)
    text = _TEXT.sub(r"\1", text)
    text = _MIXED.sub(_mixed, text)
    for _ in range(_PASSES):
        before = text
        text = _RAISED.sub(_raised, _SHORT_FRACTION.sub(_fraction, _ROOT.sub(_root, text)))
        if text == before:
            break
    text = _SPACE.sub("", text)
    text = _ASSIGNED.sub("", text, count=1) if _ASSIGNED.match(text) else text
    if not re.search(r"[(\[]|\\\{", text):
        text = _THOUSANDS.sub(lambda match: match[1] + re.sub(r"[^0-9]", "", match[2]), text)
    return _numbers(text)


def _numbers(text: str) -> str:
    """Numbers as one writes them: no zeros in front, none behind the decimals, no plus in front."""
    text = _BARE_POINT.sub("0", _LEADING.sub("", text))
    text = _TRAILING.sub(lambda match: match[1].rstrip("."), text)
    text = text.removeprefix("+").replace("+\\infty", "\\infty").removesuffix(".")
    return text.lower() if text.isalpha() and len(text) > 1 else text


def _space(match: re.Match) -> str:
    if match[0] == "\\\\":  # the end of a matrix row, no spacing
        return match[0]
    return " " if match[0] in ("~", "\u00a0", "\\ ", "\\quad", "\\qquad") else ""


def _wrapped(text: str, simple: re.Pattern = _SIMPLE) -> str:
    text = text.strip()
    return text if simple.fullmatch(text) else f"({text})"


def _fraction(match: re.Match) -> str:
    above, below = (match[1] or match[2] or "").strip(), (match[3] or match[4] or "").strip()
    sign = ""
    if above.startswith("-") and _SIMPLE_ABOVE.fullmatch(above[1:]):
        sign, above = "-", above[1:]
    return f"{sign}{_wrapped(above, _SIMPLE_ABOVE)}/{_wrapped(below)}"


def _mixed(match: re.Match) -> str:
    whole, above, below = map(int, match.groups())
    return f"{whole * below + above}/{below}"


def _root(match: re.Match) -> str:
    degree = f"[{match[1]}]" if match[1] else ""
    return f"sqrt{degree}({(match[2] or match[3] or '').strip()})"


def _raised(match: re.Match) -> str:
    return f"{match[1]}{_wrapped(match[2])}"
