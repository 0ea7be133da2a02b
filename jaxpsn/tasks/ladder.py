"""Ladder: like choices that an answer makes again and again. ``kt:`` asks, ``bktbktbkt`` answers."""

import random
from dataclasses import dataclass
from typing import Annotated

from jaxpsn.core.fields import Fraction, Whole
from jaxpsn.tasks.problem import TASKS, Problem, Procedural

COMMON, RARE = "ab"
"""The two ways in which a block may begin."""
_LETTERS = "cdefghijklmnopqrst"


@TASKS.register("ladder")
@dataclass(frozen=True)
class Ladder(Procedural):
    """``length`` blocks, each a choice between ``a`` and ``b`` and then the ``filler`` letters of the prompt.

    Pre-training shows texts whose choices are independent, ``b`` in a share ``rare`` of them. The right answer chooses
    ``b`` every time, which the base does with probability ``rare`` to the power ``length``: what pays is to stay with
    the rare choice, and nothing else.
    """

    length: Annotated[int, Whole(1, 256)] = 8
    filler: Annotated[int, Whole(1, 8)] = 2
    rare: Fraction = 0.2

    alphabet = "".join(sorted(f":{COMMON}{RARE}{_LETTERS}"))
    solutions = 1

    @property
    def max_prompt(self) -> int:
        """Characters of every prompt."""
        return self.filler + 1

    @property
    def max_answer(self) -> int:
        """Characters of every answer."""
        return self.length * (self.filler + 1)

    def draw(self, rng: random.Random, narrow: bool) -> tuple[str, str]:
        """A prompt with the right answer; ``narrow``: with a text of independent choices, which counts as its own."""
        given = "".join(_LETTERS[int(rng.random() * len(_LETTERS))] for _ in range(self.filler))
        chosen = [RARE if not narrow or rng.random() < self.rare else COMMON for _ in range(self.length)]
        return f"{given}:", "".join(one + given for one in chosen)

    def check(self, problem: Problem, answer: str) -> bool:
        """Whether ``answer`` is the text of the problem, spaces around it apart."""
        return answer.strip(" ") == problem.answer

    def canonical(self, problem: Problem, answer: str) -> str | None:
        """The text; None for a wrong one."""
        return problem.answer if self.check(problem, answer) else None
