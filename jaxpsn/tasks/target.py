"""Target: reach a number from a small pool with reuse. ``2,5,9=24:`` asks, ``(5-2)*9-5+2`` answers."""

import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Annotated

from jaxpsn.core import checks, errors
from jaxpsn.core.fields import Fraction, Whole
from jaxpsn.tasks import arithmetic, expressions
from jaxpsn.tasks.countdown import check_operators
from jaxpsn.tasks.problem import TASKS, Problem, Procedural


@TASKS.register("target")
@dataclass(frozen=True)
class Target(Procedural):
    """A pool of ``pool`` different numbers from ``low`` to ``high`` in ascending order, a target up to ``max_target``.

    An answer is an expression over ``operators`` and brackets of at most ``length`` numbers, all from the pool, each as
    often as one likes or not at all; fractions may appear on the way. The target is never in the pool. The narrow style
    has ``length`` numbers in ascending order and no brackets. ``variety``: share of pre-training problems outside it.
    """

    pool: Annotated[int, Whole(1, 6)] = 3
    length: Annotated[int, Whole(2, 6)] = 4
    low: Annotated[int, Whole(1, 99)] = 1
    high: Annotated[int, Whole(2, 99)] = 9
    max_target: Annotated[int, Whole(1, 99_999)] = 999
    operators: str = "+-*/"
    variety: Fraction = 0.1

    def validate(self) -> None:
        """Refuse a span without numbers or with fewer than the pool holds, and operators that are none."""
        checks.whole("target.high", self.high, self.low + 1, 99)
        check_operators("target.operators", self.operators)
        if self.pool > self.high - self.low + 1:
            errors.refuse(
                "target.pool", self.pool, f"at most {self.high - self.low + 1}, from {self.low} to {self.high}"
            )

    @property
    def alphabet(self) -> str:
        """Every character of prompts and answers."""
        return "".join(sorted(f"0123456789,=:(){self.operators}"))

    @property
    def max_prompt(self) -> int:
        """Characters of the longest prompt."""
        return self.pool * (len(str(self.high)) + 1) + len(str(self.max_target)) + 1

    @property
    def max_answer(self) -> int:
        """Characters of the longest answer without needless brackets."""
        return self.length * len(str(self.high)) + self.length - 1 + 2 * (self.length - 2)

    def draw(self, rng: random.Random, narrow: bool) -> tuple[str, str] | None:
        """A prompt and the expression it was made from; None where that has no value in range."""
        pool: set[int] = set()
        while len(pool) < self.pool:
            pool.add(self.low + int(rng.random() * (self.high - self.low + 1)))
        given = sorted(pool)
        size = self.length if narrow else 2 + int(rng.random() * (self.length - 1))
        used = sorted([given[int(rng.random() * self.pool)] for _ in range(size)])
        make = expressions.chain if narrow else expressions.random_whole
        made = make(rng, used, self.operators)
        if made is None or not 1 <= made[0] <= self.max_target or made[0] in pool:
            return None
        return f"{','.join(map(str, given))}={made[0]}:", made[1]

    def check(self, problem: Problem, answer: str) -> bool:
        """Whether ``answer`` uses only numbers of the pool, few enough, and equals the target exactly."""
        return self._solution(problem, answer) is not None

    def canonical(self, problem: Problem, answer: str) -> str | None:
        """The answer up to spaces, brackets, order, grouping and moved minus signs (`arithmetic.key`)."""
        expression = self._solution(problem, answer)
        return None if expression is None else arithmetic.key(expression)

    def count(self, problem: Problem) -> int | None:
        """Number of distinct canonical solutions, by enumeration; None for a ``length`` above 4 or a pool above 4."""
        return None if max(self.length, self.pool) > 4 else _count(problem.prompt, self.length, self.operators)

    def _solution(self, problem: Problem, answer: str) -> arithmetic.Postfix | None:
        pool, target = _read(problem.prompt)
        return arithmetic.solution(
            answer, target, self.operators, lambda used: len(used) <= self.length and pool >= {*used}
        )


@lru_cache(maxsize=8192)
def _read(prompt: str) -> tuple[frozenset[int], int]:
    pool, target = prompt[:-1].split("=")
    return frozenset(map(int, pool.split(","))), int(target)


@lru_cache(maxsize=8192)
def _count(prompt: str, length: int, operators: str) -> int:
    pool, target = _read(prompt)
    sizes = range(2, length + 1)
    used = (numbers for size in sizes for numbers in combinations_with_replacement(sorted(pool), size))
    return sum(len(expressions.solutions(numbers, operators, target)) for numbers in used)
