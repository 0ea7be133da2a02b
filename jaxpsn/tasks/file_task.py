"""Problems from a file as a task. How answers are compared is up to the file, the user, or the gold answer itself."""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from jaxpsn.core import checks, errors
from jaxpsn.tasks import answers
from jaxpsn.tasks.problem import Problem

VERIFIERS = ("auto", "math", "integer", "exact", "choice")


class FileTask:
    """A list of problems that behaves as a task.

    ``verifier`` says how an answer is compared with the gold one. "integer": the final answer has the same exact value
    (and not another unit); "choice": the same letter A to J; "exact": the completion, or what it boxes, is the same
    string; "math": equal by strings, values and units (`answers.compare`). Where only algebra could tell, "integer" and
    "math" leave it to a `grading.Grader`, which asks math-verify. "auto": what the problem itself asks for, else
    integer, choice or math, whichever suits the gold answer. ``check`` itself never starts a process. Raises UserError
    for an empty list, an unknown verifier, or a gold answer that does not suit its verifier.
    """

    def __init__(self, problems: Sequence[Problem], verifier: str = "auto", name: str = "file"):
        checks.choice("verifier", verifier, VERIFIERS)
        if not problems:
            errors.refuse("problems", "none", "at least one problem")
        self.name, self.verifier = name, verifier
        self.problems = tuple(replace(problem, task=name) for problem in problems)
        for problem in self.problems:
            self._suits(problem)
        texts = [text for problem in self.problems for text in (problem.prompt, self.demonstration(problem))]
        self.alphabet = "".join(sorted(set().union(*texts)))
        self.max_prompt = max(len(problem.prompt) for problem in self.problems)
        self.max_answer = max(len(self.demonstration(problem)) for problem in self.problems)
        self.needs_workers = any(self._way(problem) == "math" for problem in self.problems)

    def __len__(self) -> int:
        return len(self.problems)

    def problem(self, seed: int, index: int, split: str = "train") -> Problem:
        """Problem ``index`` of an endless stream that goes through the list in a new order each time.

        A file is one split, so ``split`` only changes the order.
        """
        checks.choice("split", split, ("pretrain", "train", "test"))
        passes, place = divmod(index, len(self.problems))
        return self.problems[_order(len(self.problems), f"{split}/{seed}/{passes}")[place]]

    def demonstration(self, problem: Problem, rng: random.Random | None = None) -> str:
        """The gold answer, boxed unless it is compared literally; ``rng`` has nothing to choose."""
        return str(problem.answer) if self._way(problem) == "exact" else f"\\boxed{{{problem.answer}}}"

    def check(self, problem: Problem, answer: str) -> bool:
        """Whether the completion's final answer is the gold one, by strings and numbers alone."""
        gold, way = str(problem.answer), self._way(problem)
        if way == "exact":
            found = answers.boxed(answer)
            return gold.strip() in (answer.strip() if len(answer) <= answers.TAIL else None, found)
        if way == "choice":
            return answers.choice(answer) == answers.choice(gold)
        return answers.judge(gold, answer) is True

    def canonical(self, problem: Problem, answer: str) -> str | None:
        """The normalised final answer, one for all that `check` accepts; None for a wrong one."""
        return answers.normalise(str(problem.answer)) if self.check(problem, answer) else None

    def count(self, problem: Problem) -> None:
        """Unknown: a file does not say how many ways lead to its answer."""
        return None

    def latex(self, problem: Problem, answer: str) -> tuple[str, str] | None:
        """What a worker should compare, as (gold, answer), gold first as math-verify needs it; None for nothing.

        Only what `check` cannot decide: two exact numbers, two units or plain words need no worker.
        """
        if self._way(problem) not in ("math", "integer"):
            return None
        found = answers.extract(answer)
        return None if found is None else answers.question(str(problem.answer), found)

    def _suits(self, problem: Problem) -> None:
        gold, way = str(problem.answer), self._way(problem)
        if way == "integer" and answers.number(answers.normalise(gold)) is None:
            errors.refuse(f"answer of problem {problem.id}", gold, "a number, for the verifier 'integer'")
        if way == "choice" and answers.choice(gold) is None:
            errors.refuse(f"answer of problem {problem.id}", gold, "a letter from A to J, for the verifier 'choice'")

    def _way(self, problem: Problem) -> str:
        way = (problem.verifier or "auto") if self.verifier == "auto" else self.verifier
        return _suited(str(problem.answer)) if way == "auto" else way


@lru_cache(maxsize=65536)
def _suited(gold: str) -> str:
    plain = answers.normalise(gold)
    value = answers.number(plain)
    if value is not None and value.denominator == 1:
        return "integer"
    return "choice" if len(plain.strip("()")) == 1 and plain.strip("()") in "ABCDEFGHIJ" else "math"


@lru_cache(maxsize=16)
def _order(count: int, seed: str) -> tuple[int, ...]:
    return tuple(random.Random(seed).sample(range(count), count))
