"""Sums with one right answer: chains of additions (``12+7-30=``) and arithmetic modulo a number (``(3*7+5)%11=``)."""

import random
from dataclasses import dataclass
from typing import Annotated

from jaxpsn.core.fields import Whole
from jaxpsn.tasks import arithmetic
from jaxpsn.tasks.problem import TASKS, Problem, Procedural


class _Single(Procedural):
    """A family whose every problem has a single answer, a whole number."""

    solutions = 1

    def check(self, problem: Problem, answer: str) -> bool:
        """Whether ``answer`` is the number; leading zeros and spaces around it do not matter."""
        return arithmetic.integer(answer) == int(problem.answer)

    def canonical(self, problem: Problem, answer: str) -> str | None:
        """The number as it is usually written; None for a wrong one."""
        return problem.answer if self.check(problem, answer) else None


@TASKS.register("chain_sum")
@dataclass(frozen=True)
class ChainSum(_Single):
    """A chain of ``terms`` numbers of up to ``digits`` digits, added and subtracted."""

    terms: Annotated[int, Whole(2, 10)] = 4
    digits: Annotated[int, Whole(1, 6)] = 2

    alphabet = "".join(sorted("0123456789+-="))

    @property
    def max_prompt(self) -> int:
        """Characters of the longest prompt."""
        return self.terms * (self.digits + 1)

    @property
    def max_answer(self) -> int:
        """Characters of the longest answer, its minus included."""
        return 1 + len(str(self.terms * 10**self.digits))

    def draw(self, rng: random.Random, narrow: bool) -> tuple[str, str]:
        """A prompt and its answer; there is only one style."""
        total = int(rng.random() * 10**self.digits)
        text = str(total)
        for _ in range(self.terms - 1):
            term = int(rng.random() * 10**self.digits)
            minus = rng.random() < 0.5
            total += -term if minus else term
            text = f"{text}{'-' if minus else '+'}{term}"
        return f"{text}=", str(total)


@TASKS.register("modular")
@dataclass(frozen=True)
class Modular(_Single):
    """``terms`` numbers below ``high``, joined by ``+ - *``, modulo a number from 2 to ``max_modulus``."""

    terms: Annotated[int, Whole(2, 8)] = 3
    high: Annotated[int, Whole(2, 1000)] = 20
    max_modulus: Annotated[int, Whole(2, 997)] = 19

    alphabet = "".join(sorted("0123456789+-*()%="))

    @property
    def max_prompt(self) -> int:
        """Characters of the longest prompt."""
        return self.terms * (len(str(self.high - 1)) + 1) + len(str(self.max_modulus)) + 3

    @property
    def max_answer(self) -> int:
        """Characters of the longest answer."""
        return len(str(self.max_modulus - 1))

    def draw(self, rng: random.Random, narrow: bool) -> tuple[str, str]:
        """A prompt and its answer, the residue from 0 to the modulus less 1; there is only one style."""
        total, term = 0, int(rng.random() * self.high)
        text = str(term)
        for _ in range(self.terms - 1):
            operator, number = "+-*"[int(rng.random() * 3)], int(rng.random() * self.high)
            text = f"{text}{operator}{number}"
            if operator == "*":
                term *= number
            else:
                total += term
                term = number if operator == "+" else -number
        modulus = 2 + int(rng.random() * (self.max_modulus - 1))
        return f"({text})%{modulus}=", str((total + term) % modulus)
