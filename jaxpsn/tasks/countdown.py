"""Countdown: reach a target with every given number used once. ``2 3 7 8=24:`` asks, ``(7-3)*(8-2)`` answers."""

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from jaxpsn.core import checks, errors
from jaxpsn.core.fields import Fraction, Whole
from jaxpsn.tasks import arithmetic, expressions
from jaxpsn.tasks.problem import TASKS, Problem, Procedural


@TASKS.register("countdown")
@dataclass(frozen=True)
class Countdown(Procedural):
    """Numbers from ``low`` to ``high`` in ascending order (repeats allowed), a whole target up to ``max_target``.

    An answer is an expression over ``operators`` and brackets that uses each number exactly once; fractions may appear
    on the way. The narrow style keeps the order of the prompt and has no brackets: with four numbers 64 expressions,
    where the whole space has 1170 distinct ones. ``variety``: share of pre-training problems outside that style.
    """

    numbers: Annotated[int, Whole(3, 6)] = 4
    low: Annotated[int, Whole(1, 999)] = 1
    high: Annotated[int, Whole(2, 999)] = 9
    max_target: Annotated[int, Whole(1, 99_999)] = 99
    operators: str = "+-*/"
    variety: Fraction = 0.3

    def validate(self) -> None:
        """Refuse a span without numbers, and operators that are none."""
        checks.whole("countdown.high", self.high, self.low + 1, 999)
        check_operators("countdown.operators", self.operators)

    @property
    def name(self) -> str:
        """``countdown-4`` for four numbers."""
        return f"countdown-{self.numbers}"

    @property
    def alphabet(self) -> str:
        """Every character of prompts and answers."""
        return "".join(sorted(f" 0123456789=:(){self.operators}"))

    @property
    def max_prompt(self) -> int:
        """Characters of the longest prompt."""
        return self.numbers * (len(str(self.high)) + 1) + len(str(self.max_target)) + 1

    @property
    def max_answer(self) -> int:
        """Characters of the longest answer without needless brackets: n - 2 pairs at most."""
        return self.numbers * len(str(self.high)) + self.numbers - 1 + 2 * (self.numbers - 2)

    def draw(self, rng: random.Random, narrow: bool) -> tuple[str, str] | None:
        """A prompt and the expression it was made from; None where that has no value in range."""
        span = self.high - self.low + 1
        given = sorted([self.low + int(rng.random() * span) for _ in range(self.numbers)])
        if narrow:
            made = expressions.chain(rng, given, self.operators)
        else:
            made = expressions.random_whole(rng, given, self.operators)
        if made is None or not 1 <= made[0] <= self.max_target:
            return None
        return f"{' '.join(map(str, given))}={made[0]}:", made[1]

    def check(self, problem: Problem, answer: str) -> bool:
        """Whether ``answer`` uses each number once and equals the target exactly."""
        return self._solution(problem, answer) is not None

    def canonical(self, problem: Problem, answer: str) -> str | None:
        """The answer up to spaces, brackets, order, grouping and moved minus signs (`arithmetic.key`)."""
        expression = self._solution(problem, answer)
        return None if expression is None else arithmetic.key(expression)

    def count(self, problem: Problem) -> int | None:
        """Number of distinct canonical solutions, by enumeration (5 ms for 4, 0.1 s for 5); None for 6 (2 s)."""
        return None if self.numbers > 5 else _count(problem.prompt, self.operators)

    def _solution(self, problem: Problem, answer: str) -> arithmetic.Postfix | None:
        given, target = _read(problem.prompt)
        return arithmetic.solution(answer, target, self.operators, given.__eq__)


def check_operators(where: str, operators: str) -> None:
    """Refuse anything but two to four different operators out of ``+-*/``."""
    if not set(operators) <= set(expressions.OPERATORS) or len(operators) < 2 or len(set(operators)) < len(operators):
        errors.refuse(where, operators, "two or more different ones of +-*/")


@lru_cache(maxsize=8192)
def _read(prompt: str) -> tuple[list[int], int]:
    given, target = prompt[:-1].split("=")
    return [int(number) for number in given.split()], int(target)


@lru_cache(maxsize=8192)
def _count(prompt: str, operators: str) -> int:
    given, target = _read(prompt)
    return len(expressions.solutions(tuple(given), operators, target))
