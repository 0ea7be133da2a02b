"""``jaxpsn.reason``: a language model trained with a reward of one's own, loaded, asked and judged."""

import json

import jax
import numpy as np
import pytest

import jaxpsn
from jaxpsn.api import reasoning_config
from jaxpsn.api.reasoning import base
from jaxpsn.core.errors import UserError
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.exploration.rules import Fixed
from jaxpsn.run import folder as folders
from jaxpsn.run.checkpoints.store import digest
from jaxpsn.run.config import RunConfig
from jaxpsn.run.reasoning import job
from jaxpsn.tasks import rewards
from jaxpsn.tasks.countdown import Countdown
from jaxpsn.tasks.problem import Problem

TINY = dict(
    preset="smoke", steps=2, progress="none", eval_every=1, prompts=4,
    evaluation={"problems": 4, "samples": 4, "monitor_problems": 4},
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """Bases are kept beside the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def digits(prompts, answers, problems):
    """As many points as there are digits."""
    assert len(prompts) == len(answers) == len(problems) and prompts[0] == problems[0].prompt
    return [float(sum(letter.isdigit() for letter in answer)) for answer in answers]


@pytest.fixture(scope="module")
def run():
    return jaxpsn.reason(reward=digits, **TINY)


@pytest.fixture(scope="module")
def kept(tmp_path_factory, cache):
    return jaxpsn.reason(reward=digits, **TINY, folder=tmp_path_factory.mktemp("runs") / "kept")


def test_a_reward_of_ones_own_is_trained_for(run):
    assert run.finished and run.step == 2 and run.folder is None
    assert run.metrics["step"].tolist() == [0, 1, 2] and run.metrics["reward"].shape == (3, 1)
    assert run.metrics["reward"][1:].max() > 1.0, "more than the task itself would give"
    assert 0.0 <= run.metrics["eval_pass_at_1"][-1, 0] <= 1.0, "judged by the task"


def test_a_run_in_memory_equals_the_one_in_a_folder(run, kept):
    assert digest(run.state) == digest(kept.state)
    np.testing.assert_array_equal(run.metrics["reward"].astype(np.float32), kept.metrics["reward"].astype(np.float32))
    record = json.loads((kept.folder / "config.json").read_text())
    assert (
        record["config"]["reward"]["fields"]["source"].endswith(":digits") and record["result"]["status"] == "finished"
    )


def test_a_loaded_policy_answers_as_the_trained_one(kept):
    loaded = jaxpsn.load(kept.folder)
    assert loaded.step == 2 and jax.tree.all(jax.tree.map(np.array_equal, loaded.params, kept.params))
    prompt = kept.policy.task.problem(0, 0, "test").prompt
    answers = loaded.generate(prompt, samples=3, seed=1)
    assert answers == kept.policy.generate([prompt], samples=3, seed=1) and len(answers[0]) == 3
    assert loaded.generate(prompt, samples=2, temperature=0.0)[0][0] == loaded.generate(prompt, temperature=0.0)[0][0]
    base = jaxpsn.load(f"{kept.folder}:base")
    assert base.step == 0 and not jax.tree.all(jax.tree.map(np.array_equal, base.params, kept.params))


def test_a_policy_is_judged_by_pass_at_k(kept):
    found = jaxpsn.evaluate(jaxpsn.load(kept.folder), problems=4, samples=4)
    assert found.correct.shape == (4,) and found.correct.max() <= 4
    one, four = found.pass_at(1), found.pass_at(4)
    assert one.value == pytest.approx(found.correct.mean() / 4) and four.value >= one.value
    with pytest.raises(UserError, match="k = 5"):
        found.pass_at(5)
    with pytest.raises(UserError, match="problem = 3: unknown; nearest: problems"):
        jaxpsn.evaluate(kept.policy, problem=3)


def test_a_run_goes_on_with_its_reward(kept):
    again = jaxpsn.reason(folder=kept.folder, resume=True, progress="none")
    assert again.finished and again.step == 2


def test_a_run_with_a_function_without_a_name_wants_it_again():
    config = RlvrConfig(reward=lambda prompts, answers, problems: [0.0] * len(answers))
    record = {"config": folders.plain(config), "run": folders.plain(RunConfig())}
    with pytest.raises(UserError, match="<lambda>': the same Python function, given to"):
        job.restore(record)
    assert job.restore(record, config.reward).rlvr == config


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (3, "reward = 3: one of verifier"),
        (lambda answers: [], "<lambda>': a function (prompts, answers, problems)"),
        (lambda prompts, answers, problems: [1.0], "= '1 numbers': a finite number for each of the 3 answers"),
        (lambda prompts, answers, problems: [float("nan")] * len(answers), "= nan: a finite number for each"),
        (lambda prompts, answers, problems: ["a"] * len(answers), "a finite number for each"),
    ],
)
def test_a_reward_that_is_none_is_one_line(reward, said):
    problems = [Problem("a", "1+1=", "2", "sums")] * 3
    with pytest.raises(UserError) as caught:
        with rewards.Scorer(rewards.make(reward), lambda *_: []) as scorer:
            scorer(problems, ["1", "2", "3"])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(task="countdwn"), "task = 'countdwn': unknown; nearest: countdown"),
        (dict(task="countdown(number=3)"), "countdown.number = '3': unknown; nearest: numbers"),
        (dict(explore="psn-lk"), "explore = 'psn-lk': 'psn-lk' is unknown; nearest: psn-kl"),
        (dict(explore={"sigma.rat": 1}), "noise.sigma.rat = 1: unknown; nearest: rate"),
        (dict(learning_rate=1), "learning_rate = 1: within its section: pretrain or algorithm"),
        (dict(promts=1), "promts = 1: unknown; nearest: prompts"),
        (dict(noise={"structure": "lowrank(rank=0)"}), "lowrank.rank = 0"),
    ],
)
def test_what_cannot_be_is_one_line(fields, said):
    with pytest.raises(UserError) as caught:
        jaxpsn.reason(**{"preset": "smoke", "progress": "none"} | fields)
    assert str(caught.value).startswith(said)


def test_an_arm_of_the_studies_is_a_way_to_explore():
    made = reasoning_config.config(RlvrConfig(), "countdown(numbers=4)", "psn(sigma.value=0.4)", {"prompts": 8})
    assert (made.task, made.sigma, made.rollout.prompts) == (Countdown(4), Fixed(0.4), 8)
    own = reasoning_config.config(RlvrConfig(), Countdown(5), Psn(sigma=Fixed(0.2)), {"dtype": "bfloat16"}, digits)
    assert (own.task, own.sigma, own.dtype) == (Countdown(5), Fixed(0.2), "bfloat16")
    assert own.reward.source.endswith(":digits")


def test_a_base_can_be_explored_without_training():
    policy = base("modular(terms=2, max_modulus=4)", preset="smoke", progress="none")
    noisy = policy.perturbed([0.1, 1.0], problems=3, members=4, structure="dense")
    assert noisy.kl.shape == (2, 4) and noisy.right.shape == (2, 1, 3) and noisy.kl[1].mean() > noisy.kl[0].mean()
    warm = policy.heated([1.0], problems=3, samples=4)
    assert warm.samples == 4 and np.allclose(warm.kl, 0.0, atol=1e-5)
    with pytest.raises(UserError, match="structur = 'dense': unknown; nearest: structure"):
        policy.perturbed([0.1], structur="dense")
