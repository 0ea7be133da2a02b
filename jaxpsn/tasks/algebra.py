"""A second look at what math-verify takes for equal: it compares absolutely, so that all tiny numbers are one to it.

Imports SymPy and so belongs to the worker processes alone.
"""

from typing import Any

import sympy

_DIGITS = 30
_EXACT = 1e-20  # relative difference of two expressions without decimals
_DECIMAL = 1e-6  # where one of them has decimals, as 0.333333 for 1/3
_LARGEST = 200  # elements that are compared one by one


def close(one: Any, other: Any) -> bool:
    """Whether two SymPy objects that math-verify takes for equal are so relatively too, element by element.

    Expressions with symbols are compared at two points. True where nothing can be said.
    """
    try:
        parts = _parts(one), _parts(other)
    except (TypeError, NotImplementedError):
        return True
    if parts[0] is None or parts[1] is None:
        return True
    if len(parts[0]) != len(parts[1]) or len(parts[0]) > _LARGEST:
        return True
    left = list(parts[1])
    for value in parts[0]:
        match = next((each for each in left if _same(value, each)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _parts(value: Any) -> list[Any] | None:
    if isinstance(value, sympy.Eq):
        return [value.rhs] if value.lhs.is_Symbol else None
    if isinstance(value, sympy.Interval):
        return [value.start, value.end]
    if isinstance(value, sympy.Tuple | sympy.FiniteSet):
        return list(value.args)
    if isinstance(value, sympy.MatrixBase):
        return list(value.flat())
    return [value] if isinstance(value, sympy.Expr) else None


def _same(one: Any, other: Any) -> bool:
    if one == other or not isinstance(one, sympy.Expr) or not isinstance(other, sympy.Expr):
        return True
    limit = _DECIMAL if one.has(sympy.Float) or other.has(sympy.Float) else _EXACT
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    for shift in (3, 7):
        point = {symbol: sympy.Rational(10 * i + shift, 11 * i + 9) for i, symbol in enumerate(symbols)}
        a, b = (sympy.N(side.subs(point).doit(), _DIGITS) for side in (one, other))
        if not (a.is_number and b.is_number) or not (a.is_finite and b.is_finite):
            return True
        if abs(a - b) > limit * max(abs(a), abs(b)):
            return False
    return True
