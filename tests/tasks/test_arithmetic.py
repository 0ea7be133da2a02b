"""Arithmetic against Python's own evaluation, and keys against values at random points."""

import random
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpsn.tasks import arithmetic, expressions
from tests.tasks.reference import every_text, reference


def ours(text: str) -> Fraction | None:
    expression = arithmetic.postfix(text)
    value = None if expression is None else arithmetic.value(expression)
    return None if value is None else Fraction(*value)


@settings(max_examples=1500, deadline=None)
@given(st.text(alphabet="0123456789+-*/() ", max_size=14))
def test_random_strings_evaluate_as_python_does(text):
    assert ours(text) == reference(text)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 7))
def test_random_expressions_evaluate_as_python_does(seed, count):
    rng = random.Random(seed)
    parts = [str(rng.randrange(12)) for _ in range(count)]
    while len(parts) > 1:
        left, right = parts.pop(rng.randrange(len(parts))), parts.pop(rng.randrange(len(parts)))
        parts.append(rng.choice(("({}{}{})", "{} {}{}", "({}){}({})")).format(left, rng.choice("+-*/"), right))
    assert arithmetic.postfix(parts[0]) is not None
    assert ours(parts[0]) == reference(parts[0])


@pytest.mark.parametrize(
    "text",
    ["", " ", "()", "3+", "+3", "-3", "3**2", "3//2", "(3", "3)", ")3(", "3 4", "03", "1_0", "²", "٣", "3+\n4", "3e2",
     "1.5", "(3)(4)", "3(4)", "(3)4", "3+-4", "\x00", "\ud800", "3+\ud800", "1234567890", "9" * 97, "(" * 10 + "3"],
)  # fmt: skip
def test_what_is_no_expression(text):
    assert arithmetic.postfix(text) is None


def test_a_megabyte_is_refused_at_once():
    started = time.perf_counter()
    for text in ("(" * 2**20, "9" * 2**20, "1+" * 2**19, "3" + " " * 2**20):
        assert arithmetic.postfix(text) is None
    assert time.perf_counter() - started < 0.5


def test_the_longest_expressions_stay_small():
    worst = "*".join(["999999999"] * 9)
    n, d = arithmetic.value(arithmetic.postfix(worst))
    assert (n, d) == (999999999**9, 1)
    n, d = arithmetic.value(arithmetic.postfix("+".join(["9/99999999"] * 8)))
    assert n.bit_length() + d.bit_length() < 1000


SAME = [
    ("1+2+3", "3+(2+1)"), ("1-2-3", "1-(2+3)"), ("1-(2-3)", "1+3-2"), ("2*3*4", "(4*2)*3"), ("8/2/3", "8/(2*3)"),
    ("8/(2/3)", "8*3/2"), ("(1-2)*(3-4)", "(2-1)*(4-3)"), ("5-(1-2)*3", "5+(2-1)*3"), ("5-(1-2)/3", "(2-1)/3+5"),
    ("((7))", "7"), (" 1 + 2", "2+1"), ("(3+4)*2", "2*(4+3)"), ("1/(2-3)", "1/(2-3)"), ("6-(5-5)", "6-5+5"),
    ("(5-5)*3+1", "1-(5-5)*3"),
]  # fmt: skip
DIFFERENT = [
    ("1+2", "1-2"), ("1-2", "2-1"), ("2*(3+4)", "2*3+2*4"), ("8*1", "8/1"), ("2+2", "2*2"), ("8/2", "2/8"),
    ("1*2+3", "1*3+2"), ("(1+2)*3", "1+2*3"), ("8-(1+2)", "8-1+2"), ("8/(2*3)", "8/2*3"), ("12", "1+2"),
    ("1/(2-3)", "1/(3-2)"), ("3*4", "12"), ("11+1", "1+1+1"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_same_solution(one, other):
    assert arithmetic.key(arithmetic.postfix(one)) == arithmetic.key(arithmetic.postfix(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_solution(one, other):
    assert arithmetic.key(arithmetic.postfix(one)) != arithmetic.key(arithmetic.postfix(other))


@pytest.mark.parametrize(("count", "distinct"), [(2, 6), (3, 68), (4, 1170)])
def test_keys_part_expressions_as_the_functions_they_are(count, distinct):
    """Two expressions over different symbols share a key just when they are the same rational function.

    Values modulo a large prime at a random point tell functions apart. 6, 68, 1170 is the known number of
    inequivalent expressions of n operands (OEIS A140606).
    """
    prime = 2**61 - 1
    symbols = [str(100 + i) for i in range(count)]
    point = {symbol: random.Random(symbol).randrange(prime) for symbol in symbols}
    by_key: dict[str, set[int]] = {}
    for text in every_text(symbols):
        expression = arithmetic.postfix(text)
        by_key.setdefault(arithmetic.key(expression), set()).add(_modular(expression, point, prime))
    assert len(by_key) == distinct
    assert all(len(values) == 1 for values in by_key.values())
    assert len({value for values in by_key.values() for value in values}) == distinct


def _modular(expression: arithmetic.Postfix, point: dict[str, int], prime: int) -> int:
    stack = []
    for item in expression:
        if isinstance(item, int):
            stack.append(point[str(item)])
            continue
        right, left = stack.pop(), stack.pop()
        other = {"+": right, "-": -right, "*": right, "/": pow(right, -1, prime)}[item]
        stack.append((left + other if item in "+-" else left * other) % prime)
    return stack[0]


@pytest.mark.parametrize("numbers", [(2, 3), (3, 3, 8), (1, 1, 1), (2, 5, 9), (3, 3, 8, 8)])
def test_enumeration_finds_what_brute_force_finds(numbers):
    brute: dict[Fraction, set[str]] = {}
    for text in every_text([str(x) for x in numbers]):
        value = reference(text)
        if value is not None:
            brute.setdefault(value, set()).add(arithmetic.key(arithmetic.postfix(text)))
    for target in range(1, 60):
        assert expressions.solutions(numbers, "+-*/", target) == brute.get(Fraction(target), set())
    table = expressions.table_of(numbers, "+-*/")
    assert {Fraction(*v): len(nodes) for v, nodes in table.items()} == {v: len(keys) for v, keys in brute.items()}
