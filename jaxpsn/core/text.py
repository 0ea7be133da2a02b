"""Numbers and durations as people read them."""

import math
import re
from collections.abc import Sequence
from typing import Any


def number(value: float | int, digits: int = 3) -> str:
    """``value`` with about ``digits`` significant digits: 1234.5 -> '1,234', 0.01234 -> '0.0123', NaN -> 'none'."""
    if not math.isfinite(value):
        return "none"
    if value == 0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])  # of what is shown: 0.9999 is 1.00
    if not -4 <= exponent < 7:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - exponent)}f}"


def share(value: float | int, digits: int = 3, *, signed: bool = False) -> str:
    """A share or a mean with a fixed number of decimals: 0.5 -> '0.500', signed '+0.500', NaN -> 'none'."""
    if not math.isfinite(value):
        return "none"
    shown = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return shown.replace("-", "").replace("+", "") if not float(shown) else shown  # no sign on nothing


def interval(
    value: float | int, low: float | None, high: float | None, *, digits: int = 3, signed: bool = False
) -> str:
    """A value with its interval: '0.500 [0.400, 0.600]', or '0.500 (no interval)'."""
    if low is None or high is None:
        return f"{share(value, digits, signed=signed)} (no interval)"
    ends = (share(end, digits, signed=signed) for end in (low, high))
    return f"{share(value, digits, signed=signed)} [{', '.join(ends)}]"


def tick(value: float | int) -> str:
    """``value`` as an axis shows it, without zeros that say nothing: 2000.0 -> '2,000', 0.20 -> '0.2'."""
    if abs(value) >= 1e5:
        return count(value)
    return f"{value:,.10g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.3g}"


def count(value: float | int) -> str:
    """A count in short: 950 -> '950', 204800 -> '205 k', 1.5e6 -> '1.5 M'."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def duration(seconds: float | int) -> str:
    """A duration in its two largest units: 3725 -> '1 h 2 min', 12.3 -> '12.3 s'."""
    if not math.isfinite(seconds):
        return "none"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def visible(value: Any, most: int | None = None) -> str:
    """``value`` as text that shows what it is: control characters, lone surrogates and marks of direction by name.

    Beyond ``most`` characters the middle is left out, and how much of it is said.
    """
    shown = str(value)
    if most is not None and len(shown) > most:
        head = 2 * most // 3
        left = len(shown) - most
        shown = f"{visible(shown[:head])}\n[... {left:,} characters left out ...]\n{visible(shown[head + left :])}"
        return shown
    return _HIDDEN.sub(lambda found: _named(found[0]), shown)


# All of the C0 and C1 controls but tab and newline, marks of direction, separators, surrogates, non-characters.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


def _named(character: str) -> str:
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"\\u{code:04x}"
