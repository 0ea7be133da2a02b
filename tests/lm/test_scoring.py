"""Scores: the sampler's very numbers, a float64 reference, any chunks, gradients without whole logits."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from jaxpsn import noise
from jaxpsn.core.errors import UserError
from jaxpsn.lm import model, scoring
from jaxpsn.lm.policies import Clean, Fused, Stacked
from jaxpsn.lm.prompts import pack
from jaxpsn.lm.scoring import score
from tests.lm import members
from tests.lm.members import CONFIG, MEMBERS, NAMES, PARAMS, PROMPTS, sampled

FIELDS = ("log_probs", "entropy", "certainty", "confidence", "pooled")
judge = jax.jit(score, static_argnums=0, static_argnames=("remat", "chunk", "vocab"))


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_what_the_sampler_saw(name):
    policy, _ = members.policy_of(name)
    found = sampled(policy)
    assert np.asarray(found.lengths).min() < 12, "some rows must end early for this to say anything"
    chunk = 5 if name in ("low rank", "single") else 0
    scores = judge(CONFIG, policy, PROMPTS, found.tokens, found.lengths, jnp.float32(0.9), chunk=chunk)
    for field in FIELDS:
        np.testing.assert_allclose(getattr(scores, field), getattr(found, field), atol=1e-4, err_msg=field)


def test_scores_against_a_float64_reference():
    policy, weights = members.policy_of("low rank")
    tau, found = 0.6, sampled(policy)
    scores = judge(CONFIG, policy, PROMPTS, found.tokens, found.lengths, jnp.float32(tau), chunk=5)

    @jax.jit
    def passed(params, text):
        hidden = model.hidden_states(CONFIG, params, text[None], jnp.zeros(1, jnp.int32))[0][0]
        return hidden, model.logits(CONFIG, params, hidden)

    for (m, r), length in np.ndenumerate(np.asarray(found.lengths)):
        prompt = PROMPTS.tokens[r, PROMPTS.tokens.shape[1] - PROMPTS.lengths[r] :]
        answer = np.asarray(found.tokens[m, r, :length])
        text = np.concatenate([prompt, answer])
        # Unpadded on the left; what follows the text cannot be seen by it.
        hidden, logits = passed(weights[m], jnp.asarray(np.pad(text, (0, 20 - len(text)))))
        hidden = np.asarray(hidden, np.float64)[: len(text)]
        logits = np.asarray(logits, np.float64)[len(prompt) - 1 : len(text) - 1]
        log_p = log_softmax(logits / tau, axis=-1)
        entropy = -np.sum(np.exp(log_p) * log_p, axis=-1)
        wanted = {
            "log_probs": np.pad(log_p[np.arange(length), answer], (0, 12 - length)),
            "entropy": np.pad(entropy, (0, 12 - length)),
            "certainty": np.mean(-np.mean(log_p, axis=-1) - np.log(11)),
            "confidence": np.mean(np.log(11) - entropy),
            "pooled": hidden[len(prompt) :].mean(axis=0),
        }
        for field, value in wanted.items():
            np.testing.assert_allclose(getattr(scores, field)[m, r], value, atol=2e-4, err_msg=field)


def test_an_empty_completion_scores_zero():
    tokens, none = jnp.ones((MEMBERS, 3, 12), jnp.int32), jnp.zeros((MEMBERS, 3), jnp.int32)
    scores = judge(CONFIG, Clean(PARAMS, MEMBERS), PROMPTS, tokens, none, jnp.float32(1.0))
    assert all(not np.asarray(getattr(scores, field)).any() for field in FIELDS)


def test_greedy_scores_are_those_at_temperature_one():
    policy = Clean(PARAMS, MEMBERS)
    found = sampled(policy, temperature=0.0)
    for temperature in (0.0, 1.0):
        scores = judge(CONFIG, policy, PROMPTS, found.tokens, found.lengths, jnp.float32(temperature))
        np.testing.assert_allclose(scores.log_probs, found.log_probs, atol=1e-4)


def test_a_padded_vocabulary_is_left_out():
    wide = PARAMS | {"embed": {"embedding": jnp.pad(PARAMS["embed"]["embedding"], ((0, 5), (0, 0)))}}
    config = type(CONFIG)(**{**CONFIG.__dict__, "vocab_size": 16})
    found = sampled(Clean(PARAMS, MEMBERS))
    plain = judge(CONFIG, Clean(PARAMS, MEMBERS), PROMPTS, found.tokens, found.lengths, jnp.float32(1.0))
    padded = judge(config, Clean(wide, MEMBERS), PROMPTS, found.tokens, found.lengths, jnp.float32(1.0), vocab=11)
    for field in FIELDS:
        np.testing.assert_allclose(getattr(padded, field), getattr(plain, field), atol=1e-5, err_msg=field)


def _loss(params, policy, found, **options):
    scores = score(CONFIG, policy.replace(params=params), PROMPTS, found.tokens, found.lengths, 0.9, **options)
    weights = jnp.broadcast_to(jnp.cos(jnp.arange(12.0)), scores.log_probs.shape)
    return jnp.sum(scores.log_probs * weights) + jnp.sum(scores.entropy**2) + jnp.sum(scores.pooled)


def test_gradients_do_not_depend_on_chunks_or_remat():
    policy, _ = members.policy_of("low rank")
    found = sampled(policy)
    plain = jax.jit(jax.grad(_loss))(PARAMS, policy, found)
    loss = jax.jit(_loss)
    spared = jax.jit(jax.grad(partial(_loss, remat=True, chunk=5)))(PARAMS, policy, found)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3), spared, plain)
    # And they are the slopes: a step along the gradient changes the loss by its length.
    length = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(plain)))
    moved = [jax.tree.map(lambda p, g, s=s: p + s / length * g, PARAMS, plain) for s in (1e-3, -1e-3)]
    slope = (loss(moved[0], policy, found) - loss(moved[1], policy, found)) / 2e-3
    np.testing.assert_allclose(slope, length, rtol=0.02)


GROUPED = replace(CONFIG, num_kv_heads=2)


@pytest.mark.parametrize("flash, options", [(False, {}), (True, {"remat": True, "chunk": 5})])
def test_clean_answers_share_the_reading_of_their_prompt(flash, options, monkeypatch):
    """Against a copy of the weights for each answer, which shares nothing; two heads to a key.

    Where a flash kernel reads whole texts, they are the rows of one batch.
    """
    monkeypatch.setattr(scoring, "_flash", lambda config, params: flash)
    params = jax.tree.map(lambda x: 3 * x if x.ndim > 1 else x, model.init(GROUPED, jax.random.key(2)))
    tokens = jax.random.randint(jax.random.key(3), (MEMBERS, 3, 12), 0, 11)
    lengths = jnp.array([[12, 1, 0], [5, 12, 7], [3, 4, 12], [12, 9, 2]], jnp.int32)

    def loss(policy):
        scores = score(GROUPED, policy, PROMPTS, tokens, lengths, 0.9, **options)
        weights = jnp.broadcast_to(jnp.cos(jnp.arange(12.0)), scores.log_probs.shape)
        return jnp.sum(scores.log_probs * weights) + jnp.sum(scores.pooled**2), scores

    slope = jax.jit(jax.grad(loss, has_aux=True, allow_int=True))
    shared, scores = slope(Clean(params, MEMBERS))
    apart, wanted = slope(Stacked(jax.tree.map(lambda x: jnp.tile(x, (MEMBERS,) + (1,) * x.ndim), params)))
    for field in FIELDS:
        np.testing.assert_allclose(getattr(scores, field), getattr(wanted, field), atol=1e-4, err_msg=field)
    apart = jax.tree.map(lambda x: jnp.sum(x, axis=0), apart.copies)
    for found, want in zip(jax.tree.leaves(shared.params), jax.tree.leaves(apart), strict=True):
        np.testing.assert_allclose(found, want, rtol=2e-3, atol=2e-3)


def test_a_long_prompt_costs_one_reading_where_no_flash_kernel_reads_it(monkeypatch):
    prompts = pack([[3] * 60, [4] * 50])
    tokens, lengths = jnp.zeros((8, 2, 4), jnp.int32), jnp.full((8, 2), 4)

    def multiplications():
        made = jax.jit(lambda params: score(CONFIG, Clean(params, 8), prompts, tokens, lengths, 1.0).log_probs)
        return made.lower(PARAMS).compile().cost_analysis()["flops"]

    once = multiplications()
    monkeypatch.setattr(scoring, "_flash", lambda config, params: True)
    assert 4 * once < multiplications()


def test_noise_on_every_matrix_head_included():
    every = noise.matching("kernel|embedding")
    policy = Fused(PARAMS, members.drawn(noise.LowRank(2), every), jnp.float32(0.3))
    found = sampled(policy)
    scores = judge(CONFIG, policy, PROMPTS, found.tokens, found.lengths, jnp.float32(0.9), chunk=4)
    np.testing.assert_allclose(scores.log_probs, found.log_probs, atol=1e-4)


def _largest(jaxpr):
    """Entries of the largest array anywhere in a jaxpr."""
    inner = [
        value for eqn in jaxpr.eqns for value in jax.tree.leaves(eqn.params, is_leaf=_is_jaxpr) if _is_jaxpr(value)
    ]
    here = max((var.aval.size for eqn in jaxpr.eqns for var in eqn.outvars if hasattr(var.aval, "size")), default=0)
    return max([here, *(_largest(getattr(one, "jaxpr", one)) for one in inner)])


def _is_jaxpr(value):
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def test_chunked_logits_never_exist_whole():
    config = type(CONFIG)(**{**CONFIG.__dict__, "vocab_size": 5000})
    params = jax.eval_shape(lambda key: model.init(config, key), jax.random.key(0))
    tokens, lengths = jnp.zeros((1, 3, 64), jnp.int32), jnp.full((1, 3), 64)

    def loss(params, chunk):
        return jnp.sum(score(config, Clean(params), PROMPTS, tokens, lengths, 1.0, chunk=chunk).log_probs)

    table = 5000 * 32
    for chunk, most in ((8, max(3 * 8 * 5000, table)), (0, 3 * 64 * 5000)):
        assert _largest(jax.make_jaxpr(jax.grad(loss), static_argnums=1)(params, chunk).jaxpr) == most

    def of_texts(params, chunk):
        texts = tokens, lengths, jnp.full((1, 3), 9)
        return jnp.sum(scoring.score_texts(config, Clean(params), *texts, 20, 1.0, chunk=chunk).log_probs)

    # Of texts of 64 tokens at most 20 are judged; a chunk of 50 tokens has 16 of each of the three.
    for chunk, most in ((50, 3 * 16 * 5000), (0, 3 * 20 * 5000)):
        assert _largest(jax.make_jaxpr(jax.grad(of_texts), static_argnums=1)(params, chunk).jaxpr) == most


@pytest.mark.parametrize(
    ("tokens", "lengths", "options", "message"),
    [
        ((2, 3, 4), (2, 3), {}, "members"),
        ((1, 2, 4), (1, 2), {}, "3 prompts"),
        ((1, 3, 4), (1, 2), {}, "3 prompts"),
        ((1, 3, 4), (1, 3), {"chunk": -1}, "chunk"),
        ((1, 3, 4), (1, 3), {"vocab": 12}, "vocab"),
    ],
)
def test_what_does_not_fit_is_refused(tokens, lengths, options, message):
    with pytest.raises(UserError, match=message):
        score(
            CONFIG, Clean(PARAMS), PROMPTS, jnp.zeros(tokens, jnp.int32), jnp.ones(lengths, jnp.int32), 1.0, **options
        )
