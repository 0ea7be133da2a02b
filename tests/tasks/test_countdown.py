"""Countdown against brute force."""

import itertools
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpsn.tasks import arithmetic, expressions
from jaxpsn.tasks.problem import TASKS, Problem
from tests.tasks.reference import every_text, reference


def ask(prompt):
    return Problem(prompt, prompt, "", "countdown")


def slow_check(prompt: str, text: str) -> bool:
    given, target = prompt.rstrip(":").split("=")
    used = "".join(c if c.isdigit() else " " for c in text).split()
    return reference(text) == Fraction(int(target)) and sorted(map(int, used)) == sorted(map(int, given.split()))


@pytest.mark.parametrize("prompt", ["1 2 3=7:", "2 2 4=8:", "1 1 1=1:", "3 3 8 8=24:"])
def test_checker_agrees_with_brute_force(prompt):
    count = prompt.count(" ") + 1
    task = TASKS.get("countdown")(numbers=max(count, 3))
    numbers = prompt.split("=")[0].split()
    texts = set(every_text(numbers)) | {text.replace("(", "").replace(")", "") for text in every_text(numbers)}
    right = {text for text in texts if slow_check(prompt, text)}
    assert right == {text for text in texts if task.check(ask(prompt), text)}
    keys = {arithmetic.key(arithmetic.postfix(text)) for text in right}
    assert task.count(ask(prompt)) == len(keys) >= 1


@settings(max_examples=1500, deadline=None)
@given(st.text(alphabet="1234+-*/() ", min_size=3, max_size=13))
def test_checker_agrees_with_brute_force_on_random_text(text):
    task = TASKS.get("countdown")(numbers=3)
    value = reference(text)
    prompts = ["1 2 3=6:", "2 3 4=14:"]
    if value is not None and value.denominator == 1 and value > 0:
        used = "".join(c if c.isdigit() else " " for c in text).split()
        prompts.append(f"{' '.join(sorted(used, key=int))}={value}:")
    for prompt in prompts:
        assert task.check(ask(prompt), text) == slow_check(prompt, text)


def test_numbers_used_twice_left_out_or_glued_are_wrong():
    task = TASKS.get("countdown")()
    problem = ask("2 3 7 8=24:")
    assert task.check(problem, "(7-3)*(8-2)") and task.check(problem, " ( 7 - 3 ) * (8-2)")
    for text in ("8*3", "8*3+7-7", "27-3", "3*8*(7-2-4)", "2*3*7-8-10", "(7-3)*(8-2)=24", "8*3*(7-2)/5"):
        assert not task.check(problem, text)
    assert task.check(ask("3 3 8 8=24:"), "8/(3-8/3)")


def test_operators_left_out_are_wrong():
    task = TASKS.get("countdown")(numbers=3, operators="+-")
    assert task.check(ask("1 2 3=6:"), "1+2+3") and not task.check(ask("1 2 3=6:"), "1*2*3")


def test_the_narrow_style():
    """Operands in the prompt's order and no brackets; problems of the other splits need more than that."""
    task = TASKS.get("countdown")(variety=0.0)
    narrow = [p for p in itertools.islice(task.stream("pretrain", 0), 300)]
    for problem in narrow:
        assert "(" not in problem.answer
        assert "".join(c for c in problem.answer if c.isdigit()) == problem.prompt.split("=")[0].replace(" ", "")
    wide = [p for p in itertools.islice(task.stream("train", 0), 300)]
    assert 0.2 < sum("(" in p.answer for p in wide) / 300 < 0.9


def test_variety_is_the_share_outside_the_style():
    task = TASKS.get("countdown")(variety=0.5)
    styled = [
        "".join(c for c in p.answer if c not in "+-*/") == p.prompt.split("=")[0].replace(" ", "")
        for p in itertools.islice(task.stream("pretrain", 0), 600)
    ]
    assert 0.4 < sum(styled) / 600 < 0.65


def test_prompts_are_canonical():
    task = TASKS.get("countdown")(numbers=5, high=20)
    for problem in itertools.islice(task.stream("train", 1), 200):
        numbers = [int(x) for x in problem.prompt.split("=")[0].split()]
        assert numbers == sorted(numbers) and len(numbers) == 5 and 1 <= min(numbers) and max(numbers) <= 20


def test_count_matches_what_chance_finds():
    """Solutions found by chance are among the counted ones, and with enough chances are all of them."""
    task = TASKS.get("countdown")(numbers=4)
    problem = ask("1 2 3 4=24:")
    rng = random.Random(0)
    found = set()
    for _ in range(20_000):
        made = expressions.random_whole(rng, [1, 2, 3, 4], "+-*/")
        if made and made[0] == 24:
            found.add(task.canonical(problem, made[1]))
    assert len(found) == task.count(problem)
    assert TASKS.get("countdown")(numbers=6).count(ask("1 2 3 4 5 6=24:")) is None
