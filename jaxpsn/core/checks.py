"""Range checks for configs: each refuses a value in one line, before anything compiles."""

import math
import sys
from collections.abc import Iterable
from typing import Any

from jaxpsn.core import errors


def whole(field: str, value: Any, low: int, high: int | None = None) -> None:
    """Refuse anything but an integer in ``[low, high]``."""
    allowed = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        errors.refuse(field, value, allowed)


def real(field: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Refuse anything but a finite number in ``[low, high]`` (``(low, high]`` with ``open_low``)."""
    above = f"above {low:g}" if open_low else f"at least {low:g}"
    allowed = f"a number {above}" + ("" if high == math.inf else f" and at most {high:g}")
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if not number or value < low or value > high or (open_low and value == low):
        errors.refuse(field, value, allowed)


def choice(field: str, value: Any, names: Iterable[str]) -> None:
    """Refuse a name that is not in ``names``, and say which are nearest."""
    names = list(names)
    if value not in names:
        errors.refuse(field, value, errors.nearest(str(value), names))
