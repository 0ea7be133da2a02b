"""Swaps: sort digits by few swaps. ``3152<6:`` asks for at most 6, ``132`` (neighbours 1 2, 3 4, 2 3) is an answer."""

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from jaxpsn.core.fields import Fraction, Whole
from jaxpsn.tasks.problem import TASKS, Problem, Procedural

Swap = tuple[int, int]  # two positions from 0, in ascending order


@TASKS.register("swaps")
@dataclass(frozen=True)
class Swaps(Procedural):
    """``length`` different digits, to be sorted by at most the fewest swaps plus ``slack``.

    ``kind`` "adjacent": an answer is a string of positions, ``i`` swaps the digits at i and i + 1. "any": a string of
    pairs of positions. Positions count from 1. The narrow style is bubble sort or selection sort; ``variety``: share of
    pre-training answers that are any shortest sequence instead.
    """

    length: Annotated[int, Whole(3, 8)] = 5
    kind: Literal["adjacent", "any"] = "adjacent"
    slack: Annotated[int, Whole(0, 8)] = 2
    variety: Fraction = 0.1

    alphabet = "".join(sorted("0123456789<:"))

    @property
    def max_prompt(self) -> int:
        """Characters of the longest prompt."""
        return self.length + 2 + len(str(self._longest))

    @property
    def max_answer(self) -> int:
        """Characters of the longest answer."""
        return self._longest * (1 if self.kind == "adjacent" else 2)

    @property
    def _longest(self) -> int:
        fewest = self.length * (self.length - 1) // 2 if self.kind == "adjacent" else self.length - 1
        return fewest + self.slack

    def draw(self, rng: random.Random, narrow: bool) -> tuple[str, str] | None:
        """A prompt and a shortest answer, by the book where ``narrow``; None for digits that are sorted already."""
        digits = rng.sample("0123456789", self.length)
        order = _ranks(digits)
        adjacent = self.kind == "adjacent"
        fewest = distance(order, adjacent)
        if fewest == 0:
            return None
        found: list[Swap] = []
        while len(found) < fewest:
            closer = _closer(order, adjacent)
            swap = closer[0] if narrow else closer[int(rng.random() * len(closer))]
            order = _swapped(order, swap)
            found.append(swap)
        return f"{''.join(digits)}<{fewest + self.slack}:", self._text(found)

    def check(self, problem: Problem, answer: str) -> bool:
        """Whether the swaps, within the bound, sort the digits; spaces do not matter."""
        return self._solution(problem, answer) is not None

    def canonical(self, problem: Problem, answer: str) -> str | None:
        """The answer up to the order of swaps that do not touch each other, without swaps that are undone at once.

        Two answers are the same just when exchanging neighbouring swaps of four different positions, and inserting or
        striking out a swap made twice running, turns one into the other.
        """
        found = self._solution(problem, answer)
        return None if found is None else self._text(normal_form(found))

    def count(self, problem: Problem) -> int | None:
        """Number of distinct canonical solutions, exact, for up to 6 digits; None for more (seconds and longer)."""
        if self.length > 6:
            return None
        order, bound = _read(problem.prompt)
        return _count(order, bound, self.kind == "adjacent")

    def _text(self, swaps: list[Swap]) -> str:
        if self.kind == "adjacent":
            return "".join(str(i + 1) for i, _ in swaps)
        return "".join(f"{i + 1}{j + 1}" for i, j in swaps)

    def _solution(self, problem: Problem, answer: str) -> list[Swap] | None:
        order, bound = _read(problem.prompt)
        if len(answer) > 4 * self.max_answer or not _POSITIONS.fullmatch(answer):
            return None
        places = [int(character) - 1 for character in answer.replace(" ", "")]
        if self.kind == "adjacent":
            swaps = [(i, i + 1) for i in places]
        elif len(places) % 2:
            return None
        else:
            swaps = [(min(pair), max(pair)) for pair in zip(places[::2], places[1::2], strict=True)]
        if len(swaps) > bound or any(i == j or j >= len(order) for i, j in swaps):
            return None
        left = list(order)
        for i, j in swaps:
            left[i], left[j] = left[j], left[i]
        return swaps if left == sorted(left) else None


_POSITIONS = re.compile(r"[1-9 ]*")


def _ranks(digits: list[str]) -> tuple[int, ...]:
    ranking = sorted(digits)
    return tuple(map(ranking.index, digits))


@lru_cache(maxsize=8192)
def _read(prompt: str) -> tuple[tuple[int, ...], int]:
    digits, bound = prompt[:-1].split("<")
    return _ranks(list(digits)), int(bound)


@lru_cache(maxsize=65536)
def distance(order: tuple[int, ...], adjacent: bool) -> int:
    """Fewest swaps that sort a permutation: its inversions, or its length less its cycles."""
    size = len(order)
    if adjacent:
        return sum(order[i] > order[j] for j in range(size) for i in range(j))
    cycles, left = 0, set(range(size))
    while left:
        cycles += 1
        place = next(iter(left))
        while place in left:
            left.remove(place)
            place = order[place]
    return size - cycles


@lru_cache(maxsize=64)
def _letters(size: int, adjacent: bool) -> tuple[Swap, ...]:
    return tuple((i, j) for i in range(size) for j in range(i + 1, size) if not adjacent or j == i + 1)


def _swapped(order: tuple[int, ...], swap: Swap) -> tuple[int, ...]:
    changed = list(order)
    i, j = swap
    changed[i], changed[j] = changed[j], changed[i]
    return tuple(changed)


@lru_cache(maxsize=65536)
def _closer(order: tuple[int, ...], adjacent: bool) -> tuple[Swap, ...]:
    """The swaps that bring a permutation nearer to sorted, the one of bubble or selection sort first."""
    here = distance(order, adjacent)
    swaps = _letters(len(order), adjacent)
    closer = [swap for swap in swaps if distance(_swapped(order, swap), adjacent) < here]
    if not adjacent:
        wrong = next(i for i, rank in enumerate(order) if rank != i)
        closer.sort(key=(wrong, order.index(wrong)).__ne__)
    return tuple(closer)


def _apart(one: Swap, other: Swap) -> bool:
    """Whether two swaps touch no common position, so that their order does not matter."""
    return not {*one} & {*other}


def normal_form(swaps: list[Swap]) -> list[Swap]:
    """The first, in lexicographic order, of the shortest sequences that are the same solution.

    The word problem of a right-angled Coxeter group: strike out pairs of equal letters that commute past everything
    between them, then pull the smallest letter that can come to the front, again and again.
    """
    word: list[Swap] = []
    for swap in swaps:
        place = len(word) - 1
        while place >= 0 and word[place] != swap and _apart(word[place], swap):
            place -= 1
        if place >= 0 and word[place] == swap:
            del word[place]
        else:
            word.append(swap)
    ordered = []
    while word:
        first = [i for i, swap in enumerate(word) if all(_apart(swap, other) for other in word[:i])]
        ordered.append(word.pop(min(first, key=word.__getitem__)))
    return ordered


@lru_cache(maxsize=8192)
def _count(order: tuple[int, ...], bound: int, adjacent: bool) -> int:
    """Normal forms of at most ``bound`` letters that sort ``order``, counted by an automaton that reads only those.

    Its state: the permutation, the letters that may not follow because they belonged further to the front, and those
    that would be struck out (bit masks).
    """
    swaps = _letters(len(order), adjacent)
    apart = [sum(_apart(one, other) << i for i, other in enumerate(swaps)) for one in swaps]
    states = {(order, 0, 0): 1}
    total = 0
    for left in range(bound - 1, -1, -1):
        following: dict[tuple[tuple[int, ...], int, int], int] = {}
        for (permutation, before, last), ways in states.items():
            for i, swap in enumerate(swaps):
                if (before | last) >> i & 1:
                    continue
                changed = _swapped(permutation, swap)
                if distance(changed, adjacent) > left:
                    continue
                state = (changed, apart[i] & (before | ((1 << i) - 1)), 1 << i | apart[i] & last)
                following[state] = following.get(state, 0) + ways
        states = following
        total += sum(ways for (permutation, _, _), ways in states.items() if distance(permutation, adjacent) == 0)
    return total
