"""Extraction and normalisation of answers: what is found, what is equal, and that nothing hurts."""

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpsn.tasks import answers
from jaxpsn.tasks.reading import readings

EXTRACTED = [
    (r"so \boxed{3}, no: \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{a{b}{c{d}}e} {", "a{b}{c{d}}e"),
    (r"\boxed{5} and \boxed{7", "5"),
    (r"\boxed 5$ then", "5"),
    (r"\boxed {5}", "5"),
    (r"\fbox{6}", "6"),
    (r"\boxed{}", None),
    (r"first \boxed{8}, and then \boxed{ }", "8"),
    (r"it goes into \boxed{your answer}; the answer is 8", "8"),
    (r"not \boxed{7}, it is \boxed{8}, not \boxed{9}", "8"),
    ("<think>no</think><answer> 8 apples </answer>", "8"),
    ("<answer></answer> the answer is 8", "8"),
    (r"$\boxed{(2, 2)} \quad \text{and} \quad \boxed{(6, 2)}$", "(2, 2), (6, 2)"),
    (r"\boxed{1}, \boxed{2} and $\boxed{3}$.", "1, 2, 3"),
    (r"\boxed{1}. Later \boxed{2}", "2"),
    ("Final Answer: The volume of $ABCD$ is 17. I hope it is correct.", "17"),
    ("that's not 16, it's 17", "17"),
    ("The first result is 12, so 15 are left.", "15"),
    ("12 * 3 = $<<12*3=36>>36, the answer is 36\nA: 48", "48"),
    (r"\boxed{1} #### 2", "1"),
    ("2 + 2 = 4\n#### 1,234\n", "1,234"),
    ("#### 1\n#### 2", "2"),
    ("nothing ####", "nothing"),
    ("####\n2", "2"),
    ("#### 31 pears", "31"),
    ("#### The total is **31**", "31"),
    ("#### Step 2: add\nThe answer is 31.", "31"),
    ("The answer is 12.", "12"),
    ("The answer is: $x=5$", "$x=5$"),
    ("the answer is 7 apples", "7"),
    (r"The final answer is $\frac{7}{9}$. I hope it is correct.", r"$\frac{7}{9}$"),
    (r"The answer is \(x^2 - 3\) for all x", r"\(x^2 - 3\)"),
    ("The answer is $2$ and $5$, as 3 fails", "$2$ and $5$"),
    ("The answer is 17, since 3 boxes of 6 hold 18.", "17"),
    ("The answer is 2 * 8 + 1 = 17 dollars because", "2 * 8 + 1 = 17 dollars"),
    ("The answer is p - q where p > q", "p - q"),
    ("The answer is 17, not 18.", "17"),
    ("The answer is not 18 but 17.", "17"),
    ("The answer is not 18.", "The answer is  ."),
    ("Answer: 17. I hope the answer is correct.", "17"),
    ("**Answer:** `17`", "17"),
    ("### Final Answer\n\nIn all **17** pears", "17"),
    ("The answer is that Ann has 17 pears", "17"),
    (r"so the length is 2\sqrt{3}.", r"2\sqrt{3}"),
    (r"we get $\frac{7}{9}$ of it", r"$\frac{7}{9}$"),
    ("Final answer: 42", "42"),
    ("First, 3 pears and then 17 plums.", "17"),
    ("it costs $1,200.50 in all", "$1,200.50"),
    ("from 3 to -4/5 of them", "-4/5"),
    (r"\frac{1}{2}", r"\frac{1}{2}"),
    ("", None),
    ("   \n", None),
    ("Paris", "Paris"),
    ("word " * 500, None),
]


@pytest.mark.parametrize(("text", "found"), EXTRACTED)
def test_extraction(text, found):
    assert answers.extract(text) == found


EQUAL = [
    ("1/2", r"\frac{1}{2}"), ("1/2", r"\dfrac12"), ("1/2", r"\tfrac{2}{4}"), ("0.5", r"\frac{1}{2}"),
    ("-1/2", r"\frac{-1}{2}"),
    ("-1/2", r"-\frac12"), ("3/2", r"1\frac{1}{2}"), (r"\frac{\sqrt{3}}{2}", r"\frac{\sqrt3}2"), ("1234", "1,234"),
    ("1000000", "1,000,000"), ("1234", "1{,}234"), ("1234", r"1\,234"), ("5", r"\$5.00"), ("5", "$5$"), ("50", r"50\%"),
    ("50", "50%"), ("90", r"90^\circ"), ("90", r"90^{\circ}"), ("90", "90\u00b0"), ("90", "90 degrees"),
    ("5", r"5\text{ cm}"), ("5", r"5 \text{ cm}^2"), ("5", r"5\ \mathrm{cm}"), ("5", "5 cm"), ("5", "5 square units"),
    ("12", "12 dollars"), ("(1,2)", r"\left(1,\,2\right)"), ("[1,2)", r"x \in [1, 2)"), ("5", "x=5"), ("5", "x_1 = 5"),
    ("073", "73"), ("073", "73.0"), ("0", "00"), ("7", "+7"), ("0.5", ".5"), ("3", "3."), (r"2\sqrt{2}", r"2 \sqrt 2"),
    ("x^2+1", "x^{2} + 1"), ("2^{10}", "2^10"), ("2, 3", r"2 \text{ and } 3"), ("2,3", "2 and 3"),
    (r"\text{Yes}", "yes"), ("2000500", r"2,\! 000,\! 500"), ("7", "7 = x"), ("7", "7m\u00b2"),
    (r"\begin{pmatrix}1&2\end{pmatrix}", r"\left[\begin{array}{cc}1 & 2\end{array}\right]"),
    (r"\text{(B)}", "(B)"), (r"(-\infty, 3]", r"\left(-\infty,3\right]"), (r"[5,\infty)", r"[5, +\infty)"),
    ("3\\pi", "3\u03c0"), ("-3", "\u22123"), (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"), ("x^2", "x\u00b2"), (r"\frac{3}{4}\text{ miles}", "0.75"), ("12", "12."),
]  # fmt: skip
UNEQUAL = [
    ("1/2", "2"), ("12", "1/2"), ("52", "5\u00b2"), ("(1,2)", "(2,1)"), ("(1,234)", "1234"),
    ("[1,2)", "(1,2]"), ("73", "7 3"), ("5", "-5"), ("1/3", "0.333"), ("100", "1"), ("10", "1"), ("10", "100"),
    ("0.05", "0.5"), ("x+1", "x-1"), ("5", "5x"), ("3/2", "11/2"), ("2^{10}", "2^1 0 1"), (r"\sqrt{2}", "2"),
    ("a+b", "5=a+b"), ("5", "5=a+b"),
    ("5", ""), ("", ""), ("12", "\u0661\u0662"), ("5", "6 cm"), (r"\frac{1}{3\sqrt{2}}", r"1/3\sqrt{2}"),
    (r"\frac{1}{2x}", r"\frac{1}{2}x"), ("1,2,3", "123"), ("3:2", "32"), ("x=5", "y=6"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}12\end{pmatrix}"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal_as_strings(gold, answer):
    assert answers.equal(gold, answer) and answers.equal(answer, gold)


@pytest.mark.parametrize(("gold", "answer"), UNEQUAL)
def test_unequal_as_strings(gold, answer):
    assert not answers.equal(gold, answer)


@pytest.mark.parametrize(("text", "letter"), [
    ("The answer is (B).", "B"), (r"\boxed{C}", "C"), (r"\boxed{\text{(D)}}", "D"), ("A", "A"), ("(E)", "E"),
    ("I weigh (A) and (B); it must be (B), I think.", "B"), ("K", None), ("", None), ("Answer: F.", "F"), ("b", None),
    ("C. 19", "C"), ("(C) 19", "C"), (r"\boxed{C. 19}", "C"), (r"\boxed{\text{C) } 19}", "C"),
    ("<answer>(C)</answer>", "C"), ("The right option is C.", "C"), ("Option C is right", "C"), ("**C**", "C"),
    ("#### C", "C"),
    ("The correct choice would be: C", "C"),
    ("I choose C.", "C"), ("(D) fails, so the answer is (C), because (D) is too large", "C"),
    ("The answer is (C), not (D).", "C"), ("The answer is not D but C.", "C"),
    ("Answer: C\n\nExplanation: D is too small.", "C"), ("$\\textbf{(C)}$", "C"), ("The answer is C or D", None),
    (r"\boxed{C, D}", None), ("C and D", None), ("A car has 4 wheels", None), (r"\boxed{CD}", None),
    ("The answer is not C.", None),
])  # fmt: skip
def test_multiple_choice(text, letter):
    assert answers.choice(text) == letter


@settings(max_examples=300, deadline=None)
@given(st.integers(-(10**20), 10**20), st.integers(1, 10**9))
def test_numbers_have_their_value(above, below):
    assert answers.number(f"{above}/{below}") == Fraction(above, below)
    assert answers.number(str(above)) == above
    assert answers.number(answers.normalise(f"\\frac{{{above}}}{{{below}}}")) == Fraction(above, below)
    assert answers.equal(f"{above:,}", str(above))


@pytest.mark.parametrize(("text", "value"), [
    ("2+3*4", 14), ("-2^2", -4), ("2^3^2", 512), ("2^(-2)", Fraction(1, 4)), ("(1+1/2)*4", 6), ("4^(1/2)", 2),
    ("5!/3!", 20),
    ("sqrt(9/4)", Fraction(3, 2)), ("sqrt[3](27)", 3), ("2(3)", 6), ("1 1/2", Fraction(3, 2)),
    ("-1 1/2", Fraction(-3, 2)),
    ("1/0", None), ("sqrt(2)", None), ("sqrt(-4)", None), ("2 3", None), ("9^9^9", None), ("9999!", None),
    ("2^(1/3)", None),
    ("(" * 500 + "1" + ")" * 500, None), ("x", None), ("", None), ("2+", None), ("9" * 5000, None), ("0^(-1)", None),
])  # fmt: skip
def test_values_are_exact_and_bounded(text, value):
    assert answers.number(text) == value


PIECES = [
    "\\", "{", "}", "frac", "sqrt", "boxed", "text", "1", "2", ",", " ", "$", "^", "_", "(", ")", "[", "]", "%",
    "left", "=", "approx", "million", "not ", "**", "`", "!", "3 ", "e9", "$$", "<answer>", "\x00", "\ud800",
    "\u00b2", "\n", "####", "answer is", "cm", ".",
]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text_is_taken(text):
    found = answers.extract(text)
    assert found is None or found
    answers.choice(text)
    once = answers.normalise(text)
    assert isinstance(once, str)
    assert answers.equal(text, text) or not any(reading.body for reading in readings.read(text))
    for other in (text, once, found or "", "1"):
        assert answers.judge(other, text) in (True, False, None)
        answers.question(text, other)


HUGE = [piece * (2**20 // len(piece)) for piece in (
    "\\boxed{", "\\boxed{1}", "{", "}", "\\frac", "\\frac{1}{", "1,", "1,000", "9", "answer is ", " ", "\\sqrt{",
    "####", "2^", "9!", "(", "sqrt(", "$1", "**", "=", "1=", "not 1 ", "5 cm/", "<answer>", "_", "x ", "1 ", "\x00",
    "\ud800", "a", "\\text{", "$", "(A)", "-", "1/",
)]  # fmt: skip


@pytest.mark.parametrize("text", HUGE, ids=lambda text: text[:12].encode("unicode_escape").decode())
def test_a_megabyte_takes_no_time(text):
    started = time.process_time()
    answers.extract(text)
    answers.choice(text)
    answers.normalise(text)
    answers.normalise(text[: answers.LONGEST])
    answers.equal("1", text)
    assert time.process_time() - started < 1.0
