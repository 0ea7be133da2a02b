"""The stream of problems: which ones a step is given, as a function of the data position alone."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxpsn.core import errors
from jaxpsn.tasks import files


@runtime_checkable
class Source(Protocol):
    """An endless, indexable stream of problems."""

    def problem(self, index: int) -> Any:
        """The problem at ``index`` of the stream."""
        ...


class Generated:
    """Problems of a procedural task's split, made when asked for."""

    def __init__(self, task: Any, split: str, seed: int):
        self._task, self._split, self._seed = task, split, seed

    def problem(self, index: int) -> Any:
        """Problem ``index``: a pure function of (split, seed, index)."""
        return self._task.problem(self._seed, index, self._split)


class Shuffled:
    """A list of problems, shuffled anew in every pass; the order is a function of (seed, pass)."""

    def __init__(self, problems: Sequence[Any], seed: int):
        if not problems:
            errors.refuse("data", "no problems", "at least one problem")
        self._problems, self._seed = list(problems), seed
        self._pass, self._order = -1, list(range(len(problems)))

    def __len__(self) -> int:
        return len(self._problems)

    def problem(self, index: int) -> Any:
        """Problem ``index`` of the endless stream."""
        return self._problems[self.number(index)]

    def number(self, index: int) -> int:
        """Which of the list problem ``index`` of the stream is."""
        passes, place = divmod(index, len(self._problems))
        if passes != self._pass:
            self._order = list(range(len(self._problems)))
            random.Random(f"order {self._seed} {passes}").shuffle(self._order)
            self._pass = passes
        return self._order[place]


class Picked(NamedTuple):
    """Problems of one turn."""

    problems: list[Any]
    numbers: list[int] | None
    """Which of the list they are; None where nobody keeps count."""
    taken: int
    """How far the stream has moved."""


def stream(task: Any, pool: int, seed: int) -> Source:
    """Problems of a procedural task to train on: fresh ones for ever, or ``pool`` of them in one shuffled pass after
    another."""
    return Shuffled(task.distinct("train", seed, pool), seed) if pool else Generated(task, "train", seed)


def pick(source: Source, position: int, count: int, solved: Any = None) -> Picked:
    """``count`` problems from ``position`` on; given ``solved`` (bool [n], of a list) those that are not, if possible.

    A whole pass is looked through; where too few are left, solved ones fill the turn, in the order of the stream.
    """
    if solved is None:
        return Picked(take(source, position, count), None, count)
    wanted, others, taken = {}, {}, 0
    while len(wanted) < count and taken < len(source):
        number = source.number(position + taken)
        side = others if bool(solved[number]) else wanted
        side.setdefault(number, position + taken)
        taken += 1
    short = max(count - len(wanted), 0)
    chosen = wanted | dict(list(others.items())[:short])
    numbers = sorted(chosen, key=chosen.__getitem__)
    return Picked([source.problem(chosen[number]) for number in numbers], numbers, taken)


def now_solved(solved: Any, numbers: Sequence[int], scores: Any) -> np.ndarray:
    """``solved`` with those problems of which an answer scored at least a half; ``scores`` are [P, G]."""
    after = np.array(solved)
    after[np.asarray(numbers)] |= np.asarray(scores).max(axis=1) >= 0.5
    return after


def take(source: Source, position: int, count: int) -> list[Any]:
    """``count`` problems from ``position`` on."""
    return [source.problem(index) for index in range(position, position + count)]


def hold_out(problems: Sequence[Any], share: float = 0.1) -> tuple[list[Any], list[Any]]:
    """Problems for training and for evaluation, chosen by their ids alone, so that a file's order does not matter.

    What asks the same as a problem held out is not trained on. Refuses a file that leaves either side empty.
    """
    ordered = sorted(problems, key=lambda problem: random.Random(f"hold out {problem.id}").random())
    held = max(1, round(share * len(ordered)))
    train, test = ordered[held:], ordered[:held]
    asked = set(files.overlap(test, train))
    train = [problem for problem in train if problem.id not in asked]
    if not train:
        errors.refuse("data", f"{len(problems)} problems", "at least 2 that differ, or test_data beside them")
    return train, test
