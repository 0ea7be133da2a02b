"""Correction weights and what is said about them, against slow float64 references."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpsn.core import errors
from jaxpsn.rlvr.objective import correction
from jaxpsn.rlvr.objective.corrections import CORRECTIONS
from jaxpsn.rlvr.objective.tokens import token_mask

NAMES = ("none", "token", "sequence", "geometric", "token_mask", "sequence_mask", "geometric_mask")
B, T = 6, 7
LENGTHS = np.array([7, 1, 4, 0, 5, 2])
CAP, LOW = 1.6, 0.55


def batch(seed=0, spread=0.5):
    """Log-probs of the clean and the noisy policy; NaN beyond the answers."""
    rng = np.random.default_rng(seed)
    noisy = -rng.uniform(0.1, 3.0, (B, T))
    clean = noisy + spread * rng.normal(size=(B, T))
    inside = np.arange(T) < LENGTHS[:, None]
    return np.where(inside, clean, np.nan), np.where(inside, noisy, np.nan)


def of(name, cap=None, low=None, normalise=False, kl=None):
    """The correction of that name with what is given; of a gate the bounds. The one without weights has no cap."""
    gated = name.endswith("_mask")
    given = {"gate.high": cap, "gate.low": low, "gate.kl": kl} if gated else {"cap": cap, "floor": low}
    given = {} if name == "none" else given | ({"normalise": "true"} if normalise else {})
    fields = ", ".join(f"{field}={value}" for field, value in given.items() if value is not None)
    return CORRECTIONS.make(f"{name}({fields})" if fields else name)


def as_ours(clean, noisy):
    mask = token_mask(jnp.asarray(LENGTHS, jnp.int32), T)
    return jnp.asarray(clean, jnp.float32), jnp.asarray(noisy, jnp.float32), mask


def raw(level, clean, noisy, b, t):
    d = [clean[b, u] - noisy[b, u] for u in range(LENGTHS[b])]
    log = {"none": 0.0, "token": d[t], "sequence": sum(d), "geometric": np.mean(d)}[level]
    return np.exp(min(max(log, -20.0), 20.0))


def reference(name, clean, noisy, cap, low):
    level, masked = name.removesuffix("_mask"), name.endswith("_mask")
    out = np.zeros((B, T))
    for b in range(B):
        for t in range(LENGTHS[b]):
            r = raw(level, clean, noisy, b, t)
            if level == "none":
                out[b, t] = 1.0
            elif masked:
                out[b, t] = r if low <= r <= cap else 0.0
            else:
                out[b, t] = min(max(r, low), cap)
    return out


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("low", [0.0, LOW])
def test_weights(name, low):
    clean, noisy = batch()
    ours = jax.jit(lambda *a: correction.weights(of(name, CAP, low), *a))(*as_ours(clean, noisy))
    expected = reference(name, clean, noisy, CAP, low)
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, expected, rtol=2e-6)
    if name != "none":
        bounded = (expected == 0) if name.endswith("_mask") else (expected == CAP)
        assert bounded[np.arange(T) < LENGTHS[:, None]].any(), "the batch exercises the cap"


def test_the_papers_cap_is_the_default():
    ours = correction.weights(of("token"), jnp.full((1, 1), 5.0), jnp.zeros((1, 1)), jnp.ones((1, 1), bool))
    assert float(ours[0, 0]) == 10.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("normalise", [False, True])
def test_no_noise_gives_weights_of_exactly_one(name, normalise):
    clean, _ = batch()
    wide, _, mask = as_ours(clean, clean)
    ours = np.asarray(correction.weights(of(name, normalise=normalise), wide, wide, mask))
    np.testing.assert_array_equal(ours, np.asarray(mask, np.float32))
    columns = correction.diagnostics(of(name), wide, wide, mask)
    told = {name: float(value) for name, value in columns.items()}
    shares = {k for k in told if k.endswith(("_clamped", "_share")) or k.startswith("noise_kl")}
    shares |= {k for k in told if k.endswith("_chi2")}
    assert {told[k] for k in shares} == {0.0} and len(shares) == 9
    assert {told[k] for k in set(told) - shares} == {1.0}


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_flows_into_weights(name):
    clean, noisy, mask = as_ours(*batch())

    def total(pair):
        columns = correction.diagnostics(of(name, CAP, LOW), *pair, mask)
        return jnp.sum(correction.weights(of(name, CAP, LOW, True), *pair, mask)) + sum(columns.values())

    for gradient in jax.grad(total)((clean, noisy)):
        assert not np.any(gradient)


@pytest.mark.parametrize("name", ["token", "token_mask", "sequence", "sequence_mask", "geometric", "geometric_mask"])
def test_normalised_weights_have_mean_one(name):
    clean, noisy, mask = as_ours(*batch())
    ours = np.asarray(correction.weights(of(name, CAP, LOW, True), clean, noisy, mask), np.float64)
    plain = np.asarray(correction.weights(of(name, CAP, LOW), clean, noisy, mask))
    units = np.asarray(mask) if name.startswith("token") else np.asarray(mask) & (np.arange(T) == 0)
    assert ours[units].mean() == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(ours * plain[units].mean(), plain, rtol=1e-5)


def test_normalising_nothing_gives_nothing():
    far = jnp.full((2, 3), 5.0)
    ours = correction.weights(of("token_mask", normalise=True), far, jnp.zeros((2, 3)), jnp.ones((2, 3), bool))
    assert not np.any(ours)


@pytest.mark.parametrize("name", NAMES)
def test_diagnostics(name):
    clean, noisy = batch(1)
    marked = np.array([True, False, True, True, True, False])
    columns = jax.jit(lambda *a: correction.diagnostics(of(name, CAP, LOW), *a, jnp.asarray(marked)))(
        *as_ours(clean, noisy)
    )
    tokens = [(b, t) for b in range(B) for t in range(LENGTHS[b])]
    token = np.array([raw("token", clean, noisy, *at) for at in tokens])
    answers = np.array([raw("sequence", clean, noisy, b, 0) for b in range(B) if LENGTHS[b]])
    level = np.array([raw(name.removesuffix("_mask"), clean, noisy, *at) for at in tokens])
    used = np.array([reference(name, clean, noisy, CAP, LOW)[at] for at in tokens])
    logs = np.array([noisy[at] - clean[at] for at in tokens if marked[at[0]]])
    expected = {
        "weight_mean": used.mean(), "weight_ess": used.sum() ** 2 / (used**2).sum() / len(used),
        "weight_clamped": 0.0,
        "truncated_share": 0.0 if name == "none" else np.mean((level > CAP) | (level < LOW)),
        "masked_share": np.mean(used == 0),
        "noise_kl_k1": logs.mean(), "noise_kl_k3": np.mean(np.exp(-logs) - 1 + logs),
    }  # fmt: skip
    for prefix, values in (("ratio", token), ("sequence_ratio", answers)):
        expected |= {f"{prefix}_{part}": getattr(values, part)() for part in ("min", "mean", "max")}
        expected[f"{prefix}_ess"] = values.sum() ** 2 / (values**2).sum() / len(values)
        expected[f"{prefix}_chi2"] = (values**2).mean() - 1.0
        expected[f"{prefix}_clamped"] = 0.0
    assert set(columns) == set(expected)
    for key, value in expected.items():
        assert float(columns[key]) == pytest.approx(value, rel=2e-5), key


def test_what_was_not_measured_is_nan():
    clean, noisy, _ = as_ours(*batch())
    nothing = correction.diagnostics(of("token"), clean, noisy, jnp.zeros((B, T), bool))
    assert all(np.isnan(float(value)) for value in nothing.values())
    nobody = correction.diagnostics(of("token"), *as_ours(*batch()), noisy=jnp.zeros((B,), bool))
    assert np.isnan(float(nobody["noise_kl_k1"])) and float(nobody["ratio_mean"]) > 0


def test_kl_of_each_member():
    rng = np.random.default_rng(0)
    noisy = -rng.uniform(0, 3, (3, 4, 5))
    clean = noisy + rng.normal(size=noisy.shape) * np.array([0.0, 0.1, 1.0])[:, None, None]
    lengths = rng.integers(1, 6, (3, 4))
    mask = token_mask(jnp.asarray(lengths, jnp.int32), 5)
    k1, k3 = correction.noise_kl(jnp.asarray(clean, jnp.float32), jnp.asarray(noisy, jnp.float32), mask, axis=(1, 2))
    for m in range(3):
        d = np.concatenate([noisy[m, r, : lengths[m, r]] - clean[m, r, : lengths[m, r]] for r in range(4)])
        assert float(k1[m]) == pytest.approx(d.mean(), rel=1e-5)
        assert float(k3[m]) == pytest.approx(np.mean(np.exp(-d) - 1 + d), rel=1e-5)
    assert float(k3[0]) == 0.0 and float(k3[2]) > float(k3[1]) > 0.0


def test_estimates_agree_with_the_true_divergence():
    """Tokens drawn from the noisy policy: k1 and k3 both estimate KL(noisy || clean)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 8))
    noisy, clean = logits[0] - np.log(np.exp(logits[0]).sum()), logits[1] - np.log(np.exp(logits[1]).sum())
    truth = np.sum(np.exp(noisy) * (noisy - clean))
    drawn = rng.choice(8, size=(100, 1000), p=np.exp(noisy))
    pair = (jnp.asarray(x[drawn], jnp.float32) for x in (clean, noisy))
    k1, k3 = correction.noise_kl(*pair, jnp.ones((100, 1000), bool))
    assert float(k1) == pytest.approx(truth, rel=0.03) and float(k3) == pytest.approx(truth, rel=0.03)


def test_untruncated_weights_turn_noisy_means_into_clean_ones():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 6))
    noisy, clean = logits[0] - np.log(np.exp(logits[0]).sum()), logits[1] - np.log(np.exp(logits[1]).sum())
    value, drawn = rng.normal(size=6), rng.choice(6, size=(1, 200_000), p=np.exp(noisy))
    pair = (jnp.asarray(x[drawn], jnp.float32) for x in (clean, noisy))
    weights = correction.weights(of("token", 1e6), *pair, jnp.ones(drawn.shape, bool))
    assert float(np.mean(np.asarray(weights) * value[drawn])) == pytest.approx(np.exp(clean) @ value, abs=0.02)


@functools.partial(jax.jit, static_argnums=0)
def everything(name, *args):
    return correction.weights(of(name), *args), correction.diagnostics(of(name), *args)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=6), st.sampled_from(NAMES))
@settings(max_examples=60, deadline=None)
def test_weights_stay_finite_and_within_their_caps(differences, name):
    difference = np.zeros((1, 6), np.float32)
    difference[0, : len(differences)] = differences
    mask = token_mask(jnp.array([len(differences)], jnp.int32), 6)
    ours, columns = everything(name, difference, jnp.zeros((1, 6)), mask)
    assert np.isfinite(ours).all() and (ours >= 0).all() and (ours <= 10.0).all()
    for key, value in columns.items():
        beyond = key.endswith("_ess") and float(columns[key.replace("_ess", "_clamped")]) == 1.0
        assert np.isfinite(float(value)) != beyond, key
    assert not float(columns["ratio_ess"]) > 1.0 + 1e-6


@given(st.floats(1.01, 20.0))
@settings(max_examples=20, deadline=None)
def test_effective_share_counts_the_weights_that_matter(scale):
    logs = jnp.array([scale, scale, -jnp.inf, scale - 1e3, 7.0])
    share = correction.effective_share(logs, jnp.array([True, True, True, True, False]))
    assert float(share) == pytest.approx(0.5, rel=1e-6)


def drifted(nats, spread, rows, length, seed=0):
    """Answers whose tokens the clean policy finds less likely by ``nats`` each, give or take; and their mask."""
    rng = np.random.default_rng(seed)
    noisy = np.full((rows, length), -1.3)
    clean = noisy - nats + spread * rng.normal(size=noisy.shape)
    return clean, (jnp.asarray(clean, jnp.float32), jnp.asarray(noisy, jnp.float32), jnp.ones(noisy.shape, bool))


def test_products_beyond_the_clamp_do_not_look_well():
    """0.15 nats a token over 300 tokens: every product is e^-45, all weights stand on the clamp and are equal."""
    _, same = drifted(0.15, 0.0, 5, 300)
    told = {name: float(value) for name, value in correction.diagnostics(of("sequence"), *same).items()}
    assert np.isnan(told["weight_ess"]) and np.isnan(told["sequence_ratio_ess"])
    assert told["weight_clamped"] == told["sequence_ratio_clamped"] == 1.0
    assert told["ratio_ess"] == pytest.approx(1.0, rel=1e-5) and told["ratio_clamped"] == 0.0


def test_the_effective_sample_size_is_that_of_weights_without_a_clamp():
    clean, given = drifted(0.06, 0.3, 40, 300)
    total = (clean + 1.3).sum(axis=1)
    assert 0 < np.mean(np.abs(total) > 20) < 1
    top = np.exp(total - total.max())
    truth = top.sum() ** 2 / (top**2).sum() / len(top)
    told = {name: float(value) for name, value in correction.diagnostics(of("sequence", 1e6), *given).items()}
    assert told["sequence_ratio_ess"] == pytest.approx(truth, rel=1e-2) and truth < 0.2
    assert told["sequence_ratio_clamped"] == pytest.approx(np.mean(np.abs(total) > 20))


@pytest.mark.parametrize("name", ["token", "sequence", "geometric"])
def test_truncations_act_at_their_defaults(name):
    _, given = drifted(-0.1, 2.0, 50, 40)
    told = correction.diagnostics(of(name), *given)
    assert (float(told["truncated_share"]) > 0) == (name != "geometric")
    assert float(correction.diagnostics(of(name, 1.1), *given)["truncated_share"]) > 0


def test_refuses_in_one_line():
    one = (jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.ones((1, 1), bool))
    with pytest.raises(errors.UserError, match="nearest: token"):
        CORRECTIONS.make("tokens")
    with pytest.raises(errors.UserError, match="float32"):
        correction.weights(of("token"), one[0].astype(jnp.bfloat16), *one[1:])


def test_what_each_member_is_told():
    clean, noisy, mask = as_ours(*batch(1))
    own = jnp.asarray([True, False, True, False, False, False])
    told = correction.of_member(of("token"), clean, noisy, mask, own, None)
    alone = correction.diagnostics(of("token"), clean, noisy, mask & own[:, None])
    assert set(told) == set(correction.OF_MEMBERS)
    for name, value in told.items():
        assert float(value) == pytest.approx(float(alone["noise_kl_k1" if name == "noise_kl" else name]), rel=1e-5)


def test_chi2_is_that_of_weights_without_a_clamp():
    """Products of up to e^26 and more: their squares, averaged by log-sum-exp."""
    clean, given = drifted(-0.1, 0.1, 20, 250)
    total = (clean + 1.3).sum(axis=1)
    told = correction.diagnostics(of("sequence"), *given)
    assert total.max() > 20
    assert float(told["sequence_ratio_chi2"]) == pytest.approx(np.exp(2 * total).mean() - 1, rel=1e-2)
