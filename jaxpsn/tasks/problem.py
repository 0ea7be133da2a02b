"""What a task is: problems as a pure function of (seed, index), and three splits that never share a prompt."""

import hashlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxpsn.core import checks, errors
from jaxpsn.core.components import Component, called
from jaxpsn.core.families import Family

SPLITS = ("pretrain", "train", "test")
_OWNERS = ("pretrain", "pretrain", "train", "test")  # by the prompt's hash, modulo 4
_TRIES = 20_000  # draws before a split is taken to be empty
_STALE = 1000  # problems without a new prompt before a split is taken to be used up


@dataclass(frozen=True)
class Problem:
    """One question: what the model reads, and what is needed to judge its answer.

    ``answer``: a correct answer (procedural tasks) or the gold answer (files), a JSON value. ``task``: the name of its
    task. ``solutions``: number of distinct canonical solutions where it is known without a search. ``verifier``: how a
    file asks for its answer to be judged, None for the task's own way.
    """

    id: str
    prompt: str
    answer: Any
    task: str
    solutions: int | None = None
    verifier: str | None = None


@runtime_checkable
class Task(Protocol):
    """What trainers and evaluations ask of a task. ``check`` is total: any string, never an exception, bounded time."""

    name: str
    alphabet: str  # every character of prompts and of correct answers, sorted
    max_prompt: int  # characters
    max_answer: int  # characters, without needless brackets or spaces

    def problem(self, seed: int, index: int, split: str = "train") -> Problem:
        """The problem number ``index`` of a split, a pure function of its arguments."""

    def demonstration(self, problem: Problem, rng: random.Random) -> str:
        """A correct answer, as pre-training shows it."""

    def check(self, problem: Problem, answer: str) -> bool:
        """Whether ``answer`` solves the problem."""

    def canonical(self, problem: Problem, answer: str) -> str | None:
        """A key shared by answers that are the same solution; None for a wrong answer."""

    def count(self, problem: Problem) -> int | None:
        """Number of distinct canonical solutions; None where that takes too long."""


def split_of(prompt: str) -> str:
    """The split that owns a prompt, by its hash: half pre-training, a quarter training, a quarter test."""
    digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return _OWNERS[digest[0] % 4]


class Procedural(Component):
    """What the generated tasks share: a task has a ``draw`` and a ``check``, and this makes streams of problems.

    A task of one's own also says its ``alphabet``, ``max_prompt`` and ``max_answer`` (see :class:`Task`). Splits are
    disjoint by prompt: a prompt belongs to the split that its hash names, whatever the seed.
    """

    variety: float = 0.0
    """Share of pre-training problems that are drawn as those of the other splits."""

    @property
    def name(self) -> str:
        """What its problems and files are called."""
        return called(type(self))

    def draw(self, rng: random.Random, narrow: bool) -> tuple[str, str] | None:
        """A random prompt with a correct answer (in the family's one narrow style if ``narrow``), or None: no luck."""
        raise NotImplementedError

    def problem(self, seed: int, index: int, split: str = "train") -> Problem:
        """The problem number ``index`` of a split, a pure function of (options, seed, index, split).

        Pre-training problems are drawn from a narrow solution, but for a share ``variety``; all others from any
        solution. The same prompt may return at another index. Raises UserError where the options leave no prompt.
        """
        checks.choice("split", split, SPLITS)
        rng = random.Random(f"{self.name}/{split}/{seed}/{index}")
        narrow = split == "pretrain" and rng.random() >= self.variety
        for _ in range(_TRIES):
            drawn = self.draw(rng, narrow)
            if drawn is not None and split_of(drawn[0]) == split:
                prompt, answer = drawn
                return Problem(f"{self.name}/{prompt}", prompt, answer, self.name, self.solutions)
        raise errors.UserError(f"task {self.name}: no prompt for the split {split!r}; widen the options {self}")

    def check(self, problem: Problem, answer: str) -> bool:
        """Whether ``answer`` solves the problem: any string, never an exception, bounded time."""
        raise NotImplementedError

    def canonical(self, problem: Problem, answer: str) -> str | None:
        """A key shared by answers that are the same solution, by default the answer without spaces; None: wrong."""
        return "".join(answer.split()) if self.check(problem, answer) else None

    def count(self, problem: Problem) -> int | None:
        """Number of distinct canonical solutions; None where it is not known."""
        return self.solutions

    solutions: int | None = None  # of every problem, where the family has a single one

    def stream(self, split: str, seed: int, start: int = 0) -> Iterator[Problem]:
        """Problems of one split without end, from index ``start``."""
        return (self.problem(seed, index, split) for index in itertools.count(start))

    def distinct(self, split: str, seed: int, count: int) -> list[Problem]:
        """The first ``count`` problems of a stream whose prompts all differ. Raises UserError where there are fewer."""
        found: dict[str, Problem] = {}
        stale = 0
        for problem in self.stream(split, seed):
            stale = stale + 1 if problem.prompt in found else 0
            found.setdefault(problem.prompt, problem)
            if len(found) >= count:
                return list(found.values())
            if stale > _STALE:
                errors.refuse("count", count, f"task {self.name} has about {len(found)} prompts in the split {split!r}")

    def demonstration(self, problem: Problem, rng: random.Random) -> str:
        """A correct answer: the one the problem was drawn from, so ``rng`` has nothing to choose."""
        return problem.answer


TASKS: Family[Procedural] = Family(
    "task",
    Procedural,
    modules={
        "chain_sum": "jaxpsn.tasks.sums",
        "countdown": "jaxpsn.tasks.countdown",
        "grid": "jaxpsn.tasks.grid",
        "ladder": "jaxpsn.tasks.ladder",
        "modular": "jaxpsn.tasks.sums",
        "swaps": "jaxpsn.tasks.swaps",
        "target": "jaxpsn.tasks.target",
    },
    doc="Generated problems with a checker: what a small decoder is pre-trained on, and learns to solve.",
)
