"""Target against brute force."""

import itertools
import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpsn.tasks import arithmetic
from jaxpsn.tasks.problem import TASKS, Problem
from tests.tasks.reference import every_text, reference


def ask(prompt):
    return Problem(prompt, prompt, "", "target")


@pytest.mark.parametrize(("prompt", "length"), [("2,3=12:", 3), ("2,5,9=7:", 3), ("4=5:", 4), ("3,7=1:", 3)])
def test_count_agrees_with_brute_force(prompt, length):
    pool, target = prompt[:-1].split("=")
    task = TASKS.get("target")(pool=len(pool.split(",")), length=length)
    right = set()
    for size in range(1, length + 1):
        for numbers in itertools.combinations_with_replacement(pool.split(","), size):
            right |= {text for text in every_text(list(numbers)) if reference(text) == Fraction(int(target))}
    assert right and all(task.check(ask(prompt), text) for text in right)
    assert task.count(ask(prompt)) == len({arithmetic.key(arithmetic.postfix(text)) for text in right})


@settings(max_examples=800, deadline=None)
@given(st.text(alphabet="1259+-*/() ", min_size=3, max_size=12))
def test_checker_agrees_with_brute_force_on_random_text(text):
    task = TASKS.get("target")(length=3)
    value = reference(text)
    targets = {24, 7} | ({int(value)} if value is not None and value.denominator == 1 and value > 0 else set())
    used = re.findall("[0-9]+", text)
    for target in targets:
        right = value == target and len(used) <= 3 and set(used) <= {"2", "5", "9"}
        assert task.check(ask(f"2,5,9={target}:"), text) == right


def test_what_a_target_answer_may_use():
    task = TASKS.get("target")()
    problem = ask("2,5,9=24:")
    assert task.check(problem, "(5-2)*9-5+2") is False  # five numbers
    assert task.check(problem, "5*5+9/9") is False and task.check(problem, "5+5+5+9") is True
    assert task.check(problem, "9+9+2*3") is False  # 3 is not in the pool
    assert task.canonical(problem, "9+(5+5)+5") == task.canonical(problem, "5+5+5+9")
    for each in itertools.islice(task.stream("train", 0), 200):
        pool, target = each.prompt[:-1].split("=")
        assert target not in pool.split(",") and pool.split(",") == sorted(set(pool.split(",")), key=int)


def test_the_narrow_style_ascends_without_brackets():
    task = TASKS.get("target")(variety=0.0)
    for problem in itertools.islice(task.stream("pretrain", 0), 200):
        used = re.findall("[0-9]+", problem.answer)
        assert "(" not in problem.answer and used == sorted(used, key=int) and len(used) == task.length


def test_long_or_large_pools_are_not_counted():
    assert TASKS.get("target")(length=5).count(ask("2,5,9=24:")) is None
    assert TASKS.get("target")(pool=5).count(ask("1,2,3,4,5=24:")) is None
