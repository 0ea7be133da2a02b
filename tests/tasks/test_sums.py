"""Chain sums and modular arithmetic against Python."""

import itertools

import pytest

from jaxpsn.tasks.problem import TASKS


@pytest.mark.parametrize("options", [{}, {"terms": 2, "digits": 1}, {"terms": 10, "digits": 6}])
def test_chain_sums_add_up(options):
    task = TASKS.get("chain_sum")(**options)
    for problem in itertools.islice(task.stream("train", 0), 300):
        total = sum(int(term) for term in problem.prompt[:-1].replace("-", "+-").split("+"))
        assert problem.answer == str(total) and problem.solutions == task.count(problem) == 1


def test_modular_answers_are_residues():
    task = TASKS.get("modular")(terms=4, high=30, max_modulus=23)
    for problem in itertools.islice(task.stream("train", 0), 300):
        inside, modulus = problem.prompt[1:-1].split(")%")
        total = 0
        for term in inside.replace("-", "+-").split("+"):
            product = 1
            for factor in term.split("*"):
                product *= int(factor)
            total += product
        assert problem.answer == str(total % int(modulus)) and 0 <= int(problem.answer) < int(modulus)


def test_a_number_is_compared_by_value():
    task = TASKS.get("chain_sum")()
    problem = next(p for p in task.stream("train", 0) if int(p.answer) > 9)
    right = problem.answer
    for text in (right, f" {right} ", f"0{right}"):
        assert task.check(problem, text) and task.canonical(problem, text) == right
    for text in (f"-{right}", f"{right}0", f"{right}.0", f"+{right}", f"{right[0]} {right[1:]}", f"{right}\n", ""):
        assert not task.check(problem, text) and task.canonical(problem, text) is None
