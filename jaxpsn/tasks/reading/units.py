r"""What stands around an answer's value: units, currencies, percent signs, words such as "million", times of day.

A unit may be left out of an answer, but not be another one than the gold answer's. A word that changes the value is
never thrown away: it is a factor, or the answer is read as it stands.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

_SCALES = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
    "hundreds": 10**2, "thousands": 10**3, "millions": 10**6, "billions": 10**9, "dozens": 12, "score": 20,
}  # fmt: skip
_NAMES = {
    "meter": "m metre meters metres", "centimeter": "cm centimetre centimeters centimetres cms",
    "millimeter": "mm millimetre millimeters millimetres", "kilometer": "km kilometre kilometers kilometres kms",
    "micrometer": "um micron microns", "nanometer": "nm nanometers nanometre", "inch": "in inches", "foot": "ft feet",
    "yard": "yd yards yds", "mile": "mi miles", "gram": "g grams gm gms", "kilogram": "kg kilograms kgs kilo kilos",
    "milligram": "mg milligrams", "pound": "lb lbs pounds", "ounce": "oz ounces", "ton": "tons tonne tonnes",
    "liter": "l litre liters litres", "milliliter": "ml millilitre milliliters millilitres", "gallon": "gal gallons",
    "second": "s sec secs seconds", "minute": "min mins minutes", "hour": "h hr hrs hours", "day": "days",
    "week": "weeks", "month": "months", "year": "yr yrs years", "dollar": "dollars usd bucks", "cent": "cents",
    "euro": "euros eur", "sterling": "gbp", "yen": "jpy", "rupee": "rupees rs inr", "degree": "degrees deg",
    "radian": "radians rad", "newton": "n newtons", "joule": "j joules", "watt": "w watts", "volt": "v volts",
    "kelvin": "k kelvins", "hertz": "hz", "pascal": "pa pascals", "celsius": "centigrade", "fahrenheit": "",
    "mole": "mol moles", "erg": "ergs", "angstrom": "angstroms", "per": "/", "percent": "percentage pct",
    "square": "sq", "cubic": "cu", "squared": "", "cubed": "",
}  # fmt: skip
_KNOWN = {alias: name for name, others in _NAMES.items() for alias in (name, *others.split())}
_LONG = {"mph": "mile per hour", "kmph": "kilometer per hour", "kph": "kilometer per hour"}
_CAPITALS = {"C": "celsius", "F": "fahrenheit", "L": "liter", "N": "newton", "J": "joule", "W": "watt", "V": "volt"}
_SINGLE = "mgshLlNJWVK"  # letters that are a unit where they stand apart or upright
_CURRENCIES = {"\\$": "dollar", "\u20ac": "euro", "\u00a3": "sterling", "\u00a5": "yen", "\u20b9": "rupee"}
_BEHIND = frozenset(
    "half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh sevenths "
    "eighth eighths ninth ninths tenth tenths hundredth hundredths thousandth thousandths millionth "
    "millionths factorial am pm unit units mph kmph kph".split()
)
_NO_UNIT = (_BEHIND - {"unit", "units", "mph", "kmph", "kph"}) | frozenset(
    "and or not no none nor but if is are was be than then less more least most at over under minus plus "
    "times divided negative root roots pi infinity base mod modulo where when for in out unless except "
    "instead because since as with without approximately about to from through sin cos tan log ln sqrt "
    "only either neither both wrong incorrect false true sum product gross point".split()
)
_WORD = re.compile(r"\\text *\{([^{}]*)\}|([A-Za-z]{2,})|(?:(?<=[\s/])|(?<=per ))([" + _SINGLE + r"])(?![A-Za-z])")
_POWER = r"(?: *\^ *(?:\{ *(-?[0-9]) *\}|(-?[0-9])))?"
_PIECE = re.compile(r"(?:" + _WORD.pattern + r")\.?" + _POWER + r"$")
_BEFORE = re.compile(
    r"([-+]?) *(?:(\\\$|[\u20ac\u00a3\u00a5\u20b9])|\b(USD|EUR|GBP|JPY|INR|Rs)\b\.?"
    r"|\\text *\{ *(USD|EUR|GBP|JPY|INR|Rs) *\}) *([-+]?)(?=[ .0-9({\\])"
)
_BRACKETED = re.compile(r"(?<=[0-9)}!]) *\( *([A-Za-z][A-Za-z /.'-]*) *\)$")
_HALF_DAY = re.compile(r"(?:\\text *\{ *)?\b([ap]) *\.? *m\b\.? *\}?$", re.IGNORECASE)
_TIME = re.compile(r"(?:^|[^0-9])[0-9]{1,2}(?: *: *[0-9]{2})? *$")
_PLAIN_WORDS = re.compile(r"[A-Za-z][A-Za-z .'/^0-9-]*")
_FUNCTION = re.compile(r"\\?(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")  # of an angle, whose degrees are no unit
_PIECES = 12


@dataclass(frozen=True)
class Around:
    """A value's surroundings. ``value``: the text that is left; ``known``: units of measure in order, their powers
    written out; ``scale``: the factor of "million" and its like; ``percent``; ``half_day``: "a", "p" or ""."""

    value: str
    known: tuple[str, ...] = ()
    scale: Fraction = Fraction(1)
    percent: bool = False
    half_day: str = ""


def is_word(word: str) -> bool:
    """Whether a word behind a number belongs to its value: a unit of measure, a factor, a part such as "tenths"."""
    return word != "in" and (word.lower() in _KNOWN or word.lower() in _SCALES or word.lower() in _BEHIND)


def split(text: str) -> Around:
    """A cleaned answer as a value and what stands around it; the text as it is where that is no value with a unit."""
    half_day = _HALF_DAY.search(text)
    if half_day and _TIME.search(text[: half_day.start()]):
        return Around(text[: half_day.start()].strip(), half_day=half_day[1].lower())
    before = _BEFORE.match(text)
    known: list[str] = []
    if before and not (before[1] and before[5]):
        name = before[2] or before[3] or before[4]
        known.append(_CURRENCIES.get(name) or _KNOWN[name.lower()])
        text = before[1] + before[5] + text[before.end() :].strip()
    value, words, percent = _peel(text)
    if words is None or not (words or percent):
        return Around(text.strip(), tuple(known))
    if words and words[0][0].lower() in ("squared", "cubed"):
        return Around(text.strip(), tuple(known))
    scale = Fraction(1)
    while words and words[0][0].lower() in _SCALES and not words[0][1]:
        scale *= _SCALES[words.pop(0)[0].lower()]
    if any(word.lower() in _SCALES or word.lower() in _NO_UNIT for word, _ in words):
        return Around(text.strip(), tuple(known))
    units = _units(words)
    percent = percent or "percent" in units
    known += [unit for unit in units if unit not in ("percent", *known)]
    return Around(value, tuple(known), scale, percent)


def _peel(text: str) -> tuple[str, list[tuple[str, str]] | None, bool]:
    """The value, and the unit words behind it with their powers; None for the words where it ends in no value."""
    words: list[tuple[str, str]] = []
    percent, rest = False, text.strip()
    bracketed = _BRACKETED.search(rest)
    if bracketed:
        words, rest = [(word, "") for word in bracketed[1].split()], rest[: bracketed.start()].strip()
    for _ in range(_PIECES):
        place, found, sign = _last_piece(rest)
        if place is None:
            break
        percent = percent or sign == "%"
        words[:0] = found
        rest = rest[:place].rstrip()
        joint = re.search(r"(?:\\cdot|/|\*)$", rest)
        if joint and found:
            words[:0] = [("/", "")] if joint[0] == "/" else []
            rest = rest[: joint.start()].rstrip()
            if not re.search(r"[A-Za-z}]" + _POWER + "$", rest):
                return text, None, False
    if _FUNCTION.search(rest):
        return text, None, False
    ends_in_value = re.search(r"(?:[0-9)}!\]|.]|\\pi)$", rest) and re.search(r"[0-9]|\\(?:frac|sqrt|pi)", rest)
    return (rest, words, percent) if ends_in_value else (text, None, False)


def _last_piece(text: str) -> tuple[int | None, list[tuple[str, str]], str]:
    """Where the last unit word or sign of a text begins, its words, and the sign if it is one; None for no unit."""
    sign = re.search(r"(?:\\?%|\^ *\\circ *([CF]?)|(\\\$|[\u20ac\u00a3\u00a5\u20b9]))$", text)
    if sign:
        if sign[2]:
            return sign.start(), [(_CURRENCIES[sign[2]], "")], ""
        degree = "circ" in sign[0]
        words = [("degree", "")] + ([(_CAPITALS[sign[1]], "")] if sign[1] else []) if degree else []
        return sign.start(), words, "" if degree else "%"
    piece = _PIECE.search(text)
    if piece is None or (piece[2] and text[piece.start() - 1 : piece.start()] in ("\\", "^", "_")):
        return None, [], ""
    power = piece[4] or piece[5] or ""
    if piece[1] is None:
        return piece.start(), [(piece[2] or piece[3], power)], ""
    inside = piece[1].strip()
    inside = re.sub(r"(?:^|(?<= ))([A-Za-z]+)\.", r"\1", inside)
    if not inside:
        return piece.start(), [], ""
    if inside in ("%", r"\%"):
        return piece.start(), [], "%"
    if not _PLAIN_WORDS.fullmatch(inside.lstrip("/ -")) or re.search(r"(?<!\^)(?<!\^-)[0-9]", inside):
        return None, [], ""
    words = [(w[1], w[2] or "") for w in re.finditer(r"([A-Za-z'-]+|/)(?:\^(-?[0-9]))?", inside)]
    if power and words:
        words[-1] = (words[-1][0], power)
    return piece.start(), words, ""


def _units(words: list[tuple[str, str]]) -> list[str]:
    found: list[str] = []
    prefix = ""
    for word, power in words:
        if word in _CAPITALS or word.lower() not in _LONG:
            names = [_CAPITALS.get(word) or _KNOWN.get(word.lower())]
        else:
            names = _LONG[word.lower()].split()
        for name in names:
            if name in ("square", "cubic"):
                prefix = "2" if name == "square" else "3"
            elif name in ("squared", "cubed"):
                found[-1:] = [found[-1] + ("^2" if name == "squared" else "^3")]
            elif name is not None:
                raised = power or prefix
                found.append(name + (f"^{raised}" if raised and raised != "1" else ""))
                prefix = ""
    return found
