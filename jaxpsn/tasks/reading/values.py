r"""The exact value of an answer: arithmetic of a canonical string (`latex.canonical`) in fractions, within bounds.

Sums, products, quotients, whole powers, exact roots and factorials, such as ``30*40``, ``2^10``, ``4.5*10^33``,
``1/2004!``. No rounding: what has no rational value, or one of more than ``BITS`` bits, has none here.
"""

import math
import re
from fractions import Fraction

BITS = 1 << 15
"""Bits of the largest numerator or denominator that is worked out."""
_DEPTH = 60
_TOKENS = re.compile(r"[0-9]+(?:\.[0-9]+)?|sqrt|[-+*/^!()\[\]]")
_MIXED = re.compile(r"(-?[0-9]{1,40}) ([0-9]{1,40})/([0-9]{1,40})")
_DIGITS = 4000  # of one number


class _NoValue(ValueError):
    """The text has no exact value within the bounds."""


def exact(text: str) -> Fraction | None:
    """The value of a canonical string, or None where it has no rational value, or none within the bounds."""
    mixed = _MIXED.fullmatch(text)
    if mixed and int(mixed[3]):
        sign = -1 if text.startswith("-") else 1
        return sign * (abs(int(mixed[1])) + Fraction(int(mixed[2]), int(mixed[3])))
    found = _TOKENS.findall(text)
    if not found or "".join(found) != text:  # a space between two numbers is no product
        return None
    try:
        reader = _Reader(found)
        value = reader.sum(0)
        return value if reader.place == len(found) else None
    except (_NoValue, ZeroDivisionError):
        return None


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > BITS:
        raise _NoValue
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        base = _root(base, exponent.denominator)
        exponent = Fraction(exponent.numerator)
    n = int(exponent)
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(n) > BITS or abs(n) * max(size - 1, 0) > BITS:
        raise _NoValue
    return _bounded(base**n)


def _root(value: Fraction, degree: int) -> Fraction:
    """The exact root of a number not below 0."""
    if value < 0 or not 2 <= degree <= 64:
        raise _NoValue
    return Fraction(_whole_root(value.numerator, degree), _whole_root(value.denominator, degree))


def _whole_root(value: int, degree: int) -> int:
    if degree == 2:
        root = math.isqrt(value)
    else:
        low, high = 0, 1 << (value.bit_length() // degree + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
        root = low
    if root**degree != value:
        raise _NoValue
    return root


class _Reader:
    """Recursive descent over the tokens; every method returns a value or raises _NoValue."""

    def __init__(self, tokens: list[str]):
        self.tokens, self.place = tokens, 0

    def next(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self, token: str) -> None:
        if self.next() != token:
            raise _NoValue
        self.place += 1

    def sum(self, depth: int) -> Fraction:
        if depth > _DEPTH:
            raise _NoValue
        sign = self.sign()
        value = sign * self.product(depth)
        while self.next() in ("+", "-"):
            sign = 1 if self.next() == "+" else -1
            self.place += 1
            value = _bounded(value + sign * self.product(depth))
        return value

    def sign(self) -> int:
        if self.next() not in ("+", "-"):
            return 1
        self.place += 1
        return 1 if self.tokens[self.place - 1] == "+" else -1

    def product(self, depth: int) -> Fraction:
        value = self.power(depth)
        while self.next() and self.next() in "*/(sqrt":
            divides = self.next() == "/"
            if self.next() in ("*", "/"):
                self.place += 1
                factor = self.sign() * self.power(depth)
            else:  # 2(3), 2sqrt(4)
                factor = self.power(depth)
            value = _bounded(value / factor if divides else value * factor)
        return value

    def power(self, depth: int) -> Fraction:
        if depth > _DEPTH:
            raise _NoValue
        value = self.atom(depth + 1)
        while self.next() == "!":
            self.place += 1
            if value.denominator != 1 or not 0 <= value <= 3000:
                raise _NoValue
            value = _bounded(Fraction(math.factorial(int(value))))
        if self.next() == "^":
            self.place += 1
            sign = self.sign()
            value = _power(value, sign * self.power(depth + 1))
        return value

    def atom(self, depth: int) -> Fraction:
        token = self.next()
        self.place += 1
        if token == "(":
            value = self.sum(depth)
            self.take(")")
            return value
        if token == "sqrt":
            degree = 2
            if self.next() == "[":
                self.place += 1
                index = self.sum(depth)
                degree = int(index) if index.denominator == 1 and abs(index) < 100 else 0
                self.take("]")
            self.take("(")
            value = _root(self.sum(depth), degree)
            self.take(")")
            return value
        if token[:1].isdigit() and len(token) <= _DIGITS:
            return Fraction(token)
        raise _NoValue
