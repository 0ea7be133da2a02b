"""Arithmetic that a model wrote: parsed without `eval`, without recursion, in bounded length and exact rationals.

An expression is whole numbers of up to 9 digits without leading zeros, the operators ``+ - * /``, round brackets and
spaces; there is no sign in front of a number. It becomes a postfix tuple, which :func:`value` and :func:`key` read.
No integer can have more digits than the text has characters (plus a few), so the length bounds the work.
"""

import re
from collections.abc import Callable, Iterable

LONGEST = 96
"""Characters of the longest expression that is read at all."""

_SHAPE = re.compile(r"[0-9+*/() -]+")
_TOKEN = re.compile(r"0|[1-9][0-9]{0,8}|[-+*/()]")
_INTEGER = re.compile(r" *-?[0-9]{1,18} *")
_BINDS = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2}

Postfix = tuple[int | str, ...]
Node = tuple[str, int, tuple[tuple[int, str], ...]]


def postfix(text: str) -> Postfix | None:
    """The expression in postfix order (numbers as int, operators as str), or None where it is not one."""
    if len(text) > LONGEST or not _SHAPE.fullmatch(text):
        return None
    output: list[int | str] = []
    waiting: list[str] = []
    operand = True  # whether an operand must come next
    for token in _TOKEN.findall(text):
        if token in _BINDS:
            if operand != (token == "("):
                return None
            if token != "(":
                while waiting and _BINDS[waiting[-1]] >= _BINDS[token]:
                    output.append(waiting.pop())
                operand = True
            waiting.append(token)
        elif token == ")":
            if operand:
                return None
            while waiting and waiting[-1] != "(":
                output.append(waiting.pop())
            if not waiting:
                return None
            waiting.pop()
        else:
            if not operand:
                return None
            output.append(int(token))
            operand = False
    if operand or "(" in waiting:
        return None
    return (*output, *reversed(waiting))


def integer(text: str) -> int | None:
    """A whole number of up to 18 digits in ASCII, with or without a minus, spaces around it; None otherwise."""
    return int(text) if len(text) <= LONGEST and _INTEGER.fullmatch(text) else None


def numbers(expression: Postfix) -> list[int]:
    """The numbers an expression uses, sorted."""
    return sorted(item for item in expression if type(item) is int)


def value(expression: Postfix) -> tuple[int, int] | None:
    """The value as (numerator, denominator), not reduced, denominator never 0; None for a division by 0."""
    stack: list[tuple[int, int]] = []
    for item in expression:
        if type(item) is int:
            stack.append((item, 1))
            continue
        n, d = stack.pop()
        m, c = stack.pop()
        if item == "+":
            stack.append((m * d + n * c, c * d))
        elif item == "-":
            stack.append((m * d - n * c, c * d))
        elif item == "*":
            stack.append((m * n, c * d))
        elif n == 0:
            return None
        else:
            stack.append((m * d, c * n))
    return stack[0]


def solution(text: str, target: int, operators: str, allowed: Callable[[list[int]], bool]) -> Postfix | None:
    """The expression if it equals ``target``, has only ``operators`` and ``allowed`` accepts its sorted numbers."""
    expression = postfix(text)
    if expression is None or not allowed(numbers(expression)):
        return None
    result = value(expression)
    if result is None or result[0] != target * result[1]:
        return None
    return expression if all(type(item) is int or item in operators for item in expression) else None


def key(expression: Postfix) -> str:
    """A key that two expressions share just when reordering, regrouping and moving minus signs makes one the other.

    Sums and differences are flattened into a sorted sum of signed terms, products and quotients into a sorted product
    of factors and divisors, and signs are pulled out of factors: ``a-(b-c)`` is ``a+c-b``, ``a/(b/c)`` is ``a*c/b``,
    ``(a-b)*(c-d)`` is ``(b-a)*(d-c)``. Nothing is multiplied out and no number is replaced by its value: ``2*(3+4)``
    differs from ``2*3+2*4``, ``8*1`` from ``8/1``, ``2+2`` from ``2*2``.
    """
    stack: list[Node] = []
    for item in expression:
        if type(item) is int:
            stack.append(atom(item))
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(combine(item, left, right))
    return name(stack[0])


def atom(number: int) -> Node:
    """The node of one number, as :func:`combine` takes it."""
    return ("number", 1, ((1, str(number)),))


def combine(operator: str, left: Node, right: Node) -> Node:
    """The node of ``left operator right``: equal nodes are the same solution up to order, grouping and signs.

    A sum keeps its signed terms, a product its overall sign and its (exponent, factor) pairs, both sorted.
    """
    if operator in "+-":
        flip = 1 if operator == "+" else -1
        return ("sum", 1, tuple(sorted((*_terms(left, 1), *_terms(right, flip)))))
    sign, factors = _factors(left)
    other, more = _factors(right)
    if operator == "/":
        more = tuple((-power, factor) for power, factor in more)
    return ("product", sign * other, tuple(sorted((*factors, *more))))


def name(node: Node) -> str:
    """The node as a string."""
    kind, sign, items = node
    if kind == "sum":
        sign, text = _signed_sum(items)
    else:
        text = items[0][1] if kind == "number" else _product(items)
    return f"-{text}" if sign < 0 else text


def _terms(node: Node, flip: int) -> Iterable[tuple[int, str]]:
    kind, sign, items = node
    if kind == "sum":
        return items if flip > 0 else tuple((-each, text) for each, text in items)
    return ((flip * sign, items[0][1] if kind == "number" else _product(items)),)


def _factors(node: Node) -> tuple[int, tuple[tuple[int, str], ...]]:
    kind, sign, items = node
    if kind != "sum":
        return sign, items
    sign, text = _signed_sum(items)
    return sign, ((1, text),)


def _signed_sum(items: tuple[tuple[int, str], ...]) -> tuple[int, str]:
    """A sum up to its sign: of the sum and its negative, the one that reads first; and which of the two it was.

    The sign is 0 where both read the same (``5-5``): then a minus in front changes nothing.
    """
    plain = "".join(sorted(("-" if sign < 0 else "+") + text for sign, text in items))
    negative = "".join(sorted(("-" if sign > 0 else "+") + text for sign, text in items))
    return (plain < negative) - (negative < plain), f"({min(plain, negative)})"


def _product(items: tuple[tuple[int, str], ...]) -> str:
    return "[" + "".join(("*" if power > 0 else "/") + text for power, text in sorted(items, reverse=True)) + "]"
