r"""What completions earn: golds of public sets' kinds in the forms models use, answers of other rows, wrong answers."""

import random

import pytest

from jaxpsn.tasks import answers, grading
from jaxpsn.tasks.file_task import FileTask
from jaxpsn.tasks.problem import Problem
from tests.tasks.golds import FORMS, GOLDS, bare, golds

VERIFIERS = {"gsm8k": "integer", "choice": "choice", "amc": None, "asdiv": None}


def task_of(golds, verifier=None):
    return FileTask([Problem(str(i), "q", gold, "general", verifier=verifier) for i, gold in enumerate(golds)])


@pytest.mark.parametrize("kind", GOLDS)
def test_every_gold_is_accepted_in_every_usual_form(kind):
    """By strings, values and units alone: no worker is needed where the writing is the same."""
    task = task_of(golds(kind), VERIFIERS.get(kind, "math"))
    missed = [
        (problem.answer, name)
        for problem in task.problems
        for name, form in FORMS.items()
        if not task.check(problem, form(problem.answer))
    ]
    assert not missed


@pytest.mark.parametrize("kind", GOLDS)
def test_no_other_rows_answer_is_accepted(kind):
    """All pairs in process; what only algebra could tell goes to math-verify, of which a sample is run here."""
    task = task_of(golds(kind), VERIFIERS.get(kind, "math"))
    asked = []
    for problem in task.problems:
        for other in task.problems:
            if other is not problem:
                for form in (FORMS["box"], FORMS["minerva"], FORMS["plain"], FORMS["reason"]):
                    assert not task.check(problem, form(other.answer)), (problem.answer, other.answer)
                if task.latex(problem, FORMS["box"](other.answer)) is not None:
                    asked.append((problem, FORMS["box"](other.answer)))
    asked = random.Random(kind).sample(asked, min(12, len(asked)))
    with grading.Grader(task, deadline=30.0) as grader:
        rewards = grader.grade([problem for problem, _ in asked], [text for _, text in asked])
        assert grader.killed == grader.failed == 0
    assert not [pair for pair, reward in zip(asked, rewards, strict=True) if reward]


RIGHT = [
    ("1350", r"\boxed{1{,}350}"), ("1350", r"\boxed{1\,350}"), ("1350", r"\boxed{1,\!350}"),
    ("1350", r"\boxed{1 350}"), ("1350", "CD = 1350"), ("1350", r"\boxed{\text{Cost} = 1350}"),
    ("1350", r"\boxed{27 \times 50 = 1350}"), ("1350", "(1350)"), ("1350", "1350 pears"), ("1350", "1350\u20ac"),
    ("1350", "\u00a31,350"), ("1350", "EUR 1350"), ("1350", r"\boxed{1350 \text{ m}^2}"),
    ("1350", "\\boxed{1350~m\u00b2}"), ("1350", r"\boxed{1.35 \times 10^3}"), ("6561", r"\boxed{3^8}"),
    ("13", r"\boxed{\sqrt{169}}"), ("24", r"\boxed{4!}"), ("15", r"\boxed{\binom{6}{2}}"),
    ("5", r"\boxed{\log_2 32}"), ("-7", r"\boxed{(-7)}"), ("0.5", r"\boxed{\sin 30^\circ}"),
    ("4", r"\boxed{\frac{\sqrt{64}}{2}}"), ("3.5e-7", r"\boxed{3.5 \times 10^{-7}}"),
    ("3.5e-7", r"\boxed{3.5 \cdot 10^{-7} \text{ m}}"), ("3.5e-7", "3.5\u00d710\u207b\u2077"),
    ("3.5e-7", "Answer: 3.5 * 10**-7"), ("3.5e-7", "3.5E-07"), ("3.5e-7", r"\boxed{0.00000035}"),
    ("2e19", "2 x 10^19"), ("2e+19", r"\boxed{20 \cdot 10^{18} = 2 \cdot 10^{19}}"),
    ("4000000", "The answer is 4 million."), ("36", r"\boxed{3\text{ dozen}}"), ("7 (pears)", "7"),
    ("7 (pears)", r"\boxed{7 \text{ pears}}"), ("7 (pears)", "The answer is 7 pears."), ("7 (km)", "7 kilometers"),
    (r"8:15 \text{ a.m.}", r"\boxed{8:15 \text{ AM}}"), ("40\\%", r"\boxed{40}"), ("40\\%", r"\boxed{\frac{2}{5}}"),
    ("0.4", "40 percent"), ("60 km/h", r"\boxed{60 \text{ kilometers per hour}}"),
    (r"6\text{ cm}^2", "6 square centimeters"), (r"\$6", "6 dollars"), ("2, -5", "x = 2 or x = -5"),
    ("2, -5", r"\boxed{-5, 2}"), ("(2, 3)", r"\boxed{x = 2,\ y = 3}"), ("y = 3x - 1", r"\boxed{3x-1}"),
    (r"\frac{5}{11}", r"\boxed{0.\overline{45}}"), (r"3\sqrt{2}", r"\boxed{\sqrt{18} \approx 4.24}"),
    ("4.24", r"\boxed{\sqrt{18} \approx 4.24}"), (r"\frac{a+b}{2}", r"\boxed{\frac{b}{2} + \frac{a}{2}}"),
    ("x^2-9", "Answer: $(x-3)(x+3)$ for every x"), ("(-\\infty, 4)", r"\boxed{x < 4}"),
    (r"\begin{pmatrix} \sqrt{12} \\ 0.5 \end{pmatrix}", r"\boxed{\begin{pmatrix} 2\sqrt3 \\ \frac12 \end{pmatrix}}"),
    ("No", "The answer is **No**, because 5 < 6."), (r"\text{Tuesday}", "The answer is: Tuesday."),
    ("infinitely many", "#### Infinitely many"), ("2^{80}", r"\boxed{\left(\frac{1}{2}\right)^{-80}}"),
    (r"\frac{\sqrt{2}}{10^{15}}", r"\boxed{\frac{2}{\sqrt{2}} \cdot 10^{-15}}"), ("31", "He has 25 + 6 = 31 pears."),
    ("31", "It costs 25 + 6 = <<25+6=31>>31 dollars"), ("31", "not $\\boxed{30}$ but $\\boxed{31}$"),
]  # fmt: skip
WRONG = [
    ("2567", r"\boxed{2 or 567}"), ("2567", r"\boxed{2, 567}"), ("2567", r"\boxed{25,67}"),
    ("2567", r"\boxed{(2,567)}"), ("85", r"\boxed{8%5}"), ("85", r"\boxed{8\;5}"), ("85", r"\boxed{8\quad 5}"),
    ("85", "\\boxed{8\\$5}"), ("85", r"\boxed{8$ $5}"), ("85", r"\boxed{8{5}}"), ("85", r"\boxed{8\text{ and }5}"),
    ("85", r"\boxed{8^\circ 5}"), ("85", "\\boxed{8\u20095}"), ("85", "Answer: 8`5`"), ("85", "Answer: **8**5"),
    ("85", r"\boxed{8\left.5\right.}"), ("85", r"\boxed{\sqrt{8}5}"), ("1/85", r"\boxed{\frac{1}85}"),
    (r"\frac{1}{85}", r"\boxed{\frac18 5}"), ("y^{34}", r"\boxed{y^{3}4}"), ("a_{12}", r"\boxed{a_{1}2}"),
    (r"\sqrt{85}", r"\boxed{\sqrt{8}5}"), ("8", r"\boxed{8\text{ or rather 9}}"), ("8", r"\boxed{8\text{ if not 9}}"),
    ("8", r"\boxed{\text{not } 8}"), ("8", r"\boxed{\text{minus } 8}"), ("8 km", "8 miles"),
    ("8 weeks", "The answer is 8 days."), ("8", r"\boxed{7 = 8}"), ("8", r"\boxed{3 + 4 = 8}"),
    ("8", r"\boxed{2x = 8}"), ("64", r"\boxed{x^2 = 64}"), ("8", r"\boxed{x = 8, y = 9}"),
    ("x = 8", r"\boxed{y = 8}"), ("8", r"\boxed{8 \text{ thousand}}"), ("8", r"\boxed{8\,\mathrm{billion}}"),
    ("8", "The answer is $8$ million."), ("8", r"\boxed{8\text{ tenths}}"), ("8", r"\boxed{8\text{ squared}}"),
    ("80", r"\boxed{8\%}"), ("40\\%", r"\boxed{4000\%}"), ("4", r"\boxed{40\%}"),
    (r"8:15 \text{ a.m.}", r"\boxed{8:15 \text{ p.m.}}"), ("8 p.m.", "The answer is 8 AM."),
    ("(3,8)", r"\boxed{\{3,8\}}"), (r"\{3,8\}", r"\boxed{(3,8)}"), ("(3,8)", r"\boxed{(8,3)}"),
    ("[3,8)", r"\boxed{[3,8]}"), ("3", r"\boxed{3, 8}"), ("3,8", r"\boxed{3}"), ("8", "The answer is 3 or 8"),
    ("44_8", r"\boxed{44}"), ("3e-12", "3e-13"), ("3e-12", r"\boxed{0}"), (r"3^{-70}", r"\boxed{3^{-71}}"),
    (r"\frac{1}{70!}", r"\boxed{\frac{1}{71!}}"), ("e^{-60}", r"\boxed{e^{-61}}"),
    (r"\sqrt{3} \cdot 10^{-18}", r"\boxed{\sqrt{3} \cdot 10^{-19}}"),
    (r"\frac{y}{10^{17}}", r"\boxed{\frac{y}{10^{18}}}"), ("(10^{-18}, 2)", r"\boxed{(10^{-19}, 2)}"),
    ("8", "so we get $\\frac{5}{8}$"), ("5", "the length is 3\\sqrt{5}."),
    ("8", "The final answer is $\\frac{5}{8}$. I hope it is correct."),
    ("6", "The answer is 48, since there are 8 rows of 6."), ("8", "The answer is not 8."),
    ("8", "The answer is 9, not 8."), ("25", "He has 25 + 6 = 31 pears."), ("6", "It costs 25 + 6 = 31 dollars"),
    ("8", "8x"), ("8", "8m"), ("8", "8!"), ("8", r"\boxed{8\pi}"), ("8", "8i"), ("8", "-8"),
    ("25", r"\boxed{5 \text{ cm}^2}"), (r"\$8", "8 cents"), (r"\$8", "\u20ac8"),
    (r"\text{now}", r"\boxed{\text{won}}"), ("Yes", "The answer is No."), ("1/3", "0.333333"),
    ("0.67", r"\boxed{\frac23}"),
]  # fmt: skip


@pytest.mark.parametrize(("pairs", "reward"), [(RIGHT, 1.0), (WRONG, 0.0)], ids=["right", "wrong"])
def test_rewards(pairs, reward):
    task = task_of([gold for gold, _ in pairs])
    with grading.Grader(task, deadline=30.0) as grader:
        rewards = grader.grade(task.problems, [text for _, text in pairs])
        assert grader.killed == grader.failed == 0
    assert not [pair for pair, got in zip(pairs, rewards, strict=True) if got != reward]


def test_a_gold_answer_is_its_own_right_answer():
    for kind in GOLDS:
        for gold in golds(kind):
            assert kind == "choice" or answers.equal(gold, bare(gold)), gold
