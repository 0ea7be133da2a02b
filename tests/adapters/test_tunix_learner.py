"""PSN-GRPO on google-tunix: weights, sigma, and what the trainer makes of them. To run: see test_tunix.py."""

import dataclasses
import warnings

import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.core import compat

pytest.importorskip("tunix", reason="google-tunix is missing; it has an environment of its own (see test_tunix.py)")

pytestmark = pytest.mark.filterwarnings("ignore")  # tunix and what it brings warn in many ways


@pytest.fixture(scope="module")
def trained(tiny):
    """Three steps at a rate of zero, in micro-batches; the weights before and after."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = tiny.a_cluster(mini_batch_size=4, train_micro_batch_size=2, rollout_micro_batch_size=1)
        told = tiny.Told(cluster)
        before = tiny.flat(cluster.actor_trainer.model)
        told.learner.train(tiny.batches(3))
        return told, before, cluster.actor_trainer.model


def test_the_actor_moves_by_its_optimiser_alone(tiny, trained):
    _, before, model = trained
    for now, then in zip(tiny.flat(model), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_weights_are_those_of_a_float64_reference(tiny, trained):
    told, _, model = trained
    _, params = noise.nnx_policy(model)
    assert len(told.examples) == 6, "two micro-batches a step"
    capped = 0
    for index, (example, answers) in enumerate(zip(told.examples, told.answers, strict=True)):
        step, sigma = index // 2, told.columns[index // 2]["psn/sigma"]
        mask = tiny.learners.counted(answers.tokens, answers.lengths, 0)
        clean = tiny.log_probs(model, params, np.asarray(example.prompt_ids), answers.tokens)
        noisy = np.array(clean)
        for member in range(3):
            theta = told.learner._noise.weights(params, step, member, sigma)
            mine = np.arange(len(mask)) % tiny.GROUP == member
            noisy[mine] = tiny.log_probs(model, theta, np.asarray(example.prompt_ids)[mine], answers.tokens[mine])
        expected = np.where(mask, np.minimum(np.exp(clean - noisy), tiny.PSN.correction.cap), 0.0)
        np.testing.assert_allclose(example.sampler_is_weights, expected, rtol=2e-3, atol=1e-6)
        np.testing.assert_array_equal(example.completion_mask, mask)
        np.testing.assert_array_equal(answers.noisy, np.arange(len(mask)) % tiny.GROUP < 3)
        capped += (expected == tiny.PSN.correction.cap).sum()
    assert capped > 10


def test_sigma_follows_the_kl_of_the_whole_step_and_the_log_says_so(trained):
    told, _, _ = trained
    sigma = 0.4
    for step in range(3):
        np.testing.assert_allclose(told.columns[step]["psn/sigma"], sigma, rtol=1e-6)
        difference = []
        for example, answers in list(zip(told.examples, told.answers, strict=True))[2 * step : 2 * step + 2]:
            mask = np.asarray(example.completion_mask) & answers.noisy[:, None]
            scored = told.learner.rl_cluster.rollout.get_per_token_logps(example.prompt_ids, example.completion_ids)
            difference.append((np.float64(scored) - np.float64(answers.log_probs))[mask])
        difference = np.concatenate(difference)
        found = np.mean(np.exp(difference) - 1 - difference)
        if step < 2:
            np.testing.assert_allclose(told.signals[step]["noise_kl_k3"], found, rtol=1e-4)
        sigma = np.clip(sigma * (1 / 1.25 if found > 0.011 else 1.25 if found < 0.01 / 1.1 else 1), 1e-6, 0.5)
        assert {"psn/weight_mean", "psn/weight_ess", "psn/noise_kl_k1", "psn/ratio_max"} <= set(told.columns[step])
    assert sigma != 0.4


def test_evaluation_is_clean(tiny, trained):
    told, _, model = trained
    count = len(told.examples)
    with compat.foreign():
        asked = {"prompts": np.array(tiny.rows_of(tiny.PROMPTS[:2]))}
        example = told.learner._generate_and_compute_advantage(asked, tiny.clusters.Mode.EVAL)
    assert example.sampler_is_weights is None and len(told.examples) == count
    answers = tiny.rollout.Answers(
        *(np.concatenate(column) for column in zip(*told.learner.rl_cluster.rollout._drawn, strict=True))
    )
    assert not answers.noisy.any()
    _, params = noise.nnx_policy(model)
    mask = tiny.learners.counted(answers.tokens, answers.lengths, 0)
    expected = tiny.log_probs(model, params, np.asarray(example.prompt_ids), answers.tokens)
    np.testing.assert_allclose(np.where(mask, answers.log_probs, 0), np.where(mask, expected, 0), atol=2e-4)


def test_weights_reach_the_loss_and_old_log_probs_have_the_sampling_temperature(tiny):
    """Where every token is dropped, updates at any rate change nothing."""
    cluster = tiny.a_cluster(rate=0.1)
    before = tiny.flat(cluster.actor_trainer.model)
    nothing = "token_mask(gate.low=0, gate.high=1e-6)"
    told = tiny.Told(cluster, dataclasses.replace(tiny.PSN, correction=nothing), iterations=2)
    told.learner.train(tiny.batches(1))
    model, example = cluster.actor_trainer.model, told.examples[0]
    for now, then in zip(tiny.flat(model), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert np.abs(example.advantages).max() > 0.1 and cluster.actor_trainer.train_steps == 2
    _, params = noise.nnx_policy(model)
    mask = np.asarray(example.completion_mask)
    expected = tiny.log_probs(model, params, np.asarray(example.prompt_ids), told.answers[0].tokens)
    found = np.asarray(example.old_per_token_logps)
    np.testing.assert_allclose(np.where(mask, found, 0), np.where(mask, expected, 0), atol=2e-4)
