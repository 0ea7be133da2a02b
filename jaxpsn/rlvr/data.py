"""The stream of problems: which ones a step is given, as a function of the data position alone."""

import random
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

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

    def problem(self, index: int) -> Any:
        """Problem ``index`` of the endless stream."""
        passes, place = divmod(index, len(self._problems))
        if passes != self._pass:
            self._order = list(range(len(self._problems)))
            random.Random(f"order {self._seed} {passes}").shuffle(self._order)
            self._pass = passes
        return self._problems[self._order[place]]


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
