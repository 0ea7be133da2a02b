"""One call of the sampler: exact distributions, greedy, noisy members, ends, layouts, truncation, cache in place."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import chi2

from jaxpsn import noise
from jaxpsn.core.errors import UserError
from jaxpsn.lm import decoding, distribution
from jaxpsn.lm.policies import Clean, Fused, Single
from jaxpsn.lm.sampler import Prompts, Sampling, sample
from tests.lm import members
from tests.lm.members import CONFIG, KEY, MEMBERS, PARAMS, PROMPTS, SAMPLING, rows_of, sampled

_logits = jax.jit(members.full_logits)


def _text(prompts, r):
    return list(prompts.tokens[r, prompts.tokens.shape[1] - prompts.lengths[r] :])


def test_the_distribution_is_the_models():
    """Two-token answers against their exact probabilities, by enumeration; 6000 rows, chi-square at 1e-4."""
    tau, ends, count = 0.7, (1, 5), 6000
    prompts = Prompts(PROMPTS.tokens[:1], PROMPTS.lengths[:1])
    policy = Clean(PARAMS, count)
    found = sampled(policy, prompts, temperature=tau, sampling=Sampling(2, ends, 0))
    texts = np.asarray([[*_text(prompts, 0), one] for one in range(11)])
    log_p = log_softmax(np.asarray(_logits(PARAMS, jnp.asarray(texts)), np.float64) / tau, axis=-1)[:, -2:]
    first, second = log_p[0, 0], log_p[:, 1]
    joint = {(one, two): first[one] + second[one, two] for one in range(11) for two in range(11) if one not in ends}
    joint |= {(one, 0): first[one] for one in ends}
    pairs, seen = np.unique(np.asarray(found.tokens[:, 0]), axis=0, return_counts=True)
    seen = {tuple(pair.tolist()): number for pair, number in zip(pairs, seen, strict=True)}
    assert set(seen) <= set(joint)
    expected = {pair: count * np.exp(value) for pair, value in joint.items()}
    np.testing.assert_allclose(sum(expected.values()), count, rtol=1e-6)
    common = [pair for pair in joint if expected[pair] >= 5]
    rare = [pair for pair in joint if expected[pair] < 5]
    cells = [(seen.get(pair, 0), expected[pair]) for pair in common]
    if rare:
        cells.append((sum(seen.get(pair, 0) for pair in rare), sum(expected[pair] for pair in rare)))
    assert len(cells) > 30
    assert sum((o - e) ** 2 / e for o, e in cells) < chi2.ppf(1 - 1e-4, len(cells) - 1)
    # And the log-probs are those of this distribution.
    total = np.asarray(found.log_probs[:, 0].sum(-1))
    wanted = [joint[tuple(pair.tolist())] for pair in np.asarray(found.tokens[:, 0])]
    np.testing.assert_allclose(total, wanted, atol=1e-4)


def test_greedy_is_argmax_over_full_passes():
    found = sampled(Clean(PARAMS, MEMBERS), temperature=0.0)
    for r in range(3):
        text, wanted, log_probs = _text(PROMPTS, r), [], []
        while len(wanted) < 12 and not (wanted and wanted[-1] in SAMPLING.ends):
            padded = np.pad(text + wanted, (0, 20 - len(text + wanted)))[None]
            logits = np.asarray(_logits(PARAMS, jnp.asarray(padded)), np.float64)[0, len(text + wanted) - 1]
            wanted.append(int(logits.argmax()))
            log_probs.append(log_softmax(logits)[wanted[-1]])
        assert np.asarray(found.tokens[0, r, : len(wanted)]).tolist() == wanted
        assert int(found.lengths[0, r]) == len(wanted)
        np.testing.assert_allclose(found.log_probs[0, r, : len(wanted)], log_probs, atol=1e-4)


@pytest.mark.parametrize("name", ["low rank", "flipout", "stacked"])
def test_members_decode_as_their_own_weights_would(name):
    policy, weights = members.policy_of(name)
    rows = rows_of(policy)
    found = sampled(policy)
    for m, own in enumerate(weights):
        alone = sampled(Single(own), rows=rows[m : m + 1])
        np.testing.assert_array_equal(alone.tokens[0], found.tokens[m])
        np.testing.assert_allclose(alone.log_probs[0], found.log_probs[m], atol=1e-4)
    clean = sampled(Clean(PARAMS, policy.members))
    assert (np.asarray(clean.tokens) != np.asarray(found.tokens)).any(), "the noise changes nothing"


def test_sigma_may_differ_by_member():
    draws = members.drawn(members.KINDS["low rank"])
    mixed = sampled(Fused(PARAMS, draws, jnp.asarray([0.0, 0.5, 0.5, 0.0])))
    noisy = sampled(members.policy_of("low rank")[0])
    clean = sampled(Clean(PARAMS, 4))
    for m, wanted in enumerate([clean, noisy, noisy, clean]):
        np.testing.assert_array_equal(mixed.tokens[m], wanted.tokens[m])


def test_ends_lengths_and_filler():
    found = jax.tree.map(np.asarray, sampled(Clean(PARAMS, MEMBERS), rows=np.arange(84, 96).reshape(4, 3)))
    assert found.ended.any() and not found.ended.all()
    for m, r in np.ndindex(MEMBERS, 3):
        row, length = found.tokens[m, r], found.lengths[m, r]
        inside = np.isin(row[:length], SAMPLING.ends)
        assert not inside[:-1].any() and inside[-1] == found.ended[m, r]
        assert found.ended[m, r] or length == 12
        assert (row[length:] == 0).all() and (found.log_probs[m, r, length:] == 0).all()
        assert (found.log_probs[m, r, :length] < 0).all() and (found.entropy[m, r, :length] > 0).all()


def test_pad_may_be_an_end_and_pad_within_a_text_is_text():
    policy = Clean(PARAMS, MEMBERS)
    plain = jax.tree.map(np.asarray, sampled(policy))
    same = jax.tree.map(np.asarray, sampled(policy, sampling=dataclasses.replace(SAMPLING, pad=5)))
    here = np.arange(12) < plain.lengths[..., None]
    np.testing.assert_array_equal(same.tokens, np.where(here, plain.tokens, 5))
    for name in ("log_probs", "lengths", "ended"):
        np.testing.assert_array_equal(getattr(same, name), getattr(plain, name))
    last = np.take_along_axis(same.log_probs, same.lengths[..., None] - 1, axis=-1)[..., 0]
    assert same.ended.any() and (last < 0).all()
    # Token 0 is padding by name only: drawn within a text it counts, with a log-prob of its own.
    inside = here & (plain.tokens == 0)
    assert inside.any() and (plain.log_probs[inside] < 0).all()


def test_decoding_stops_when_every_row_has_ended():
    every = Sampling(12, tuple(range(11)), 0)

    @jax.jit
    def run(policy, rows):
        state = decoding.begin(CONFIG, policy, PROMPTS, rows, KEY, jnp.float32(1.0), every)
        return decoding.advance(CONFIG, policy, state, KEY, jnp.float32(1.0), every, jnp.int32(12))

    state = run(Clean(PARAMS), rows_of(Clean(PARAMS)))
    assert int(state.step) == 1 and np.asarray(state.lengths).tolist() == [[1, 1, 1]]


def test_tokens_depend_on_key_row_and_prompt_alone():
    """Not on the other rows, their order, the members, the width of the padding or what it holds."""
    rest = [[20, 21, 22], [23, 24, 25]]
    whole = sampled(Clean(PARAMS, 4), rows=[[4, 9, 2], [7, 0, 3], *rest])
    junk = np.random.default_rng(0).integers(0, 11, (3, 23)).astype(np.int32)
    for r in range(3):
        text = _text(PROMPTS, r)
        junk[2 - r, 23 - len(text) :] = text
    turned = Prompts(junk, PROMPTS.lengths[::-1].copy())
    found = sampled(Clean(PARAMS, 3), turned, rows=[[3, 0, 7], [11, 12, 13], [2, 9, 4]])
    for m, other in ((0, 2), (1, 0)):
        np.testing.assert_array_equal(found.tokens[other][::-1], whole.tokens[m])
        np.testing.assert_allclose(found.log_probs[other][::-1], whole.log_probs[m], atol=1e-5)
    again = sampled(Clean(PARAMS, 4), rows=[[4, 9, 2], [7, 0, 5], *rest])
    changed = np.asarray(again.tokens != whole.tokens).any(-1)
    assert np.argwhere(changed).tolist() == [[1, 2]]


def test_a_member_may_answer_a_prompt_several_times():
    policy, _ = members.policy_of("low rank")
    once = sampled(policy)
    rows = np.concatenate([100 + np.arange(12).reshape(4, 3), np.arange(12).reshape(4, 3)], axis=1)
    twice = sampled(policy, rows=rows)
    assert twice.tokens.shape == (4, 6, 12)
    np.testing.assert_array_equal(twice.tokens[:, 3:], once.tokens)
    np.testing.assert_allclose(twice.log_probs[:, 3:], once.log_probs, atol=1e-5)
    assert (np.asarray(twice.tokens[:, :3]) != np.asarray(once.tokens)).any()


def _reference_support(logits, top_p, top_k):
    """Tokens that remain, by the definitions, in float64."""
    order = np.argsort(-logits, kind="stable")
    kept = order[:top_k] if top_k else order
    p = np.exp(log_softmax(logits[kept]))
    return set(kept[: int(np.searchsorted(np.cumsum(p), top_p - 1e-12)) + 1].tolist())


@pytest.mark.parametrize(("top_p", "top_k"), [(1.0, 3), (0.8, 0), (0.5, 4), (1e-6, 0), (1.0, 50), (0.999, 0)])
def test_truncation_keeps_the_right_tokens(top_p, top_k):
    logits = np.random.default_rng(1).normal(0, 2, (40, 11)).astype(np.float32)
    kept = np.isfinite(np.asarray(distribution.truncated(jnp.asarray(logits), top_p, top_k)))
    for row, here in zip(logits, kept, strict=True):
        assert set(np.flatnonzero(here).tolist()) == _reference_support(row.astype(np.float64), top_p, top_k)


def test_truncated_sampling_draws_and_reports_the_renormalised_distribution():
    tau, count = 1.3, 400
    policy, prompts = Clean(PARAMS, count), Prompts(PROMPTS.tokens[:1], PROMPTS.lengths[:1])
    sampling = Sampling(1, (), 0, top_p=0.7, top_k=6, indicators=True)
    found = sampled(policy, prompts, temperature=tau, sampling=sampling)
    logits = np.asarray(_logits(PARAMS, jnp.asarray([_text(prompts, 0)])), np.float64)[0, -1] / tau
    support = sorted(_reference_support(logits, 0.7, 6))
    drawn = np.asarray(found.tokens).reshape(-1)
    assert 1 < len(support) < 6 and set(drawn.tolist()) == set(support)
    wanted = dict(zip(support, log_softmax(logits[support]), strict=True))
    np.testing.assert_allclose(np.asarray(found.log_probs).reshape(-1), [wanted[one] for one in drawn], atol=1e-5)
    np.testing.assert_allclose(found.entropy, -sum(np.exp(v) * v for v in wanted.values()), atol=1e-5)
    # The indicators are of the whole distribution.
    full = log_softmax(logits)
    np.testing.assert_allclose(found.certainty, -full.mean() - np.log(11), atol=1e-5)
    np.testing.assert_allclose(found.confidence, np.log(11) + np.sum(np.exp(full) * full), atol=1e-5)


def test_only_the_real_entries_of_a_padded_vocabulary_aresampled():
    found = sampled(Clean(PARAMS, 32), temperature=3.0, sampling=Sampling(6, (1,), 0, vocab=7))
    assert np.asarray(found.tokens).max() == 6
    assert np.asarray(found.lengths).max() == 6


def test_bfloat16_weights_keep_float32_log_probs():
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    policy = Fused(half, members.drawn(noise.LowRank(1)), jnp.float32(0.3))
    found = sampled(policy)
    assert {str(getattr(found, name).dtype) for name in ("log_probs", "entropy", "certainty", "pooled")} == {"float32"}
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(found))


@pytest.mark.usefixtures("optimised")
def test_the_cache_is_never_copied_whole():
    """Decoding needs room for one cache, and no operation of the loop makes another."""
    policy, steps = members.policy_of("low rank")[0], 500
    prompts = Prompts(PROMPTS.tokens, PROMPTS.lengths)
    sampling = Sampling(steps, (), 0)
    begun = partial(decoding.begin, CONFIG, sampling=sampling)
    arguments = (policy, prompts, rows_of(policy), KEY, jnp.float32(1.0))
    state = jax.eval_shape(begun, *arguments)
    compiled = (
        jax.jit(decoding.advance, static_argnums=(0, 5), donate_argnums=2)
        .lower(CONFIG, policy, state, KEY, jnp.float32(1.0), sampling, jnp.int32(steps))
        .compile()
    )
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.cache))
    assert compiled.memory_analysis().temp_size_in_bytes < 0.75 * size
    shape = ",".join(map(str, state.cache.k.shape))
    assert not re.search(rf"f32\[{shape}\]\S* (copy|transpose|scatter)\(", compiled.as_text())


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 0},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"ends": (-1,)},
        {"pad": -1},
        {"vocab": 0},
    ],
)
def test_sampling_refuses(options):
    with pytest.raises(UserError, match=next(iter(options))):
        Sampling(**({"max_tokens": 4, "ends": (1,)} | options))


@pytest.mark.parametrize(
    ("rows", "sampling", "message"),
    [
        ((2, 3), Sampling(4, (1,)), "rows"),
        ((1, 0), Sampling(4, (1,)), "rows"),
        ((1, 2), Sampling(4, (1,)), "rows"),
        ((1, 3), Sampling(4, (11,)), "ends"),
        ((1, 3), Sampling(4, (7,), vocab=7), "ends"),
        ((1, 3), Sampling(4, (1,), pad=11), "pad"),
        ((1, 3), Sampling(4, (1,), vocab=12), "vocab"),
    ],
)
def test_sample_refuses_what_does_not_fit(rows, sampling, message):
    with pytest.raises(UserError, match=message):
        sample(CONFIG, Clean(PARAMS), PROMPTS, jnp.zeros(rows, jnp.int32), KEY, 1.0, sampling)
