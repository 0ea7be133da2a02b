"""A config made into a program: files of problems, limits of prompts and answers, what fits and what is refused."""

import dataclasses
import json
from contextlib import ExitStack

import jax
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.rlvr import base as bases
from jaxpsn.rlvr import setup
from jaxpsn.rlvr.base import Base
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.presets import PRESETS
from jaxpsn.tasks.problem import TASKS

SUMS = [{"problem": f"{a}+{b}=", "answer": str(a + b)} for a in range(5) for b in range(5)]


@pytest.fixture(scope="module")
def model(small, tmp_path_factory):
    """A folder with the small decoder."""
    folder = tmp_path_factory.mktemp("models") / "small"
    bases.save(folder, small.BASE, small.BASE.params)
    return str(folder)


@pytest.fixture
def write(tmp_path):
    """``write(rows, name) -> path`` of a JSONL file."""

    def run(rows, name="train.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return run


@pytest.fixture
def build(small, tmp_path):
    """``build(**config) -> (program, what was said)``; limits default to 16 tokens of prompt and 4 of answer."""
    with ExitStack() as stack:

        def run(total=4, **given):
            said, kinds = [], dict(given)
            rollout = {"prompts": 4, "samples": 4, "max_prompt": 16, "max_tokens": 4} | kinds.pop("rollout", {})
            config = small.config(rollout=rollout, **kinds)
            made = setup.reasoner(config, 0, total, tmp_path / "cache", said.append, lambda *_: None)
            return stack.enter_context(made), said

        yield run


def test_a_file_of_problems_is_trained_on_and_judged_by(small, build, write, model):
    made, said = build(model=model, data=write(SUMS), verifier="integer")
    assert "23 problems to train on, 2 to be judged by" in said
    assert made.problems.task.name == "train"
    train = {made.problems.train.problem(index).id for index in range(23)}
    assert len(train) == 23 and not train & {problem.id for problem in made.problems.test}
    assert (made.problems.max_prompt, made.problems.max_tokens) == (16, 4)
    one = made.problems.test[0]
    assert made.problems.grade([one, one], [str(one.answer), "99"]) == [1.0, 0.0]
    state, metrics = made.step(made.init())
    assert np.isfinite(metrics["loss"]) and int(state.position) == 4


def test_a_test_file_of_its_own(build, write, model):
    tested = write([{"problem": "9+9=", "answer": "18"}], "test.jsonl")
    made, said = build(model=model, data=write(SUMS), test_data=tested, verifier="integer")
    assert "25 problems to train on, 1 to be judged by" in said
    assert [problem.prompt for problem in made.problems.test] == ["9+9="]


def test_prompts_on_both_sides_are_refused(build, write, model):
    tested = write([SUMS[3], {"problem": "9+9=", "answer": "18"}], "test.jsonl")
    with pytest.raises(UserError, match=r"test_data = '1 problems of data, such as .*: no problem that is trained on"):
        build(model=model, data=write(SUMS), test_data=tested)


def test_a_file_with_repeated_prompts_is_cut_without_complaint(build, write, model):
    made, said = build(model=model, data=write(SUMS * 2), verifier="integer")
    asked = {made.problems.train.problem(index).prompt for index in range(40)}
    assert not asked & {problem.prompt for problem in made.problems.test}
    assert any("to train on" in text for text in said)


def test_prompts_that_are_too_long_are_left_out_and_said(build, write, model):
    rows = [*SUMS, *({"problem": "+".join(["1"] * n) + "=", "answer": str(n)} for n in range(9, 13))]
    made, said = build(model=model, data=write(rows), verifier="integer")
    assert any("problems left out, their prompts are longer than 16 tokens" in text for text in said)
    assert all(len(made.problems.train.problem(index).prompt) <= 16 for index in range(40))


def test_only_prompts_that_are_too_long_are_refused(build, write, model):
    rollout = {"max_prompt": 3}
    with pytest.raises(UserError, match=r"data = '23 problems': prompts of at most rollout\.max_prompt = 3 tokens"):
        build(model=model, data=write(SUMS), verifier="integer", rollout=rollout)


@pytest.mark.parametrize(
    "rollout, said",
    [
        ({"max_prompt": 1000, "max_tokens": 100}, "rollout.max_tokens = 100: at most 24, with a prompt of 1000"),
        ({"max_prompt": 1024, "max_tokens": None}, "rollout.max_prompt = 1024: fewer than the model's 1024"),
    ],
)
def test_limits_beyond_the_model_are_refused(build, write, model, rollout, said):
    with pytest.raises(UserError, match=said):
        build(model=model, data=write(SUMS), verifier="integer", rollout=rollout)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("paper")])
def test_the_papers_presets_fit_the_papers_model(name, small):
    """Qwen2.5-Math-7B has 4096 positions; nothing of it needs to be there to know."""
    decoder = dataclasses.replace(small.DECODER, max_positions=4096)
    config = dataclasses.replace(PRESETS[name], model="Qwen2.5-Math-7B", data="math.jsonl")
    longest, answer = setup.limits(config, Base(decoder, None, Subwords(), None), None, False)
    assert answer == 3072 and longest == 1024


@pytest.mark.parametrize("folder", [True, False])
def test_lengths_are_checked_before_weights_are_read_or_trained(build, write, model, monkeypatch, folder):
    for place, name in ((bases.hub, "load"), (bases.pretrain, "run")):
        monkeypatch.setattr(place, name, lambda *_, **__: pytest.fail("it was not refused before"))
    files = {"model": model, "data": write(SUMS), "verifier": "integer"} if folder else {}
    with pytest.raises(UserError, match=r"rollout.max_tokens = 1020: at most 10"):
        build(**files, rollout={"max_prompt": 16, "max_tokens": 1020})
    if folder:
        with pytest.raises(UserError, match=r"data = .*: prompts of at most"):
            build(**files, rollout={"max_prompt": 3})


def test_limits_left_open_fit_the_model(build, write, model):
    made, _ = build(model=model, data=write(SUMS), verifier="integer", rollout={"max_prompt": None, "max_tokens": None})
    assert (made.problems.max_prompt, made.problems.max_tokens) == (512, 512)


def test_generated_problems_have_the_tasks_limits(build, model, small):
    made, _ = build(model=model, task="chain_sum(terms=2, digits=1)", rollout={"max_prompt": None, "max_tokens": None})
    assert (made.problems.max_prompt, made.problems.max_tokens) == (small.TASK.max_prompt, small.LIMIT)
    assert len({problem.prompt for problem in made.problems.test}) == 4


def test_a_prompt_limit_below_the_tasks_is_refused(build, model):
    with pytest.raises(UserError, match=r"rollout\.max_prompt = 9: at least 12, as chain_sum needs"):
        build(model=model, rollout={"max_prompt": 9})


def test_a_task_that_the_model_cannot_read_is_refused(model, tmp_path):
    config = RlvrConfig(model=model, task="modular")
    program = setup.reasoner(config, 0, 4, tmp_path, lambda text: None, lambda *_: None)
    with pytest.raises(UserError, match=r"task = 'modular': a task that the model can read; it knows no '% \( \) \*'"):
        program.__enter__()


class Subwords:
    """A tokenizer with a chat template of seven tokens and two characters a token."""

    ends, pad, vocab_size = (1,), 0, 15

    def prompt(self, text):
        """Seven tokens more."""
        return [2] * (7 + -(-len(text) // 2))


def test_a_template_has_room_beside_a_generated_prompt(small):
    """Its length counts: tokens are not the task's characters."""
    base = small.BASE._replace(words=Subwords())
    task = TASKS.get("countdown")()
    longest, answer = setup.limits(RlvrConfig(), base, task, True)
    needed = max(len(base.words.prompt(task.problem(0, index).prompt)) for index in range(50))
    assert needed <= longest <= task.max_prompt + 8 and answer == 1024 - longest


def test_judging_writes_what_a_report_reads(build, model, tmp_path, small):
    made, _ = build(model=model, task="chain_sum(terms=2, digits=1)")
    told = []
    setup.judge_base(made, tmp_path, lambda done, total, shown: told.append((done, total)))
    path = tmp_path / "evaluations" / "base.json"
    content = json.loads(path.read_text())
    assert (content["label"], content["step"], content["n"], content["noisy"]) == ("base", 0, 8, False)
    assert [len(content["problems"]), content["problems"][0]["n"], content["problems"][0]["solutions"]] == [4, 8, 1]
    assert told[-1] == (32, 32)
    told.clear()
    setup.judge_base(made, tmp_path, lambda *_: told.append(1))
    assert not told, "what was judged before an interruption is not judged again"


def test_the_perturbed_policy_is_judged_on_request(build, model, tmp_path):
    sizes = {"problems": 4, "samples": 8, "monitor_problems": 4, "monitor_samples": 2, "noisy": True}
    made, _ = build(model=model, task="chain_sum(terms=2, digits=1)", evaluation=sizes)
    state = made.init()
    setup.judge_trained(made, state, tmp_path, lambda *_: None)
    found = {
        label: json.loads((tmp_path / "evaluations" / f"{label}.json").read_text())
        for label in ("trained", "trained-noisy")
    }
    assert [found[label]["noisy"] for label in found] == [False, True]
    setup.export(made, state, tmp_path / "model")
    read = bases.read(tmp_path / "model")
    assert all(np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (read.params, state.params)), strict=True))
    setup.export(made, state, tmp_path / "model")  # once more, as a resumed run does
