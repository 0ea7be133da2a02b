"""Advantages against slow float64 references, and what they owe to a group with nothing to compare."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpsn.core import errors
from jaxpsn.rlvr.objective import advantages
from jaxpsn.rlvr.objective.algorithms import ADVANTAGES

NAMES = tuple(name for name in ADVANTAGES.kinds if name not in ("w_reinforce", "unlikeliness"))
"""Those that compare the rewards of a group as they are."""
RNG = np.random.default_rng(0)


def of(name, k=1):
    return ADVANTAGES.get(name)(**({"k": k} if name == "pass_at_k" else {}))


def by_subsets(rewards, k):
    """Pass@k advantages by definition: every subset of k answers is one rewarded trial.

    A subset earns (reward - mean) / (deviation + eps); an answer the mean over the subsets that hold it.
    """
    size = len(rewards)
    subsets = list(itertools.combinations(range(size), k))
    scores = np.array([max(rewards[i] >= 0.5 for i in subset) for subset in subsets], float)
    earned = (scores - scores.mean()) / (scores.std() + 1e-6)
    return [np.mean([e for e, subset in zip(earned, subsets, strict=True) if i in subset]) for i in range(size)]


def reference(name, rewards, k):
    rewards = np.asarray(rewards, np.float64)
    out = np.zeros_like(rewards)
    for p, row in enumerate(rewards):
        if len(set(row)) == 1:
            continue
        for g, r in enumerate(row):
            others = [x for j, x in enumerate(row) if j != g]
            out[p, g] = {
                "group": lambda r=r, row=row: (r - row.mean()) / (row.std(ddof=1) + 1e-6),
                "batch": lambda r=r, row=row: (r - row.mean()) / (rewards.std(ddof=1) + 1e-6),
                "none": lambda r=r, row=row: r - row.mean(),
                "max_rl": lambda r=r, row=row: (r - row.mean()) / (row.mean() + 1e-6),
                "leave_one_out": lambda r=r, others=others: r - np.mean(others),
                "pass_at_k": lambda row=row, g=g: by_subsets(row, k)[g],
            }[name]()
    return out


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape, k", [((5, 2), 1), ((7, 6), 3), ((3, 8), 4)])
def test_against_the_reference(name, shape, k):
    rewards = RNG.integers(0, 2, shape).astype(np.float32)
    ours = jax.jit(of(name, k).compute)(jnp.asarray(rewards))
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, reference(name, rewards, k), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("pass_at_k", "max_rl")])
def test_real_rewards_are_welcome(name):
    rewards = RNG.normal(size=(6, 5)).astype(np.float32)
    ours = of(name).compute(jnp.asarray(rewards))
    np.testing.assert_allclose(ours, reference(name, rewards, 1), rtol=1e-4, atol=1e-5)


def test_pass_at_k_sees_only_right_and_wrong():
    fined = jnp.array([[1.0, 0.9, 0.5, 0.49, -1.0, 0.0]])
    plain = jnp.array([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(advantages.pass_at_k(fined, 2), advantages.pass_at_k(plain, 2))


@pytest.mark.parametrize("size, k", [(4, 2), (8, 4), (6, 5)])
def test_pass_at_k_for_every_number_of_correct_answers(size, k):
    rewards = np.array([[1.0] * c + [0.0] * (size - c) for c in range(size + 1)], np.float32)
    ours = np.asarray(advantages.pass_at_k(jnp.asarray(rewards), k))
    np.testing.assert_allclose(ours, [by_subsets(row, k) for row in rewards], rtol=1e-5, atol=1e-5)
    # With fewer than k wrong answers every subset succeeds.
    assert not ours[0].any() and not ours[size - k + 1 :].any() and ours[1 : size - k + 1].any(axis=1).all()


def test_max_rl_weighs_the_rarely_solved_most():
    """Right answers of a problem with success rate p get 1 / p - 1, wrong ones -1."""
    ours = np.asarray(advantages.max_rl(jnp.array([[1.0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]])))
    np.testing.assert_allclose(ours[0], [3, -1, -1, -1], rtol=1e-4)
    np.testing.assert_allclose(ours[1], [1 / 3, 1 / 3, 1 / 3, -1], rtol=1e-4)
    assert not ours[2].any()


def test_w_reinforce_does_not_compare():
    made = ADVANTAGES.make("w_reinforce")
    made.check(1)
    ours = made.compute(jnp.array([[1.0, 0.0], [1.0, 0.9], [0.0, -2.0]]))
    np.testing.assert_array_equal(ours, np.array([[0.1, -1], [0.1, 0.1], [-1, -1]], np.float32))
    with pytest.raises(errors.UserError, match="above 0, or a positive above 0"):
        ADVANTAGES.make("w_reinforce(0, 0)")


def test_pass_at_1_is_grpo_with_the_population_deviation():
    rewards = RNG.integers(0, 2, (9, 6)).astype(np.float32)
    expected = advantages.group(jnp.asarray(rewards)) * math.sqrt(6 / 5)
    np.testing.assert_allclose(advantages.pass_at_k(jnp.asarray(rewards), 1), expected, rtol=1e-4)


@functools.partial(jax.jit, static_argnums=(0, 2))
def compiled(name, rewards, k):
    return of(name, k).compute(rewards)


@pytest.mark.parametrize("name", NAMES)
@given(value=st.floats(-10, 10, width=32), size=st.sampled_from([2, 5, 8]))
@settings(max_examples=25, deadline=None)
def test_equal_rewards_give_exactly_zero(name, value, size):
    # The second group differs, so that the deviation of the batch is not 0.
    rewards = np.stack([np.full(size, value), np.arange(size)]).astype(np.float32)
    ours = np.asarray(compiled(name, rewards, 1))
    assert (ours[0] == 0.0).all() and np.isfinite(ours).all()
    assert not np.any(compiled(name, rewards[:1], 1))


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
@settings(max_examples=20, deadline=None)
def test_properties(name, data):
    coins = st.lists(st.sampled_from([0.0, 1.0]), min_size=6, max_size=6)
    rewards = np.array(data.draw(st.lists(coins, min_size=3, max_size=3)), np.float32)
    ours = np.asarray(compiled(name, rewards, 2))
    np.testing.assert_allclose(ours.sum(axis=1), 0.0, atol=1e-4)
    assert (ours[rewards == 1] >= 0).all() and (ours[rewards == 0] <= 0).all()
    order = data.draw(st.permutations(range(6)))
    np.testing.assert_allclose(compiled(name, rewards[:, order], 2), ours[:, order], atol=1e-5)


@pytest.mark.parametrize(
    "name, group, k", [("grpo", 8, 1), ("group", 1, 1), ("none", 1, 1), ("batch", 1, 1), ("leave_one_out", 1, 1),
                       ("pass_at_k", 1, 1), ("pass_at_k", 4, 4), ("pass_at_k", 4, 0), ("group", 0, 1)]
)  # fmt: skip
def test_refuses_in_one_line(name, group, k):
    with pytest.raises(errors.UserError) as caught:
        of(name, k).check(group)
    assert "\n" not in str(caught.value)


def test_the_likelier_a_correct_answer_the_less_it_is_worth():
    """Against the formula in float64, answer by answer; ties are ranked as they stand."""
    rng = np.random.default_rng(4)
    rewards = rng.integers(0, 2, (5, 8)).astype(np.float32)
    likely = np.round(rng.normal(-10.0, 3.0, (5, 8))).astype(np.float32)  # with ties
    ours = np.asarray(advantages.unlikely(jnp.asarray(rewards), jnp.asarray(likely), 0.25))
    for row, told, found in zip(rewards, likely, ours, strict=True):
        for place, reward in enumerate(row):
            rank = sum(other > told[place] or (other == told[place] and i < place) for i, other in enumerate(told))
            assert found[place] == pytest.approx(reward * (1 - 0.25 * (8 - rank) / 8), rel=1e-6)
    made = ADVANTAGES.make("unlikeliness(beta=0.5, of=none)")
    one = np.asarray(made.compute(made.shaped(jnp.ones((1, 4)), jnp.asarray([[-1.0, -4.0, -2.0, -3.0]]))))
    assert one[0].argmax() == 1 and one[0].argmin() == 0 and one.sum() == pytest.approx(0.0, abs=1e-6)


def test_unlikeliness_of_what_only_asks_whether_an_answer_is_right_is_refused():
    with pytest.raises(errors.UserError, match=r"unlikeliness\.of = 'pass_at_k': group, batch"):
        ADVANTAGES.make("unlikeliness(of=pass_at_k)")
