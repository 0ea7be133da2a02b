"""Rules for sigma: their formulas, and above all which way they move it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpsn.core import errors
from jaxpsn.noise.scale_rules import Run
from jaxpsn.rlvr.exploration import sigma
from jaxpsn.rlvr.exploration.rules import Fixed
from jaxpsn.rlvr.objective import correction
from jaxpsn.rlvr.objective.corrections import Token

RULES = {
    "fixed": lambda: Fixed().build(0.1, Run(10)),
    "staged": lambda: sigma.staged(1e-4, 5, 20),
    "kl": lambda: sigma.kl(0.01),
    "composite": lambda: sigma.composite(0.6),
}
SIGNALS = {
    "noise_kl_k1": jnp.float32(0.02), "noise_kl_k3": jnp.float32(0.02), "similarity": jnp.array([0.9, 0.7]),
    "certainty": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "confidence": jnp.array([0.1, 0.3]),
}  # fmt: skip


def moved(rule, sigma0=0.1, **signals):
    """Factor by which one update moves sigma."""
    state = rule.init(sigma0)
    return float(rule.update(state, {k: jnp.asarray(v, jnp.float32) for k, v in signals.items()}).sigma / state.sigma)


# Direction


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_variant_1_far_from_the_clean_policy_means_less_noise(estimator):
    rule, name = sigma.kl(0.01, rate=1.5, estimator=estimator), f"noise_kl_{estimator}"
    assert moved(rule, **{name: 0.02}) == pytest.approx(1 / 1.5)
    assert moved(rule, **{name: 0.001}) == pytest.approx(1.5)
    assert moved(rule, **{name: -0.001}) == pytest.approx(1.5), "a k1 below 0 raises sigma"


def test_variant_1_finds_its_target_when_kl_grows_like_the_square_of_sigma():
    rule = sigma.kl(0.01)
    for sigma0 in (0.02, 0.4):
        state = jax.lax.fori_loop(
            0, 400, lambda _, s: rule.update(s, {"noise_kl_k1": 0.5 * s.sigma**2}), rule.init(sigma0)
        )
        assert 0.01 / 1.1 * 0.97 < 0.5 * float(state.sigma) ** 2 < 0.01 * 1.1 * 1.03


def test_variant_2_too_similar_and_too_sure_means_more_noise():
    rule = sigma.composite(0.5, rate=1.5, normalisation="fixed", span=(0.0, 10.0))
    assert moved(rule, similarity=0.99, certainty=9.0) == pytest.approx(1.5)
    assert moved(rule, similarity=0.05, certainty=1.0) == pytest.approx(1 / 1.5)


def test_variant_2_each_part_alone_raises_the_indicator():
    alike = dict(similarity=0.2, certainty=5.0), dict(similarity=0.8, certainty=5.0)
    sure = dict(similarity=0.5, certainty=2.0), dict(similarity=0.5, certainty=8.0)
    for weight, (low, high) in ((1.0, alike), (0.0, sure)):
        rule = sigma.composite(0.5, rate=1.5, weight=weight, normalisation="fixed", span=(0.0, 10.0))
        assert moved(rule, **low) < 1.0 < moved(rule, **high)


def test_variant_2_a_policy_growing_surer_than_it_was_gets_more_noise():
    """What min-max over one batch cannot see: the level of certainty, not its skew."""
    spread = jnp.linspace(-0.5, 0.5, 16)

    def sigmas(normalisation):
        rule = sigma.composite(0.6, weight=0.0, rate=1.1, normalisation=normalisation)
        update = jax.jit(rule.update)
        state = rule.init(0.1)
        for level in (2.0, 2.0, 2.0, 2.4, 2.6, 2.8):
            state = update(state, {"similarity": jnp.float32(0.0), "certainty": level + spread})
        return float(state.sigma), float(state.certainty)

    assert sigmas("running")[1] > 0.9 > 0.55 > sigmas("batch")[1]
    # Three times below the target, three times above it, against six times below.
    assert sigmas("running")[0] == pytest.approx(0.1, rel=1e-3)
    assert sigmas("batch")[0] == pytest.approx(0.1 / 1.1**6, rel=1e-3)


def test_variant_2_drives_the_indicator_to_its_target():
    """Answers grow less alike and less sure as noise grows."""
    rule = sigma.composite(0.5, normalisation="fixed", span=(0.0, 4.0), rate=1.02)

    def step(_, state):
        similarity, certainty = 1.0 - 2.0 * state.sigma, 4.0 - 6.0 * state.sigma
        return rule.update(state, {"similarity": similarity, "certainty": certainty})

    for sigma0 in (0.01, 0.45):
        state = jax.lax.fori_loop(0, 400, step, rule.init(sigma0))
        assert float(state.indicator) == pytest.approx(0.5, abs=0.02)


def test_both_directions_of_self_certainty():
    """Certainty of the paper is moved by the tail of a distribution, the other one by its head."""
    signals = dict(similarity=0.5, certainty=1.0, confidence=3.0)
    common = dict(target=0.5, rate=1.5, weight=0.0, normalisation="fixed", span=(0.0, 4.0))
    assert moved(sigma.composite(certainty="uniform_to_policy", **common), **signals) < 1.0
    assert moved(sigma.composite(certainty="policy_to_uniform", **common), **signals) > 1.0


def test_variant_2_below_the_clean_policy_settles_whatever_the_level():
    """The target is relative: policies that grow surer on their own do not make a ramp of sigma."""
    rule = sigma.composite(0.1, rate=1.2, relative=True, gain=3.0, bounds=(1e-4, 10.0), normalisation="fixed")

    def step(index, state):
        level = 0.5 + 0.004 * index  # the clean policy's own indicator rises
        drop = 0.3 * state.sigma
        both = {"similarity": level - drop, "certainty": level - drop}
        return rule.update(state, both | {"clean_similarity": level, "clean_certainty": level})

    for sigma0 in (0.001, 8.0):
        state = jax.lax.fori_loop(0, 100, step, rule.init(sigma0))
        assert float(state.sigma) == pytest.approx(0.1 / 0.3, rel=1e-2)
        assert float(state.target) == pytest.approx(0.5 + 0.004 * 99 - 0.1, abs=1e-5)
        assert float(state.indicator) == pytest.approx(float(state.target), abs=2e-3)


@given(st.floats(-1.0, 1.0), st.floats(0.5, 20.0), st.floats(0.0, 0.2))
@settings(max_examples=50, deadline=None)
def test_a_gain_makes_steps_as_large_as_the_indicator_is_off(indicator, gain, band):
    off = float(np.float32(indicator)) - 0.25
    if math.isclose(abs(off), band, abs_tol=1e-5):
        return
    rule = sigma.composite(0.25, 1.3, weight=1.0, dead_band=band, gain=gain)
    expected = 0.0 if abs(off) < band else min(max(gain * off, -math.log(1.3)), math.log(1.3))
    found = moved(rule, similarity=indicator, certainty=[0.0, 1.0])
    assert math.log(found) == pytest.approx(expected, abs=1e-5)


def test_a_relative_target_has_the_range_of_the_clean_answers():
    """The noisy answers' own range would shrink and stretch with the noise that it is to measure."""
    rule = sigma.composite(0.1, weight=0.0, relative=True)
    clean = {"clean_similarity": jnp.float32(0.0), "clean_certainty": jnp.array([2.0, 4.0])}
    state = rule.update(rule.init(0.1), clean | {"similarity": jnp.float32(0.0), "certainty": jnp.array([2.5, 3.0])})
    assert (float(state.low), float(state.high)) == (2.0, 4.0)
    assert float(state.certainty) == pytest.approx((0.25 + 0.5) / 2) and float(state.target) == pytest.approx(0.4)
    unmeasured = rule.update(state, clean | {"clean_similarity": jnp.float32(jnp.nan), "similarity": jnp.float32(0.0),
                                             "certainty": jnp.array([9.0, 9.0])})  # fmt: skip
    assert float(unmeasured.sigma) == float(state.sigma) and float(unmeasured.certainty) == float(state.certainty)


# Formulas


@given(st.floats(-0.05, 0.05), st.floats(1e-3, 0.02), st.floats(1.0, 1.5), st.floats(1e-6, 0.5))
@settings(max_examples=50, deadline=None)
def test_kl_against_the_reference(distance, target, band, sigma0):
    distance, sigma0 = (float(np.float32(x)) for x in (distance, sigma0))
    for edge in (target * band, target / band):
        if math.isclose(distance, edge, rel_tol=1e-5):
            return
    expected = sigma0 / 1.01 if distance > band * target else sigma0 * 1.01 if distance < target / band else sigma0
    expected = min(max(expected, 1e-6), 0.5)
    rule = sigma.kl(target, dead_band=band)
    after = rule.update(rule.init(sigma0), {"noise_kl_k1": jnp.float32(distance)}).sigma
    assert float(after) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("stages, steps", [(10, 100), (10, 37), (3, 9), (2, 10), (6, 4)])
def test_staged_against_the_reference(stages, steps):
    rule = sigma.staged(1e-4, stages, steps)
    seen = [state := rule.init(1e-2)]
    for _ in range(steps + 3):
        seen.append(state := rule.update(state, {}))
    for step, state in enumerate(seen):
        stage = min(step * stages // steps, stages - 1)
        expected = 0.0
        if stage:
            expected = 1e-2 * (1e-4 / 1e-2) ** ((stage - 1) / max(stages - 2, 1))
        assert float(state.sigma) == pytest.approx(expected, rel=1e-5), step
    assert float(seen[0].sigma) == 0.0
    assert seen[-1].sigma == np.float32(1e-4 if stages > 2 else 1e-2), "the ends are met exactly"


def test_staged_from_nothing_is_nothing_until_the_end():
    rule = sigma.staged(1e-3, 4, 8)
    states = [state := rule.init(0.0)] + [state := rule.update(state, {}) for _ in range(8)]
    assert not any(math.isnan(float(state.sigma)) for state in states)


@pytest.mark.parametrize("normalisation", sigma.NORMALISATIONS)
def test_composite_against_the_reference(normalisation):
    rng = np.random.default_rng(0)
    weight, target, rate, momentum, span = 0.3, 0.5, 1.1, 0.8, (1.0, 3.0)
    rule = sigma.composite(
        target, rate, weight, normalisation=normalisation, span=span, momentum=momentum, dead_band=0.02
    )
    state, expected, ends = rule.init(0.1), 0.1, None
    directions = set()
    for _ in range(12):
        similarity, certainty = rng.uniform(0, 1, 5).astype(np.float32), rng.uniform(0, 4, (5, 2)).astype(np.float32)
        state = rule.update(state, {"similarity": jnp.asarray(similarity), "certainty": jnp.asarray(certainty)})
        now = (certainty.min(), certainty.max())
        if normalisation == "fixed":
            ends = span
        elif normalisation == "batch" or ends is None:
            ends = now
        else:
            ends = tuple(momentum * old + (1 - momentum) * new for old, new in zip(ends, now, strict=True))
        shares = [min(max((c - ends[0]) / (ends[1] - ends[0]), 0.0), 1.0) for c in certainty.ravel()]
        indicator = weight * similarity.mean() + (1 - weight) * np.mean(shares)
        if indicator > target + 0.02:
            expected *= rate
        elif indicator <= target - 0.02:
            expected /= rate
        directions.add(np.sign(indicator - target) * (abs(indicator - target) > 0.02))
        expected = min(max(expected, 1e-6), 0.5)
        assert float(state.indicator) == pytest.approx(indicator, abs=1e-5)
        assert float(state.similarity) == pytest.approx(similarity.mean(), abs=1e-6)
        assert float(state.sigma) == pytest.approx(expected, rel=1e-5)
        assert (float(state.low), float(state.high)) == pytest.approx(ends, rel=1e-5)
    assert {-1.0, 1.0} <= directions


def test_a_range_that_is_a_point_is_read_as_its_middle():
    rule = sigma.composite(0.4, weight=0.0)
    state = rule.update(rule.init(0.1), {"similarity": jnp.float32(0.0), "certainty": jnp.full((4,), 2.0)})
    assert float(state.certainty) == 0.5


# What every rule keeps


def test_fixed_stays():
    rule = RULES["fixed"]()
    assert rule.update(rule.init(0.1), SIGNALS).sigma == np.float32(0.1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["kl", "composite"])
def test_a_signal_that_is_not_finite_changes_nothing(name, bad):
    rule = RULES[name]()
    state = rule.update(rule.init(0.1), SIGNALS)
    for broken in [k for k in SIGNALS if k in ("noise_kl_k1", "similarity", "certainty")]:
        if (name == "kl") != (broken == "noise_kl_k1"):
            continue
        after = rule.update(state, SIGNALS | {broken: jnp.full_like(SIGNALS[broken], bad)})
        for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
            assert old == new


def test_answers_that_were_not_measured_are_left_out():
    rule = sigma.composite(0.6)
    whole = rule.update(rule.init(0.1), SIGNALS)
    some = {
        "similarity": jnp.append(SIGNALS["similarity"], jnp.nan),
        "certainty": jnp.append(SIGNALS["certainty"].ravel(), jnp.array([jnp.nan, jnp.inf])),
    }
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(rule.update(rule.init(0.1), some)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize(
    "make", [lambda b: sigma.kl(0.01, 2.0, bounds=b), lambda b: sigma.composite(0.5, 2.0, bounds=b)]
)
def test_stays_within_bounds_and_comes_back(make):
    rule = make((0.01, 0.2))
    more = {"noise_kl_k1": jnp.float32(0.0), "similarity": jnp.float32(1.0), "certainty": jnp.arange(3.0)}
    less = {"noise_kl_k1": jnp.float32(1.0), "similarity": jnp.float32(-1.0), "certainty": jnp.arange(3.0)}
    state = rule.init(0.05)
    for signals, edge in ((more, 0.2), (less, 0.01), (more, 0.2)):
        for _ in range(8):
            state = rule.update(state, signals)
        assert float(state.sigma) == pytest.approx(edge)


@pytest.mark.parametrize("name", RULES)
def test_states_keep_their_types_and_compile_once(name):
    rule, traces = RULES[name](), []

    @jax.jit
    def update(state, signals):
        traces.append(1)
        return rule.update(state, signals)

    state = rule.init(0.1)
    for _ in range(3):
        after = update(state, SIGNALS)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
            assert (old.dtype, old.shape) == (new.dtype, new.shape)
        assert after.sigma.dtype == jnp.float32
        state = after
    assert len(traces) == 1


def test_targets_may_be_traced():
    def after(target):
        signals = SIGNALS
        rules = (sigma.kl(target), sigma.composite(target), sigma.staged(target, 3, 2))
        return jnp.stack([rule.update(rule.init(0.1), signals).sigma for rule in rules])

    many = jax.jit(jax.vmap(after))(jnp.array([0.01, 0.9]))
    np.testing.assert_allclose(many, [after(0.01), after(0.9)], rtol=1e-6)
    assert float(many[0, 0]) < 0.1 < float(many[1, 0]) and float(many[0, 1]) > 0.1 > float(many[1, 1])


def test_reads_what_the_correction_measures():
    clean, noisy, mask = jnp.full((2, 3), -2.0), jnp.full((2, 3), -1.0), jnp.ones((2, 3), bool)
    columns = correction.diagnostics(Token(), clean, noisy, mask)
    assert moved(sigma.kl(0.01), **columns) < 1.0 and moved(sigma.kl(0.01, estimator="k3"), **columns) < 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: sigma.kl(0.0),
        lambda: sigma.kl(0.1, rate=1.0),
        lambda: sigma.kl(0.1, dead_band=0.9),
        lambda: sigma.kl(0.1, bounds=(0.5, 0.1)),
        lambda: sigma.kl(0.1, estimator="k2"),
        lambda: sigma.staged(0.0, 10, 100),
        lambda: sigma.staged(0.1, 1, 100),
        lambda: sigma.staged(0.1, 2, 0),
        lambda: sigma.composite(math.nan),
        lambda: sigma.composite(0.5, rate=0.9),
        lambda: sigma.composite(0.5, weight=1.1),
        lambda: sigma.composite(0.5, dead_band=-1.0),
        lambda: sigma.composite(0.5, momentum=1.5),
        lambda: sigma.composite(0.5, gain=0.0),
        lambda: sigma.composite(0.5, relative=True).update(sigma.composite(0.5).init(0.1), SIGNALS),
        lambda: sigma.composite(0.5, certainty="both"),
        lambda: sigma.composite(0.5, normalisation="minmax"),
        lambda: sigma.composite(0.5, normalisation="fixed", span=(1.0, 1.0)),
        lambda: RULES["fixed"]().init(-0.1),
        lambda: sigma.kl(0.1).update(sigma.kl(0.1).init(0.1), {}),
    ],
)
def test_refuses_nonsense_in_one_line(make):
    with pytest.raises(errors.UserError) as caught:
        make()
    assert "\n" not in str(caught.value)
