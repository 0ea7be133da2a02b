"""Streams of problems: a function of (seed, position), and files cut in two without a prompt on both sides."""

import collections

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.rlvr import data
from jaxpsn.tasks.problem import TASKS, Problem

TASK = TASKS.get("chain_sum")()


def some(count, prompt="what is {}?"):
    return [Problem(f"p{i}", prompt.format(i), str(i), "file") for i in range(count)]


def test_generated_problems_are_a_function_of_seed_and_index():
    ours, again, other = (data.Generated(TASK, "train", seed) for seed in (3, 3, 4))
    there = data.take(ours, 5, 4)
    assert data.take(again, 0, 9)[5:] == there
    assert data.take(other, 5, 4) != there


def test_splits_share_no_prompt():
    train = {problem.prompt for problem in data.take(data.Generated(TASK, "train", 0), 0, 300)}
    for split in ("test", "pretrain"):
        assert not train & {problem.prompt for problem in data.take(data.Generated(TASK, split, 0), 0, 300)}


def test_shuffled_passes_over_all_in_an_order_of_its_own():
    problems = some(7)
    source = data.Shuffled(problems, seed=1)
    passes = [data.take(source, 7 * turn, 7) for turn in range(3)]
    for one in passes:
        assert sorted(problem.id for problem in one) == sorted(problem.id for problem in problems)
    assert passes[0] != passes[1] != passes[2]
    # Any place is found without the ones before it, and places before it after it.
    fresh = data.Shuffled(problems, seed=1)
    assert fresh.problem(17) == passes[2][3] and fresh.problem(2) == passes[0][2] and fresh.problem(8) == passes[1][1]
    assert data.take(data.Shuffled(problems, seed=2), 0, 7) != passes[0]
    with pytest.raises(UserError, match="at least one problem"):
        data.Shuffled([], 0)


def test_held_out_by_id_and_not_by_place():
    problems = some(50)
    train, test = data.hold_out(problems)
    assert (len(train), len(test)) == (45, 5)
    again = data.hold_out(problems[::-1])
    assert {problem.id for problem in again[1]} == {problem.id for problem in test}
    # Which five: neither the first nor the last of the file.
    assert {problem.id for problem in test} not in ({f"p{i}" for i in range(5)}, {f"p{i}" for i in range(45, 50)})


def test_what_is_held_out_is_not_trained_on_under_another_id():
    problems = [Problem(f"p{i}", f"What is  {i % 20}?", "1", "file") for i in range(40)]
    train, test = data.hold_out(problems)
    assert not {problem.prompt for problem in train} & {problem.prompt for problem in test}
    assert len(train) + len(test) < 40
    assert collections.Counter(problem.id for problem in train + test).most_common(1)[0][1] == 1


@pytest.mark.parametrize("problems", [some(1), some(3, prompt="the same")])
def test_a_file_too_small_to_be_cut_is_refused(problems):
    with pytest.raises(UserError, match=f"data = '{len(problems)} problems': at least 2 that differ"):
        data.hold_out(problems)


def test_two_problems_are_one_of_each():
    train, test = data.hold_out(some(2))
    assert len(train) == len(test) == 1
