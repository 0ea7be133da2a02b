"""A token budget: sorted pieces give the gradient, log-probs and hidden states of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpsn.core import errors
from jaxpsn.lm.sampler import Prompts
from jaxpsn.rlvr import learner, lengths
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.rollout import Answers

LIMIT, GROUP, PROBLEMS = 26, 4, 4


@pytest.fixture(scope="module")
def batch(small):
    """Answers of 1 to 26 tokens, by three perturbations and the clean policy; what they hold is random."""
    drawn = np.random.default_rng(5)
    shape = (GROUP, PROBLEMS)
    tokens = drawn.integers(0, small.WORDS.vocab_size, (*shape, LIMIT)).astype(np.int32)
    lengths = np.array([[1, 26, 3, 20], [5, 9, 22, 2], [25, 6, 4, 13], [8, 8, 15, 16]], np.int32)
    noisy = -drawn.exponential(2.0, tokens.shape).astype(np.float32)
    member, sigma = np.array([0, 0, 1, 1], np.int32), np.full(4, 0.3, np.float32)
    answers = Answers(tokens, noisy, lengths, lengths < LIMIT, member, sigma)
    asked = drawn.integers(0, small.WORDS.vocab_size, (PROBLEMS, 6)).astype(np.int32)
    prompts = Prompts(asked, np.array([6, 1, 4, 5], np.int32))
    gained = drawn.normal(size=shape).astype(np.float32)
    return learner.Batch(prompts, answers, gained, reference=noisy, seed=(jax.random.key(2), jnp.int32(1)))


def made(small, **algorithm):
    settings = small.config(
        noise={"per": "replica", "replicas": 2, "structure": "lowrank(rank=1)"}, algorithm=algorithm
    )
    noise, _ = small.program.perturbations(settings, small.DECODER, small.BASE.params)
    return learner.make(settings, small.DECODER, LIMIT, small.WORDS.vocab_size, Placement(None), noise)


def stepped(small, batch, **algorithm):
    """Gradient and metrics, and the compiled update."""
    one = made(small, **algorithm)._replace(optimiser=optax.sgd(1.0))
    given = small.BASE.params, (optax.EmptyState(), optax.EmptyState()), batch
    compiled = jax.jit(one.update).lower(*given).compile()
    after, _, metrics = compiled(*given)
    gradient = jax.tree.map(lambda a, b: np.asarray(b - a), after, small.BASE.params)
    return gradient, jax.device_get(metrics), compiled.memory_analysis().temp_size_in_bytes


def test_the_gradient_is_that_of_the_whole_batch_in_less_memory(small, batch):
    """At the perturbed weights of two members, each with two answers a problem; the clean pass is in the metrics."""
    asked = {"estimator": "pooled", "correction": "none"}
    asked |= {"kl_coefficient": 0.1, "entropy_coefficient": 0.1}
    whole, told, held = stepped(small, batch, **asked)
    packed, again, less = stepped(small, batch, token_budget=64, **asked)
    size = max(np.abs(leaf).max() for leaf in jax.tree.leaves(whole))
    assert size > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6 * size), packed, whole)
    assert told.keys() == again.keys()
    for name, value in told.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    assert less < 0.8 * held


def test_passes_without_a_gradient_are_the_same(small, batch):
    given = small.BASE.params, batch.prompts, batch.answers.tokens, batch.answers.lengths
    one, other = (jax.jit(made(small, **asked).scores)(*given) for asked in ({}, {"token_budget": 64}))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), one, other)


@pytest.mark.parametrize(
    ("algorithm", "longest", "said"),
    [
        ({"token_budget": 64}, 80, "algorithm.token_budget = 64: at least 80, for a prompt and answer of 80 tokens"),
        ({"token_budget": 99, "estimator": "pooled", "correction": "none"}, 30, "at least 120, .* each of 4 perturba"),
        ({"token_budget": 64, "micro_batches": 2}, 1, "algorithm.micro_batches = 2: 1 with a token_budget"),
    ],
)
def test_budgets_that_cannot_be_are_refused(small, algorithm, longest, said):
    with pytest.raises(errors.UserError, match=said):
        lengths.check_budget(small.config(algorithm=algorithm), longest)
