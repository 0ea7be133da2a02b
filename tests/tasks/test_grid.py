"""Grid paths against brute force over strings of moves."""

import itertools

import pytest

from jaxpsn.tasks.problem import TASKS, Problem


def ask(prompt):
    return Problem(prompt, prompt, "", "grid")


def slow_check(prompt: str, moves: str) -> bool:
    grid, bound = prompt[:-1].split("<")
    rows = grid.split("/")
    seen = [(0, 0)]
    for move in moves:
        down, right = {"R": (0, 1), "L": (0, -1), "D": (1, 0), "U": (-1, 0)}[move]
        row, column = seen[-1][0] + down, seen[-1][1] + right
        if not (0 <= row < len(rows) and 0 <= column < len(rows)) or rows[row][column] == "#":
            return False
        seen.append((row, column))
    return len(moves) <= int(bound) and len(set(seen)) == len(seen) and seen[-1] == (len(rows) - 1,) * 2


@pytest.mark.parametrize(
    "prompt", [".../.../...<6:", "..#/.../#..<6:", ".#./.#./...<6:", ".../##./...<8:", ".../.#./...<4:"]
)
def test_checks_and_counts_agree_with_brute_force(prompt):
    task = TASKS.get("grid")(size=3)
    strings = ["".join(word) for size in range(8) for word in itertools.product("RDLU", repeat=size)]
    right = [moves for moves in strings if slow_check(prompt, moves)]
    assert right == [moves for moves in strings if task.check(ask(prompt), moves)]
    assert task.count(ask(prompt)) == len(right) >= 1


def test_known_counts():
    task = TASKS.get("grid")()
    free = "/".join(["....."] * 5)
    assert task.count(ask(f"{free}<8:")) == 70  # 8 over 4
    assert task.count(ask(f"{'/'.join(['......'] * 6)}<10:")) == 252


def test_what_a_path_may_not_do():
    task = TASKS.get("grid")(size=3)
    problem = ask("..#/.../#..<6:")
    assert task.check(problem, "RDDR") and task.check(problem, " R D D R ")
    assert task.canonical(problem, " RDDR") == "RDDR" != task.canonical(problem, "DRRD")
    for text in ("", "RRDD", "RDD", "RDDRL", "RLRDDR", "UDRDDR", "rddr", "RDDR.", "RDDRR", "R\nDDR"):
        assert not task.check(problem, text)


def test_the_narrow_style_is_one_shortest_path():
    task = TASKS.get("grid")(variety=0.0)
    for problem in itertools.islice(task.stream("pretrain", 0), 200):
        bound = int(problem.prompt[:-1].split("<")[1])
        assert len(problem.answer) == bound - task.slack
        shortest = [p for p in paths(problem.prompt, bound - task.slack)]
        assert problem.answer == min(shortest, key=lambda p: ["RDLU".index(m) for m in p])


def paths(prompt, length):
    """All paths of a length, by extending those that pass."""
    grid = prompt.split("<")[0]
    open_paths = [""]
    for _ in range(length):
        longer = (path + move for path in open_paths for move in "RDLU")
        open_paths = [path for path in longer if passes(grid, path)]
    return [path for path in open_paths if slow_check(f"{grid}<{length}:", path)]


def passes(grid, moves):
    rows = grid.split("/")
    places = [(0, 0)]
    for move in moves:
        down, right = {"R": (0, 1), "L": (0, -1), "D": (1, 0), "U": (-1, 0)}[move]
        places.append((places[-1][0] + down, places[-1][1] + right))
    inside = all(0 <= r < len(rows) and 0 <= c < len(rows) and rows[r][c] == "." for r, c in places)
    return inside and len(set(places)) == len(places)
