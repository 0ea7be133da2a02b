"""Readers of users' files: what they read, what they refuse and how they say it; files as tasks."""

import hashlib
import itertools
import json

import pytest

from jaxpsn.core import errors
from jaxpsn.tasks import files
from jaxpsn.tasks.file_task import FileTask
from jaxpsn.tasks.problem import Problem, Task


@pytest.fixture
def write(tmp_path):
    def _write(*rows, name="data.jsonl"):
        path = tmp_path / name
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    return _write


GSM = {"question": "How many?", "answer": "2 + 2 = 4\n#### $1,204"}
MATH = {
    "problem": "Find x.",
    "solution": r"First \boxed{1}, then $\boxed{\frac{1}{2}}$.",
    "level": "Level 3",
    "subject": "x",
}
AIME = {"problem": "Find n.", "answer": "073"}
GENERAL = {"prompt": "Name it.", "answer": "Paris", "verifier": "exact"}


@pytest.mark.parametrize(
    ("row", "kind", "prompt", "answer", "verifier"),
    [
        (GSM, "gsm8k", "How many?", "1204", "integer"),
        (MATH, "math", "Find x.", r"\frac{1}{2}", "math"),
        ({**MATH, "answer": "7"}, "math", "Find x.", "7", "math"),
        (AIME, "aime", "Find n.", "73", "integer"),
        ({"question": "Find n.", "answer": 73, "year": 2024}, "aime", "Find n.", "73", "integer"),
        (GENERAL, "general", "Name it.", "Paris", "exact"),
        ({"prompt": "2+2?", "answer": 4}, "general", "2+2?", "4", None),
        ({"prompt": "half?", "answer": 0.5}, "general", "half?", "0.5", None),
        ({"question": "Big?", "answer": 1000}, "general", "Big?", "1000", None),
    ],
)
def test_kinds_are_read_and_guessed(write, row, kind, prompt, answer, verifier):
    for asked in ("auto", kind):
        (problem,) = files.read(write(row), asked)
        assert (problem.prompt, problem.answer, problem.task, problem.verifier) == (prompt, answer, kind, verifier)
        assert problem.solutions is None


def test_aime_needs_every_row_to_fit(write):
    rows = [{"question": "a", "answer": 1}, {"question": "b", "answer": 1234}]
    assert [p.task for p in files.read(write(*rows))] == ["general"] * 2


def test_ids_do_not_depend_on_rows_around_them(write):
    one, other = {"prompt": "a", "answer": "1"}, {"prompt": "b", "answer": "2"}
    first, second = files.read(write(one, other)), files.read(write(b"", other, b"  ", one, name="moved.jsonl"))
    assert [p.id for p in first] == [p.id for p in second][::-1]
    named = files.read(write({**one, "id": "x"}, {**other, "id": 7}))
    assert [p.id for p in named] == ["x", "7"]
    twice = files.read(write(one, other, one, one))
    assert len({p.id for p in twice}) == 4 and twice[2].id == f"{twice[0].id}-2"
    hashed = hashlib.blake2b(b"a", digest_size=8).hexdigest()
    assert twice[0].id == hashed


def test_a_byte_order_mark_and_a_lone_surrogate_are_read(write):
    marked = write(b"\xef\xbb\xbf" + json.dumps(GENERAL).encode())
    assert files.read(marked)[0].prompt == "Name it."
    (odd,) = files.read(write(rb'{"prompt": "a\ud800", "answer": "b"}'))
    assert odd.prompt == "a\ud800" and FileTask([odd]).check(odd, "b")


BAD = [
    ([b"{"], "auto", "line 1: not JSON (Expecting property name enclosed in double quotes at column 2)"),
    ([GENERAL, b"[1, 2]"], "auto", "line 2: list where an object {...} is needed, one a line"),
    ([GENERAL, b"", b"nonsense"], "auto", "line 3: not JSON (Expecting value at column 1)"),
    ([GENERAL, b'{"prompt": "\xff"}'], "auto", "line 2: not UTF-8 (invalid start byte at byte 12)"),
    ([b"[" * 200_000], "auto", "line 1: not JSON that can be read (RecursionError)"),
    ([b'{"prompt": "a", "answer": ' + b"9" * 5000 + b"}"], "auto", "line 1: not JSON that can be read (ValueError)"),
    ([{"prompt": "a"}], "auto", "line 1: no field 'answer'; there are: 'prompt'"),
    ([{"text": "a", "answer": "b"}], "auto",
     "line 1: no field 'prompt' or 'problem' or 'question'; there are: 'text', 'answer'"),
    ([{}], "auto", "line 1: no field 'prompt' or 'problem' or 'question'; there are: none"),
    ([{"prompt": "", "answer": "b"}], "auto", "line 1: prompt = '': text is needed"),
    ([{"prompt": ["a"], "answer": "b"}], "auto", "line 1: prompt = \"['a']\": text is needed"),
    ([{"prompt": "a", "answer": None}], "auto", "line 1: answer = 'None': text is needed"),
    ([{"prompt": "a", "answer": True}], "auto", "line 1: answer = 'True': text is needed"),
    ([{"prompt": "a", "answer": " "}], "auto", "line 1: answer = ' ': text is needed"),
    ([{**GENERAL, "verifier": "maths"}], "auto", "line 1: verifier = 'maths': unknown; nearest: math, auto, exact"),
    ([GSM, {"question": "q", "answer": "4"}], "gsm8k", "line 2: answer has no '#### value' at its end"),
    ([GSM, {"question": "q", "answer": "#### four"}], "auto",
     "line 2: answer = 'four' after '####': a number is needed"),
    ([MATH, {"problem": "p", "solution": r"\boxed{1"}], "auto",
     "line 2: solution has no \\boxed{...} with balanced braces"),
    ([MATH, {"problem": "p"}], "math", "line 2: no field 'answer' or 'solution'; there are: 'problem'"),
    ([MATH, {"problem": "p"}], "auto", "line 2: no field 'answer'; there are: 'problem'"),
    ([{"problem": "p", "answer": "1000"}], "aime", "line 1: answer = '1000': a whole number from 0 to 999 is needed"),
    ([{"problem": "p", "answer": "\u00b2"}], "aime",
     "line 1: answer = '\u00b2': a whole number from 0 to 999 is needed"),
    ([{"problem": "p"}], "aime", "line 1: answer = None: a whole number from 0 to 999 is needed"),
    ([{**GENERAL, "id": "a"}, {**GENERAL, "id": "b"}, {**GENERAL, "id": "a"}], "auto",
     "line 3: id = 'a': already used in line 1"),
    ([{**GENERAL, "id": ["a"]}], "auto", "line 1: id = \"['a']\": text or a whole number is needed"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "kind", "says"), BAD, ids=range(len(BAD)))
def test_errors_name_the_file_and_the_line(write, rows, kind, says):
    path = write(*rows)
    with pytest.raises(errors.UserError) as caught:
        files.read(path, kind)
    assert str(caught.value) == f"{path}, {says}"


def test_errors_about_whole_files(write, tmp_path):
    for path, says in [
        (write(b"", b"  "), "no problems; one JSON object a line is needed"),
        (tmp_path / "none.jsonl", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(errors.UserError) as caught:
            files.read(path)
        assert str(caught.value) == f"{path}: {says}"
    with pytest.raises(errors.UserError, match="kind = 'gsm': unknown; nearest: gsm8k"):
        files.read(write(GSM), "gsm")
    with pytest.raises(errors.UserError, match="No such file"):
        files.file_hash(tmp_path / "none.jsonl")


def test_file_hash(write):
    path = write(GSM, MATH)
    assert files.file_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def ask(prompt, answer="1", verifier=None):
    return Problem(prompt, prompt, answer, "general", verifier=verifier)


def test_overlap_ignores_case_and_spacing():
    train = [ask("How  many\napples?"), ask("b")]
    test = [ask(" how many APPLES? "), ask("c"), ask("B")]
    assert files.overlap(train, test) == [" how many APPLES? ", "B"]
    assert files.overlap(train, [ask("c")]) == []


@pytest.mark.parametrize(
    ("gold", "verifier", "right", "wrong"),
    [
        ("73", "integer", ["073", r"\boxed{73}", "so it is 73.0", "#### 73"], ["730", "7 3", r"73 \boxed{1}", "", "x"]),
        ("1/2", "integer", ["0.5"], ["1"]),
        ("Paris", "exact", ["Paris", " Paris\n", r"it is \boxed{Paris}"], ["paris", "Paris.", "It is Paris", ""]),
        ("B", "choice", ["(B)", "the answer is B", r"\boxed{\text{B}}"], ["(C)", "B or (C)", ""]),
        (r"\frac{1}{2}", "math", ["0.5", r"\boxed{\dfrac12}", "The answer is $1/2$."], [r"\boxed{2}", "", "none"]),
        ("12", "auto", ["12", "#### 12.0"], ["13", r"\boxed{1,2}"]),
        ("C", "auto", ["(C)"], ["(A)"]),
        ("2x+1", "auto", [r"\boxed{2x + 1}"], ["2x"]),
    ],
)
def test_verifiers(gold, verifier, right, wrong):
    for task, problem in (
        (FileTask([ask("q", gold)], verifier), ask("q", gold)),
        (FileTask([ask("q", gold, verifier)], "auto"), ask("q", gold, verifier)),
    ):
        assert all(task.check(problem, text) for text in right)
        assert not any(task.check(problem, text) for text in wrong)
        assert len({task.canonical(problem, text) for text in right}) == 1
        assert all(task.canonical(problem, text) is None for text in wrong)
        assert task.check(problem, task.demonstration(problem)) and task.count(problem) is None
        for text in ("\x00", "\ud800", "(" * 2**20, "9**9**9", "__import__('os').system('true')", "\\boxed{" * 10**5):
            assert task.check(problem, text) is False


def test_a_file_is_a_task():
    task = FileTask([ask(f"question {i}", str(i)) for i in range(10)], name="mine")
    assert isinstance(task, Task) and len(task) == 10 and task.max_prompt == 10 and task.max_answer == 9
    assert set("question 0123456789\\boxed{}") == set(task.alphabet)
    stream = [task.problem(3, index) for index in range(30)]
    assert {p.task for p in stream} == {"mine"} and not task.needs_workers
    for start in (0, 10, 20):
        assert {p.id for p in stream[start : start + 10]} == {p.id for p in task.problems}
    assert stream[:10] != stream[10:20] and stream == [task.problem(3, index) for index in range(30)]
    assert stream[:10] != [task.problem(4, index) for index in range(10)]
    assert FileTask([ask("q", "x+1")]).needs_workers
    asked = ask("q", "12", "exact")
    assert not FileTask([asked]).check(asked, "12.0") and FileTask([asked], "integer").check(asked, "12.0")


def test_only_what_may_be_equal_goes_to_a_worker():
    task = FileTask([ask("q", r"\frac{1}{2}", "math"), ask("p", "12", "integer")])
    half, twelve = task.problems
    assert task.latex(half, r"\boxed{\sqrt{2}}") == (r"\frac{1}{2}", r"\sqrt{2}")
    assert task.latex(half, r"\boxed{x_{1}2}") == (r"\frac{1}{2}", "x _{1} 2")
    assert task.latex(twelve, r"\boxed{\log_2 4096}") == ("12", r"\log _{2} 4096")
    for text in (
        r"\boxed{0.51}",
        r"\boxed{51\%}",
        r"\boxed{\text{none}}",
        r"\boxed{1 2}",
        r"\boxed{0}",
        "no number here, " * 100,
        r"\boxed{" + "x" * 2000 + "}",
        "",
    ):
        assert task.latex(half, text) is None
    assert task.latex(twelve, r"\boxed{\sqrt{144}}") is None


@pytest.mark.parametrize(
    ("problems", "verifier", "says"),
    [
        ([], "auto", "problems = 'none': at least one problem"),
        ([ask("q")], "maths", "verifier = 'maths': unknown; nearest: math, auto, exact"),
        ([ask("q", "x")], "integer", "answer of problem q = 'x': a number, for the verifier 'integer'"),
        ([ask("q", "Z")], "choice", "answer of problem q = 'Z': a letter from A to J, for the verifier 'choice'"),
    ],
)
def test_bad_file_tasks(problems, verifier, says):
    with pytest.raises(errors.UserError) as caught:
        FileTask(problems, verifier)
    assert str(caught.value) == says


def test_reading_keeps_the_order(write):
    rows = [{"prompt": f"p{i}", "answer": str(i)} for i in range(50)]
    problems = files.read(write(*rows))
    assert [p.prompt for p in problems] == [row["prompt"] for row in rows]
    assert all(len(list(group)) == 1 for _, group in itertools.groupby(p.id for p in problems))
