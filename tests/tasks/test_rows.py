"""Rows of public sets, as they come: the whole question is asked, the gold answer is what the row says it is."""

import json

import pytest

from jaxpsn.core import errors
from jaxpsn.tasks import files
from jaxpsn.tasks.file_task import FileTask

LETTERS = "\nAnswer with a letter from A to {}."


@pytest.fixture
def read(tmp_path):
    """``read(*rows, kind) -> (problems, what was said)``."""

    def run(*rows, kind="auto"):
        path, said = tmp_path / "rows.jsonl", []
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return files.read(path, kind, said.append), [text.removeprefix(f"{path}: ") for text in said]

    return run


WHOLE = {
    "SVAMP": (
        {"ID": "chal-7", "Body": "Ann has 8 pens.", "Question": "How many are left if she loses 3?",
         "Equation": "( 8.0 - 3.0 )", "Answer": 5.0, "Type": "Subtraction"},
        "Ann has 8 pens. How many are left if she loses 3?", "5.0",
    ),
    "an instruction and its case": (
        {"instruction": "Add the numbers.", "input": "2, 3, 4", "output": "9"}, "Add the numbers.\n\n2, 3, 4", "9",
    ),
    "an instruction alone": ({"instruction": "Add 2 and 3.", "input": "", "output": "5"}, "Add 2 and 3.", "5"),
    "MAWPS": ({"input": "Tom had 4 cats and got 2. How many?", "target": "6.0"}, "Tom had 4 cats and got 2. How many?",
              "6.0"),
    "a passage": (
        {"passage": "The mill ran for 3 days.", "question": "For how many hours?", "answer": "72"},
        "The mill ran for 3 days.\n\nFor how many hours?", "72",
    ),
    "OlympiadBench": (
        {"id": 3, "question": "Find $x$.", "final_answer": ["$\\frac{1}{3}$"], "context": None, "solution": ["..."]},
        "Find $x$.", "$\\frac{1}{3}$",
    ),
    "verl": (
        {"data_source": "x", "prompt": [{"role": "user", "content": "What is 6 + 7?"}], "ability": "math",
         "reward_model": {"style": "rule", "ground_truth": "13"}, "extra_info": {"index": 4}},
        "What is 6 + 7?", "13",
    ),
    "a list in a text": (
        {"prompt": [{"role": "user", "content": "a?"}], "reward_model": {"ground_truth": '["\\\\frac{2}{5}"]'}},
        "a?", "\\frac{2}{5}",
    ),
    "what the system says": (
        {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}], "answer": 2},
        "Be brief.\n\n1 + 1?", "2",
    ),
    "a whole conversation": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "4 * 4?"}]},
                      {"role": "assistant", "content": "It is 16."}], "answer": "16"},
        "4 * 4?", "16",
    ),
    "another writing of conversations": (
        {"conversations": [{"from": "human", "value": "5 * 5?"}, {"from": "gpt", "value": "25"}], "answer": "25"},
        "5 * 5?", "25",
    ),
    "a solution for an answer": ({"prompt": "b?", "answer": "So it is \\boxed{12}, as we saw."}, "b?", "12"),
    "a large number": ({"prompt": "c?", "answer": 2.5e17}, "c?", "250000000000000000"),
}  # fmt: skip


@pytest.mark.parametrize(("row", "prompt", "answer"), WHOLE.values(), ids=WHOLE)
def test_the_whole_question_is_asked(read, row, prompt, answer):
    (problem,), said = read(row)
    assert (problem.prompt, problem.answer, said) == (prompt, answer, [])


CHOICES = {
    "MMLU": ({"question": "Which is even?", "choices": ["1", "3", "8"], "answer": 2, "subject": "x"},
             ["1", "3", "8"], "C"),
    "AQuA": ({"question": "Speed?", "options": ["A)21 km", "B)22 km"], "rationale": "...", "correct": "B"},
             ["21 km", "22 km"], "B"),
    "MathQA": ({"Problem": "Cost?", "options": "a ) 38 , b ) 1,200 , c ) none of these", "correct": "b"},
               ["38", "1,200", "none of these"], "B"),
    "ARC": ({"id": "q", "question": {"stem": "Why?", "choices": [{"text": "rain", "label": "1"},
             {"text": "sun", "label": "2"}]}, "answerKey": "2"}, ["rain", "sun"], "B"),
    "OpenBookQA": ({"question_stem": "Why?", "choices": {"text": ["rain", "sun"], "label": ["A", "B"]},
                    "answerKey": "A"}, ["rain", "sun"], "A"),
    "RACE": ({"article": "It rained.", "question": "What happened?", "options": ["Sun", "Rain"], "answer": "B"},
             ["Sun", "Rain"], "B"),
    "MedQA": ({"question": "Which?", "options": {"A": "iron", "B": "zinc"}, "answer": "Zinc", "answer_idx": "B"},
              ["iron", "zinc"], "B"),
    "AGIEval": ({"query": "Which?", "choices": ["(A)x", "(B)y"], "gold": [1]}, ["x", "y"], "B"),
    "HellaSwag": ({"ctx": "A man sits", "endings": ["down.", "up.", "in."], "label": "2"},
                  ["down.", "up.", "in."], "C"),
    "the answer itself": ({"question": "Which?", "choices": [2, 3, 5], "answer": 5}, ["2", "3", "5"], "C"),
}  # fmt: skip


@pytest.mark.parametrize(("row", "texts", "letter"), CHOICES.values(), ids=CHOICES)
def test_choices_are_listed_and_answered_by_letter(read, row, texts, letter):
    (problem,), said = read(row)
    lines = "".join(f"\n{mark}. {text}" for mark, text in zip("ABC", texts, strict=False))
    assert problem.prompt.endswith(lines + LETTERS.format("ABC"[len(texts) - 1])) and not said
    assert (problem.task, problem.answer, problem.verifier) == ("choice", letter, "choice")
    assert "It rained." in problem.prompt or "article" not in row
    task = FileTask([problem])
    assert task.check(problem, f"\\boxed{{{letter}}}") and not task.check(problem, "\\boxed{D}")


def test_scattered_answers_lie_in_an_order_of_their_own(read):
    def ask(number):
        wrong = {f"Incorrect Answer {i}": f"wrong {i}" for i in (1, 2, 3)}
        return {"Question": f"Question {number}?", "Correct Answer": "right", **wrong}

    problems, said = read(*map(ask, range(20)))
    for problem in problems:
        assert f"\n{problem.answer}. right\n" in problem.prompt
        assert all(f". wrong {i}\n" in problem.prompt for i in (1, 2, 3))
    assert len({problem.answer for problem in problems}) > 2 and not said
    assert read(ask(7))[0][0].prompt == problems[7].prompt


BAD_CHOICES = [
    ([{"question": "q", "choices": ["x", "y"], "answer": 2}],
     "line 1: answer = '2': a letter from A to B, one of the answers, or a place from 0 to 1"),
    ([{"question": "q", "choices": ["x", "y"], "answer": 0}, {"question": "r", "choices": ["x", "y"], "answer": 2}],
     "line 1: answer = '0': a letter from A to B, one of the answers, or a place from 0 to 1"),
    ([{"question": "q", "choices": ["1", "2", "3"], "answer": 1}],
     "line 1: answer = 1: is it an answer, or the place of one, counted from 0? write its letter"),
    ([{"question": f"q{i}", "choices": ["w", "x", "y"], "answer": 1 + i % 2} for i in range(30)],
     "line 1: answer = 1: a place counted from 0, or a letter; in all 30 rows it is never 0"),
    ([{"question": "q", "choices": list("abcdefghijkl"), "answer": "a"}],
     "line 1: choices lists 12 answers: from 2 to 10 can be chosen from"),
    ([{"question": "q", "options": "x or y", "answer": "x"}],
     "line 1: options = 'x or y': a list of texts is needed, or labels and texts"),
    ([{"question": "q", "choices": {"text": ["x"], "label": ["A", "B"]}, "answer": "A"}],
     "line 1: choices = \"{'text': ['x'], 'label': ['A', 'B']}\": a list of texts is needed, or labels and texts"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "says"), BAD_CHOICES, ids=range(len(BAD_CHOICES)))
def test_choices_that_mean_nothing_or_two_things_are_refused(read, tmp_path, rows, says):
    with pytest.raises(errors.UserError) as caught:
        read(*rows)
    assert str(caught.value) == f"{tmp_path / 'rows.jsonl'}, {says}"


def test_joined_sets_are_read_row_by_row(read):
    problems, _ = read(
        {"question": "a?", "answer": "17"},
        {"question": "b?", "answer": "9 + 9 = 18\n#### 18"},
        {"problem": "c?", "solution": "thus $\\boxed{\\frac{1}{4}}$"},
        {"question": "d?", "options": ["no", "yes"], "correct": "B"},
        {"question": "e?", "answer": "blue"},
    )
    assert [one.task for one in problems] == ["general", "gsm8k", "math", "choice", "general"]
    assert [one.answer for one in problems] == ["17", "18", "\\frac{1}{4}", "B", "blue"]
    task = FileTask(problems)
    assert all(task.check(one, task.demonstration(one)) for one in problems)


def test_a_wrong_row_of_a_joined_set_is_named(read):
    with pytest.raises(errors.UserError, match=r"line 2: answer = 'none' after '####': a number is needed"):
        read({"question": "a?", "answer": "17"}, {"question": "b?", "answer": "hm\n#### none"})


def test_what_is_not_asked_is_said_in_one_line(read):
    row = {"question": "How far?", "answer": "3", "diagram": "a map", "level": 2, "hint": None}
    _, said = read(row, {**row, "scenery": "hills"})
    assert said == ["fields not asked: diagram, scenery (1 of 2 rows)"]
    _, said = read({"prompt": "Take: How far?", "question": "How far?", "answer": "3"})
    assert said == [], "it is asked, as part of the other"
    _, said = read({"question": "How far?", "answer": "word " * 50})
    assert said == ["1 answers of more than 200 characters (line 1): solutions without a mark?"]


def test_the_kind_can_be_told(read):
    row = {"question": "Which?", "choices": ["x", "y"], "answer": "y"}
    (problem,), said = read(row, kind="general")
    assert (problem.prompt, problem.answer, said) == ("Which?", "y", ["fields not asked: choices"])
    for kind, says in (("choice", "no field 'choices' or 'options'"), ("gsm8k", "no '#### value'")):
        with pytest.raises(errors.UserError, match=f"line 1: .*{says}"):
            read({"question": "a?", "answer": "3"}, kind=kind)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "answer": "c"},
         "prompt has messages of user, assistant: one of a user is needed, maybe behind a system's"),
        ({"prompt": [{"role": "user", "content": None}], "answer": "c"}, "prompt: content = 'None': text is needed"),
        ({"prompt": "a", "answer": ["b", "c"]}, "answer = \"['b', 'c']\": 2 answers, where one is needed"),
        ({"prompt": "a", "answer": {"text": ["b"]}}, "answer = \"{'text': ['b']}\": text is needed"),
        ({"prompt": "a", "answer": float("inf")}, "answer = inf: a finite number is needed"),
        ({"Prompt": "a", "prompt": "b", "answer": "c"}, "the fields 'Prompt' and 'prompt' differ in letter case alone"),
    ],
)  # fmt: skip
def test_rows_of_other_forms_are_refused(read, row, says):
    with pytest.raises(errors.UserError) as caught:
        read(row)
    assert str(caught.value).endswith(f"line 1: {says}")
