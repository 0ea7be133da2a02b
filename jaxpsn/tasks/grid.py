"""Grid: a path past walls, from the upper left to the lower right corner. ``..#/.../#..<6:`` asks, ``DRRD`` answers."""

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from jaxpsn.core.fields import Fraction, Real, Whole
from jaxpsn.tasks.problem import TASKS, Problem, Procedural

_MOVES = "RDLU"
_PATH = re.compile(r"[RDLU ]*")
_DETOUR = 2  # steps by which the walls may lengthen the shortest path, so that answers stay short


@TASKS.register("grid")
@dataclass(frozen=True)
class Grid(Procedural):
    """A ``size`` x ``size`` grid where each cell but the corners is a wall with probability ``walls``.

    An answer is a string of moves R, D, L, U that visits no cell twice and has at most the fewest steps plus ``slack``.
    The narrow style is the shortest path that goes right where it can, else down, else left; ``variety``: share of
    pre-training answers that are any shortest path instead.
    """

    size: Annotated[int, Whole(3, 6)] = 5
    walls: Annotated[float, Real(0.0, 0.5)] = 0.25
    slack: Annotated[int, Whole(0, 4)] = 2
    variety: Fraction = 0.1

    alphabet = "".join(sorted("0123456789.#/<:RDLU"))

    @property
    def max_prompt(self) -> int:
        """Characters of the longest prompt."""
        return self.size * (self.size + 1) + 1 + len(str(self.max_answer))

    @property
    def max_answer(self) -> int:
        """Characters of the longest answer."""
        return 2 * (self.size - 1) + _DETOUR + self.slack

    def draw(self, rng: random.Random, narrow: bool) -> tuple[str, str] | None:
        """A prompt and a shortest path; None where the walls leave none, or only a long one."""
        size = self.size
        cells = ["#" if rng.random() < self.walls else "." for _ in range(size * size)]
        cells[0] = cells[-1] = "."
        steps = _steps_to_go("".join(cells), size)
        if not 0 < steps[0] <= 2 * (size - 1) + _DETOUR:
            return None
        here, path = 0, []
        while steps[here]:
            closer = [(m, cell) for m, cell in _neighbours(size)[here] if steps[cell] == steps[here] - 1]
            move, here = closer[0] if narrow else closer[int(rng.random() * len(closer))]
            path.append(move)
        rows = "/".join("".join(cells[i : i + size]) for i in range(0, size * size, size))
        return f"{rows}<{steps[0] + self.slack}:", "".join(path)

    def check(self, problem: Problem, answer: str) -> bool:
        """Whether the moves reach the goal within the bound, past no wall and over no cell twice."""
        return self.canonical(problem, answer) is not None

    def canonical(self, problem: Problem, answer: str) -> str | None:
        """The moves without spaces: two different paths are two solutions."""
        cells, size, bound = _read(problem.prompt)
        if len(answer) > 4 * self.max_answer or not _PATH.fullmatch(answer):
            return None
        moves = answer.replace(" ", "")
        here, seen, near = 0, {0}, _neighbours(size)
        for move in moves:
            here = dict(near[here]).get(move, -1)
            if here < 0 or here in seen or cells[here] == "#":
                return None
            seen.add(here)
        return moves if here == size * size - 1 and len(moves) <= bound else None

    def count(self, problem: Problem) -> int:
        """Number of paths within the bound, exact, by depth-first search (milliseconds)."""
        return _count(*_read(problem.prompt))


@lru_cache(maxsize=8)
def _neighbours(size: int) -> tuple[tuple[tuple[str, int], ...], ...]:
    """For each cell (row by row) its moves, in the order R, D, L, U, and where they lead."""
    table = []
    for cell in range(size * size):
        row, column = divmod(cell, size)
        ends = ((row, column + 1), (row + 1, column), (row, column - 1), (row - 1, column))
        inside = ((m, r * size + c) for m, (r, c) in zip(_MOVES, ends, strict=True) if 0 <= r < size and 0 <= c < size)
        table.append(tuple(inside))
    return tuple(table)


def _steps_to_go(cells: str, size: int) -> list[int]:
    """For each cell the fewest steps to the lower right corner; -1 for walls and cells cut off."""
    goal = size * size - 1
    steps = [-1] * (goal + 1)
    steps[goal] = 0
    queue = [goal]
    near = _neighbours(size)
    for cell in queue:
        for _, other in near[cell]:
            if steps[other] < 0 and cells[other] == ".":
                steps[other] = steps[cell] + 1
                queue.append(other)
    return steps


@lru_cache(maxsize=8192)
def _read(prompt: str) -> tuple[str, int, int]:
    rows, bound = prompt[:-1].split("<")
    return rows.replace("/", ""), rows.count("/") + 1, int(bound)


@lru_cache(maxsize=8192)
def _count(cells: str, size: int, bound: int) -> int:
    steps, near = _steps_to_go(cells, size), _neighbours(size)
    total, open_paths = 0, [(0, 1, bound)]  # cell, visited cells as bits, steps left
    while open_paths:
        here, seen, left = open_paths.pop()
        if steps[here] == 0:
            total += 1
            continue
        for _, other in near[here]:
            if 0 <= steps[other] < left and not seen >> other & 1:
                open_paths.append((other, seen | 1 << other, left - 1))
    return total
