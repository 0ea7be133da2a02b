"""Grading: own checkers in process, LaTeX in workers that are killed when they take too long."""

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxpsn.core import errors
from jaxpsn.tasks import grading
from jaxpsn.tasks.file_task import FileTask
from jaxpsn.tasks.problem import TASKS, Problem

SLOW = "tests.tasks.slow_verifiers:sleepy"


def latex_task(*golds):
    return FileTask([Problem(str(i), f"question {i}", gold, "math", verifier="math") for i, gold in enumerate(golds)])


def test_procedural_tasks_need_no_process():
    tasks = [TASKS.get("countdown")(), TASKS.get("grid")()]
    problems = [task.problem(0, index) for task in tasks for index in range(20)]
    with grading.Grader(tasks) as grader:
        assert grader.grade(problems, [p.answer for p in problems]) == [1.0] * 40
        assert grader.grade(problems, ["nonsense"] * 40) == [0.0] * 40
        assert grader.grade([], []) == []
        assert grader.checked == grader.killed == grader.failed == 0
    with pytest.raises(errors.UserError, match=r"problem\.task = 'grids': unknown; nearest: grid"):
        grader.grade([Problem("a", "b", "c", "grids")], ["R"])


def test_a_checker_that_raises_scores_nothing():
    class Broken:
        name, alphabet, max_prompt, max_answer = "broken", "a", 1, 1

        def problem(self, seed, index, split="train"): ...
        def demonstration(self, problem, rng): ...
        def canonical(self, problem, answer): ...
        def count(self, problem): ...
        def check(self, problem, answer):
            if answer == "x":
                raise ZeroDivisionError
            return True

    with grading.Grader(Broken()) as grader:
        assert grader.grade([Problem("a", "b", "c", "broken")] * 3, ["a", "x", "b"]) == [1.0, 0.0, 1.0]
        assert grader.failed == 1


def test_workers_that_hang_or_die_are_replaced():
    task = latex_task("a+b")
    words = ["sleep", "a+c", "power", "die", "raise", "print", "memory", "a+b+0"]
    with grading.Grader(task, workers=2, deadline=2.0, verify=SLOW) as grader:
        started = time.monotonic()
        texts = [rf"\boxed{{{word}}}" for word in words]
        assert grader.grade(task.problems * len(words), texts) == [0.0] * len(words)
        assert grader.killed == 3  # sleep and power by the deadline, die by itself; memory is refused by the limit
        assert grader.checked == len(words)
        assert time.monotonic() - started < 60
        assert grader.grade(task.problems * 2, [r"\boxed{sleep}", r"\boxed{a + b}"]) == [0.0, 1.0]
        assert grader.killed == 3 and grader.checked == len(words)  # remembered, and equal as strings
        children = [worker.process for worker in grader._pool._workers]
        assert children and all(child.poll() is None for child in children)
        children[0].kill()
        children[0].wait()  # one that dies while idle costs nobody an answer
        pairs = ["one", "two", "three"]
        assert grader._pool.run([(word, word) for word in pairs]) == [True] * 3
        children = [worker.process for worker in grader._pool._workers]
    assert all(child.poll() is not None for child in children)


def test_workers_that_cannot_start_are_said_in_one_line():
    task = latex_task("a+b")
    with grading.Grader(task, workers=1, verify="tests.tasks.slow_verifiers:broken") as grader:
        with pytest.raises(
            errors.UserError, match=r"worker processes for tests\.tasks\.slow_verifiers:broken end before"
        ):
            grader.grade(task.problems, ["x+1"])


def test_equal_answers_are_judged_once():
    task = latex_task("a+b")
    with grading.Grader(task, workers=1, deadline=20.0, verify=SLOW) as grader:
        assert grader.grade(task.problems * 50, ["a+c"] * 50) == [0.0] * 50
        assert grader.checked == 1


def test_the_missing_extra_is_named(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "math_verify" else real(name, *a))
    with pytest.raises(
        errors.UserError, match=r"task file: LaTeX answers need math-verify; pip install 'jaxpsn\[math\]'"
    ):
        grading.Grader(latex_task("x+1"))
    grading.Grader(latex_task("x+1"), verify=SLOW).close()
    grading.Grader(TASKS.get("countdown")()).close()
    grading.Grader(FileTask([Problem("1", "q", "12", "gsm8k")])).close()


@pytest.mark.parametrize(("options", "says"), [
    ({"workers": 0}, "grading.workers = 0: a whole number from 1 to 256"),
    ({"deadline": 0.0}, "grading.deadline = 0.0: a number above 0 and at most 3600"),
])  # fmt: skip
def test_bad_options(options, says):
    with pytest.raises(errors.UserError) as caught:
        grading.Grader(latex_task("1"), **options)
    assert str(caught.value) == says


MATH = [
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}", True),
    (r"\sqrt{8}", r"2\sqrt{2}", True),
    (r"\{1,2\}", r"\{2,1\}", True),
    (r"\{1,2\}", "2, 1", True),
    (r"(-\infty, 3]", r"x \leq 3", True),
    ("[1,2)", "[1,2]", False),
    (r"(1,2)\cup(3,4)", r"(3,4)\cup(1,2)", True),
    (r"0.5", r"50\%", True),
    ("x^2-1", "(x-1)(x+1)", True),
    ("(1,2)", "(2,1)", False),
    ("2x+3", "2x+4", False),
    (r"\frac{2}{3}", "0.667", False),
    ("x+1", "9^{9^{9^{9}}}", False),
    ("x+1", "__import__('os').system('touch canary')", False),
    ("x+1", "9**9**9", False),
    ("x+1", "(" * 400, False),
    ("x+1", "\x00\ud800", False),
]


def test_math_verify(tmp_path, monkeypatch):
    """LaTeX that differs as text; hostile answers among them leave no trace and do not stop the others."""
    monkeypatch.chdir(tmp_path)
    task = latex_task(*(gold for gold, _, _ in MATH))
    with grading.Grader(task, workers=2, deadline=6.0) as grader:
        rewards = grader.grade(task.problems, [rf"\boxed{{{answer}}}" for _, answer, _ in MATH])
    wrong = [(row, reward) for row, reward in zip(MATH, rewards, strict=True) if bool(reward) != row[2]]
    assert not wrong
    assert not list(tmp_path.iterdir())


def test_a_worker_is_a_small_process():
    """No JAX in it, and the user's script is not imported again."""
    code = "import sys; import jaxpsn.tasks.worker, jaxpsn.tasks.rewards, jaxpsn.tasks.files, jaxpsn.tasks.grading; "
    code += "print([name for name in ('jax', 'numpy', 'math_verify', 'sympy') if name in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
