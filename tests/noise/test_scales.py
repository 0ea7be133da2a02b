"""Scale rules: their formulas, their speed, and that they reach a target from far below and far above."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpsn.core import errors
from jaxpsn.noise import scales

TARGET = 0.2
BOUNDS = (1e-5, 10.0)
RULES = {
    "adaptive": lambda target: scales.adaptive(target, bounds=BOUNDS),
    "adaptive-band": lambda target: scales.adaptive(target, dead_band=0.02, bounds=BOUNDS),
    "first-order": lambda target: scales.first_order(target, bounds=BOUNDS),
    "bisection": lambda target: scales.bisection(target, bounds=BOUNDS),
}


def response(sigma, gain=4.0):
    """Distance of a saturating policy: linear for small sigma, bounded by 1.03."""
    return 1.03 * jnp.tanh(gain * sigma)


def run(rule, sigma0, steps, target=TARGET, noise=0.0, gain=4.0):
    """The sigmas of ``steps`` updates against the response, with relative Gaussian errors of the measurement."""

    def update(state, xs):
        error, slope = xs
        distance = response(state.sigma, slope) * (1.0 + noise * error)
        state = rule.update(state, distance)
        return state, state.sigma

    errors_ = jax.random.normal(jax.random.key(0), (steps, *jnp.shape(sigma0)))
    slopes = jnp.broadcast_to(jnp.asarray(gain, jnp.float32), (steps,))
    return jax.lax.scan(update, rule.init(sigma0), (errors_, slopes))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("sigma0", [1e-3, 1.0])
def test_reaches_the_target_within_5_percent(name, sigma0):
    _, sigmas = jax.jit(lambda: run(RULES[name](TARGET), sigma0, 600))()
    assert sigmas.dtype == jnp.float32
    np.testing.assert_allclose(response(sigmas[-100:]), TARGET, rtol=0.05)


@pytest.mark.parametrize("name", RULES)
def test_reaches_the_target_despite_noisy_distances(name):
    _, sigmas = jax.jit(lambda: run(RULES[name](TARGET), jnp.array([1e-3, 1.0]), 1500, noise=0.1))()
    middle = np.exp(np.log(np.asarray(sigmas[-800:])).mean(axis=0))
    np.testing.assert_allclose(response(middle), TARGET, rtol=0.05)


@pytest.mark.parametrize("name", RULES)
def test_follows_a_policy_that_grows_more_sensitive(name):
    gains = jnp.concatenate([jnp.full((800,), 0.5), jnp.full((800,), 40.0)])
    _, sigmas = jax.jit(lambda: run(RULES[name](TARGET), 0.1, 1600, gain=gains))()
    np.testing.assert_allclose(response(sigmas[700:800], 0.5), TARGET, rtol=0.05)
    np.testing.assert_allclose(response(sigmas[-100:], 40.0), TARGET, rtol=0.05)


def test_quick_rules_are_quick():
    for name, steps in (("first-order", 20), ("bisection", 25)):
        for sigma0 in (1e-3, 1.0):
            _, sigmas = run(RULES[name](TARGET), sigma0, steps)
            np.testing.assert_allclose(response(sigmas[-1]), TARGET, rtol=0.05, err_msg=name)


def test_bisection_catches_up_faster_than_the_multiplicative_rule():
    gains = jnp.concatenate([jnp.full((100,), 0.5), jnp.full((60,), 40.0)])
    _, sigmas = run(RULES["bisection"](TARGET), 0.1, 160, gain=gains)
    np.testing.assert_allclose(response(sigmas[-1], 40.0), TARGET, rtol=0.05)


@pytest.mark.parametrize("rate, updates", [(1.01, 231), (1.05, 47)])
def test_multiplicative_speed(rate, updates):
    rule = scales.adaptive(TARGET, rate=rate, bounds=(0.0, 1e3))
    state = jax.lax.fori_loop(0, updates, lambda i, s: rule.update(s, jnp.float32(0.0)), rule.init(0.01))
    assert float(state.sigma) == pytest.approx(0.1, rel=0.02)
    assert float(state.sigma) == pytest.approx(0.01 * rate**updates, rel=1e-4)
    state = jax.lax.fori_loop(0, updates, lambda i, s: rule.update(s, jnp.float32(1.0)), state)
    assert float(state.sigma) == pytest.approx(0.01, rel=1e-4)


def test_multiplicative_rule_at_the_edges():
    rule = scales.adaptive(TARGET, rate=1.1, dead_band=0.1)
    state = rule.init(jnp.full((5,), 0.5))
    after = rule.update(state, jnp.array([0.17, 0.19, 0.2, 0.215, 0.23], jnp.float32)).sigma
    np.testing.assert_allclose(after, [0.55, 0.5, 0.5, 0.5, 0.5 / 1.1], rtol=1e-6)
    plain = scales.adaptive(0.25)
    assert float(plain.update(plain.init(1.0), 0.25).sigma) > 1.0, "at the target sigma rises (paper: <=)"


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_first_order_lands_at_once_on_a_power_law(exponent):
    rule = scales.first_order(TARGET, exponent=exponent, max_step=10.0)
    state = rule.update(rule.init(0.06), 2.0 * jnp.float32(0.06) ** (1.0 / exponent))
    assert 2.0 * float(state.sigma) ** (1.0 / exponent) == pytest.approx(TARGET, rel=1e-5)


def test_first_order_steps_are_clipped():
    rule = scales.first_order(TARGET, max_step=3.0)
    after = rule.update(rule.init(jnp.full((3,), 0.1)), jnp.array([0.0, 1e-20, 1e20], jnp.float32)).sigma
    np.testing.assert_allclose(after, [0.3, 0.3, 0.1 / 3.0], rtol=1e-6)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_distance_that_is_not_finite_changes_nothing(name, bad):
    rule = RULES[name](TARGET)
    state = rule.update(rule.init(jnp.array([0.1, 0.2])), jnp.array([0.1, 0.3], jnp.float32))
    after = rule.update(state, jnp.array([bad, 0.5], jnp.float32))
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert old[0] == new[0]
    assert after.sigma[1] != state.sigma[1]


@pytest.mark.parametrize("name", RULES)
def test_stays_within_bounds_and_comes_back(name):
    rule = RULES[name](TARGET)
    state = rule.init(0.1)
    for distance, edge in ((0.0, BOUNDS[1]), (1.0, BOUNDS[0])):
        state = jax.lax.fori_loop(0, 1500, lambda i, s, d=distance: rule.update(s, jnp.float32(d)), state)
        assert float(state.sigma) == pytest.approx(edge, rel=0.02)
        assert BOUNDS[0] * 0.999 <= float(state.sigma) <= BOUNDS[1] * 1.001


def test_zero_sigma_is_taken_as_given_until_the_first_update():
    for rule in (scales.constant(), *(make(TARGET) for make in RULES.values())):
        assert float(rule.init(0.0).sigma) == 0.0
    assert float(scales.constant().update(scales.constant().init(0.0), 0.1).sigma) == 0.0


def test_schedule_counts_updates():
    rule = scales.scheduled(optax.linear_schedule(0.4, 0.1, 3))
    state = rule.init(7.0)
    seen = [float(state.sigma)]
    for _ in range(5):
        state = rule.update(state, jnp.float32(math.nan))
        seen.append(float(state.sigma))
    np.testing.assert_allclose(seen, [0.4, 0.3, 0.2, 0.1, 0.1, 0.1], rtol=1e-6)
    assert rule.update(rule.init(jnp.zeros((3,))), 0.0).sigma.shape == (3,)


@pytest.mark.parametrize("name", RULES)
def test_targets_may_be_traced_and_states_keep_their_types(name):
    def one(target, sigma0):
        rule = RULES[name](target)
        state = rule.init(sigma0)
        after = rule.update(state, response(state.sigma))
        types = [(leaf.dtype, leaf.shape, leaf.weak_type) for leaf in jax.tree.leaves((state, after))]
        assert types[: len(types) // 2] == types[len(types) // 2 :]
        return after.sigma

    many = jax.jit(jax.vmap(one))(jnp.array([0.1, 0.4]), jnp.array([0.05, 0.05]))
    alone = [float(one(t, 0.05)) for t in (0.1, 0.4)]
    np.testing.assert_allclose(many, alone, rtol=1e-6)
    assert many[0] != many[1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: scales.adaptive(0.0),
        lambda: scales.adaptive(math.nan),
        lambda: scales.adaptive(0.2, rate=1.0),
        lambda: scales.adaptive(0.2, dead_band=-0.1),
        lambda: scales.adaptive(0.2, bounds=(0.2, 0.1)),
        lambda: scales.first_order(0.2, exponent=0.0),
        lambda: scales.first_order(0.2, max_step=1.0),
        lambda: scales.bisection(0.2, bounds=(0.0, 1.0)),
        lambda: scales.bisection(0.2, resolution=0.0),
        lambda: scales.bisection(0.2, patience=1),
        lambda: scales.constant().init(-0.1),
        lambda: scales.adaptive(0.2).update(scales.adaptive(0.2).init(0.1), jnp.zeros((3,))),
    ],
)
def test_refuses_nonsense_in_one_line(make):
    with pytest.raises(errors.UserError) as caught:
        make()
    assert "\n" not in str(caught.value)
