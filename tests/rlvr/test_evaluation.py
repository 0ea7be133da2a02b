"""Judging: the same numbers whatever the size of a call, counts that are right, perturbed policies on request."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.rlvr import evaluation, measures, program
from jaxpsn.rlvr.config import EvaluationConfig
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.placement import Placement
from jaxpsn.stats import pass_at_k

PROBLEMS, SAMPLES = 5, 6
KEY = program.evaluation_key()


class Told:
    """A verdict and a task that remember what they were asked; solutions are told apart by their first character."""

    name = "told"

    def __init__(self, small):
        self.asked, self._even = {}, small.even

    def grade(self, problems, texts):
        """Even digit sums are right."""
        assert len({problem.id for problem in problems}) == 1
        self.asked[problems[0].id] = list(texts)
        return self._even(problems, texts)

    def canonical(self, problem, text):
        """The first character; unknown for empty answers."""
        return text[:1] or None


@pytest.fixture(scope="module")
def judge(small):
    """``judge(problems=5, samples=6, noise=None, sigma=None, segment=0, **settings) -> (found, texts by problem)``."""
    made = {}

    def run(problems=PROBLEMS, samples=SAMPLES, noise=None, sigma=None, segment=0, told=None, **settings):
        name = repr((settings, segment))
        if name not in made:
            task = Told(small)
            made[name] = task, evaluation.Judge(
                small.DECODER, small.WORDS, task, task.grade, EvaluationConfig(**settings), small.TASK.max_prompt,
                small.LIMIT, Placement(None), segment=segment,
            )  # fmt: skip
        task, one = made[name]
        task.asked.clear()
        some = small.TASK.distinct("test", 0, problems)
        extra = {} if told is None else {"told": told}
        return one.judge(small.BASE.params, some, samples, KEY, noise, sigma, **extra), dict(task.asked)

    return run


@pytest.fixture(scope="module")
def whole(judge):
    """All in one call."""
    return judge(rows=64)


@pytest.mark.parametrize("settings", [dict(rows=1), dict(rows=8), dict(rows=15), dict(rows=4, segment=1)], ids=str)
def test_numbers_do_not_depend_on_the_size_of_a_call(judge, whole, settings):
    """Calls of one row, of two problems with a filler in the last, of two samples with idle rows, in segments."""
    seen = []
    found, texts = judge(**settings, told=lambda done, total: seen.append((done, total)))
    assert texts == whole[1] and found == whole[0]
    assert seen[-1] == (30, 30) and seen == sorted(seen)


def test_fewer_samples_and_problems_are_the_first_ones(judge, whole):
    _, texts = judge(rows=64, problems=3, samples=4)
    assert texts == {name: answers[:4] for name, answers in list(whole[1].items())[:3]}


def test_answers_of_a_problem_differ(whole):
    assert all(len(set(texts)) > 1 for texts in whole[1].values())
    assert len({tuple(texts) for texts in whole[1].values()}) == PROBLEMS


def test_right_and_different_answers_are_counted(small, whole):
    found, texts = whole
    for one in found:
        own = texts[one.problem.id]
        right = [text for text in own if small.even([one.problem], [text])[0]]
        assert (one.samples, one.correct) == (SAMPLES, len(right))
        assert one.distinct == len({text[0] for text in right if text})


def test_what_no_task_can_tell_apart_is_unknown(small, judge):
    found, _ = judge(rows=64)
    task = Told(small)
    task.canonical = lambda problem, text: None
    one = evaluation.Judge(
        small.DECODER,
        small.WORDS,
        task,
        task.grade,
        EvaluationConfig(),
        small.TASK.max_prompt,
        small.LIMIT,
        Placement(None),
    )
    assert one._counted(found[0].problem, ["2", "4"]).distinct is None
    assert one._counted(found[0].problem, ["1", "3"]).distinct == 0


@pytest.mark.parametrize(
    "problems, samples, rows, parts, shape",
    [
        (64, 256, 1024, 1, (4, 256)),
        (64, 8, 1024, 1, (64, 8)),
        (500, 256, 512, 8, (8, 64)),
        (3, 256, 10_000, 2, (4, 256)),
        (500, 1, 512, 1, (500, 1)),
        (500, 1, 100, 1, (100, 1)),
        (3, 4, 1, 2, (2, 1)),
    ],
)
def test_calls_hold_many_samples_of_few_problems(problems, samples, rows, parts, shape):
    """Filler but for the mesh's sake is avoided; a call is never larger than asked unless the mesh needs a row each."""
    assert evaluation.shape(problems, samples, rows, parts) == shape


@pytest.mark.parametrize("structure", ["lowrank", "dense"])
def test_every_answer_of_a_perturbed_policy_has_a_perturbation_of_its_own(small, judge, whole, structure):
    noise = perturbation.plan(Psn(structure), small.DECODER, small.BASE.params, 3, 1)
    _, clean = whole
    _, still = judge(rows=64, noise=noise, sigma=jnp.float32(0.0))
    assert still == clean, "sigma 0 is the clean policy"
    _, loud = judge(rows=64, noise=noise, sigma=jnp.float32(1.0))
    assert all(loud[name] != clean[name] for name in clean)
    _, few = judge(rows=8, noise=noise, sigma=jnp.float32(1.0))
    assert few == loud


def test_perturbed_answers_are_those_of_formed_weights(small, judge):
    """Greedy, so that an answer says whose weights gave it: sample s of every problem is that of perturbation s."""
    noise = perturbation.plan(Psn(), small.DECODER, small.BASE.params, 3, 1)
    sigma = jnp.float32(1.5)
    _, found = judge(rows=64, temperature=0.0, noise=noise, sigma=sigma)
    _, clean = judge(rows=64, temperature=0.0)
    assert all(len(set(texts)) == 1 for texts in clean.values())
    assert any(len(set(texts)) > 1 for texts in found.values())
    key = jax.random.fold_in(KEY, evaluation.NOISE)
    _, held = noise.some(key, jnp.arange(SAMPLES, dtype=jnp.int32))
    task = Told(small)
    one = evaluation.Judge(
        small.DECODER, small.WORDS, task, task.grade, EvaluationConfig(rows=64, temperature=0.0), small.TASK.max_prompt,
        small.LIMIT, Placement(None),
    )  # fmt: skip
    problems = small.TASK.distinct("test", 0, PROBLEMS)
    for sample in range(SAMPLES):
        formed = noise.kind.materialise(small.BASE.params, held, sigma, sample)
        one.judge(formed, problems, 1, KEY)
        assert {name: texts[0] for name, texts in task.asked.items()} == {
            name: texts[sample] for name, texts in found.items()
        }


def test_columns_are_unbiased_pass_at_k(whole):
    found, _ = whole
    columns = measures.evaluation_columns(found, SAMPLES)
    assert (
        sorted(columns) == measures.evaluation_names(SAMPLES) == ["eval_distinct", "eval_pass_at_1", "eval_pass_at_6"]
    )
    counts = np.array([one.correct for one in found])
    assert columns["eval_pass_at_1"] == pytest.approx(np.mean(counts / SAMPLES))
    assert columns["eval_pass_at_6"] == pytest.approx(np.mean(counts > 0))
    assert columns["eval_distinct"] == pytest.approx(np.mean([one.distinct for one in found]))
    np.testing.assert_allclose(pass_at_k.estimate(SAMPLES, counts, 1), counts / SAMPLES)
    unknown = measures.evaluation_columns([one._replace(distinct=None) for one in found], SAMPLES)
    assert np.isnan(unknown["eval_distinct"])
    assert measures.evaluation_names(1) == ["eval_distinct", "eval_pass_at_1"]


def test_answers_side_by_side_are_as_many_as_hold_a_gibibyte(small):
    """SmolLM2-135M with answers of 672 slots: 31 MB of keys and values each in float32, and its logits."""
    real = dataclasses.replace(
        small.DECODER, vocab_size=49_152, num_layers=30, num_heads=9, num_kv_heads=3, head_dim=64
    )
    assert evaluation.rows(0, real, 672, "float32") == 33 and evaluation.rows(0, real, 672, "bfloat16") == 65
    assert evaluation.rows(0, small.DECODER, 8, "float32") == evaluation.MOST
    assert evaluation.rows(7, real, 672, "float32") == 7
