"""Functions as rewards: by a name that any process can import, or in a thread; added up, refused, killed."""

import threading

import pytest

from jaxpsn.core import errors, spec_of, to_json
from jaxpsn.run import folder
from jaxpsn.tasks import functions, rewards
from jaxpsn.tasks.problem import Problem

FILE = """
import os, time
CALLS = 0

def length(prompts, answers, problems):
    global CALLS
    CALLS += 1
    return [float(len(answer)) for answer in answers]

def golden(prompts, answers, problems):
    return [float(answer == problem.answer) + 10 * (prompt == problem.prompt)
            for prompt, answer, problem in zip(prompts, answers, problems)]

def short(prompts, answers, problems):
    return [1.0]

def nan(prompts, answers, problems):
    return [float("nan")] * len(answers)

def fails(prompts, answers, problems):
    return [1 / 0]

def ends(prompts, answers, problems):
    os._exit(3)

def hangs(prompts, answers, problems):
    time.sleep(600)

LIMIT = 3
"""
PROBLEMS = [Problem("a", "1+1=", "2", "sums"), Problem("b", "2+1=", "3", "sums")]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_rewards.py"
    path.write_text(FILE)
    return path


def score(reward, answers=("2", "33")):
    with rewards.Scorer(rewards.make(reward), lambda problems, texts: [1.0, 0.0]) as scorer:
        return scorer(PROBLEMS, list(answers))


def test_a_function_of_a_file_or_a_module_is_a_reward(file, monkeypatch):
    assert score(f"{file}:golden") == [11.0, 10.0]
    assert score(f"verifier(weight=2) + {file}:length(weight=0.5) + {file}:golden()") == [13.5, 11.0]
    monkeypatch.chdir(file.parent)
    assert score("my_rewards:length(weight=3)") == [3.0, 6.0]


def test_its_text_and_its_json_say_it_again(file):
    made = rewards.make(f"{file}:length(weight=0.5, seconds=3) + {file}:golden + verifier")
    assert rewards.make(spec_of(made)) == made == rewards.make(to_json(made))
    assert made.terms[0].source == f"{file}:length" and made.terms[0].seconds == 3.0


def test_two_functions_are_told_apart_where_configs_differ(file):
    one, other = (to_json(rewards.make(f"{file}:length(weight={weight}) + {file}:golden")) for weight in (1, 2))
    found = folder.differences({"reward": one}, {"reward": other})
    assert [text.partition(" =")[0] for text in found] == ["reward.function.weight"]


def test_python_functions_go_by_name_where_they_have_one(file, monkeypatch):
    monkeypatch.syspath_prepend(str(file.parent))
    import my_rewards  # type: ignore[import-not-found]

    made = rewards.make(["verifier", (my_rewards.length, 0.5), my_rewards.golden])
    assert [(term.source, term.weight) for term in made.terms[1:]] == [(f"{file}:length", 0.5), (f"{file}:golden", 1.0)]
    assert score(made) == [12.5, 11.0] and my_rewards.CALLS == 0, "it ran in another process"
    assert isinstance(rewards.make(lambda prompts, answers, problems: []), rewards.FunctionReward)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("short", "= '1 numbers': a finite number for each of the 2 answers"),
        ("nan", "= nan: a finite number for each of the 2 answers"),
        ("fails", "ZeroDivisionError in line 21 of my_rewards.py"),
        ("ends", "its process ended"),
        ("hangs(seconds=0.5)", "killed, as it took longer than 0.5 s for 2 answers"),
        ("lenght", "unknown; nearest: length"),
        ("LIMIT", "allowed: ends, fails"),
    ],
)
def test_what_a_function_does_wrong_is_one_line(file, name, said):
    with pytest.raises(errors.UserError) as caught:
        score(f"{file}:{name}")
    text = str(caught.value)
    assert said in text and f"{file}" in text and "\n" not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no_such_module_here:length", "there is no no_such_module_here"),
        ("/no/such/file.py:length", "/no/such/file.py is missing"),
        ("function('length')", "MODULE:FUNCTION or FILE.py:FUNCTION"),
        ("function('a-b:length')", "MODULE:FUNCTION or FILE.py:FUNCTION"),
    ],
)
def test_a_function_that_is_not_there_is_one_line(text, said):
    with pytest.raises(errors.UserError) as caught:
        rewards.look(rewards.make(text))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_module_that_fails_is_one_line_before_anything_is_scored(tmp_path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('no')")
    with pytest.raises(errors.UserError, match=r"reward .*broken.py:f.*RuntimeError: no"):
        with rewards.Scorer(rewards.make(f"{tmp_path}/broken.py:f"), lambda *_: []):
            raise AssertionError("the block is not reached")


def test_the_same_function_counts_once(file):
    with pytest.raises(errors.UserError, match="once only"):
        rewards.make(f"{file}:length + {file}:length(weight=2)")
    with pytest.raises(errors.UserError, match="a reward, or a pair"):
        rewards.make([("verifier", 1, 2)])


def test_a_function_without_a_name_that_hangs_ends_the_run():
    until = threading.Event()
    hangs = rewards.FunctionReward(lambda prompts, answers, problems: until.wait(600), seconds=0.2)
    with pytest.raises(errors.UserError, match=r"took longer than 0.2 s for 2 answers; in a module of its own"):
        score(hangs)
    until.set()


def test_short_forms_outside_quotes_alone_are_spelled_out():
    assert functions.spelled("a.b:c + verifier") == 'function("a.b:c") + verifier'
    assert functions.spelled("a:b(weight=2)") == 'function("a:b", weight=2)'
    assert functions.spelled("own(text='a:b')") == "own(text='a:b')"
