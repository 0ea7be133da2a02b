"""Random choices: how often, which, on what schedule, and as a floor under other rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import exploration
from jaxpsn.control.exploration import epsilon_greedy
from jaxpsn.core import errors
from jaxpsn.envs.spaces import Discrete
from jaxpsn.networks import Greedy, Values

N, OBS, A = 512, 3, 4
KEY = jax.random.key(0)
POLICY = Greedy(Values(A, hidden=(8,), head_scale=1.0))
PARAMS = POLICY.actor.init(KEY, jnp.zeros(OBS))
SEEN = jnp.asarray(np.random.default_rng(0).normal(size=(N, OBS)), jnp.float32)
CLEAN = POLICY(PARAMS, SEEN)


def _explorer(rule):
    made = exploration.make(rule, POLICY, PARAMS, exploration.Space(N, OBS, A, 10, None, Discrete(A)))
    return made, made.init(KEY, PARAMS, exploration.hyper_of(exploration.EXPLORATION.make(rule)))


def _acted(rule, steps=40):
    made, state = _explorer(rule)

    def step(state, index):
        action, state = made.act(jax.random.fold_in(KEY, index), PARAMS, state, SEEN)
        return state, (action, made.report(state))

    return jax.jit(lambda state: jax.lax.scan(step, state, jnp.arange(steps))[1])(state)


def test_a_choice_is_random_as_often_as_it_says_and_uniform():
    actions, told = _acted("epsilon_greedy(0.3)")
    assert actions.dtype == jnp.int32 and actions.shape == (40, N)
    differs = np.asarray(actions != CLEAN[None])
    count = differs.size
    assert differs.mean() == pytest.approx(0.3 * (1 - 1 / A), abs=4 * np.sqrt(0.2 / count))
    for greedy in range(A):  # where the policy takes one action, the others come up equally often
        rows = np.asarray(actions)[:, np.asarray(CLEAN) == greedy]
        for other in {*range(A)} - {greedy} if rows.size else ():
            assert np.mean(rows == other) == pytest.approx(0.3 / A, abs=5 * np.sqrt(0.075 / rows.size))
    assert np.corrcoef(differs[:-1].ravel(), differs[1:].ravel())[0, 1] == pytest.approx(0.0, abs=0.05)
    np.testing.assert_allclose(told["epsilon"], 0.3, rtol=1e-6)


def test_no_chance_is_the_clean_policy_and_a_certain_one_never_looks():
    assert (_acted("epsilon_greedy(0)")[0] == CLEAN[None]).all() and (_acted("none")[0] == CLEAN[None]).all()
    counts = np.bincount(np.asarray(_acted("epsilon_greedy(1)")[0]).ravel(), minlength=A) / (40 * N)
    np.testing.assert_allclose(counts, 1 / A, atol=0.02)


def test_the_schedule_in_float64():
    steps = 10 * N
    _, told = _acted(f"epsilon_greedy(0.1, start=0.9, steps={steps})", 15)
    # What is told after decision i is the chance of decision i + 1.
    expected = [0.1 + 0.8 * max(1 - (i + 1) * N / steps, 0.0) for i in range(15)]
    np.testing.assert_allclose(told["epsilon"], expected, rtol=1e-5)
    done, start, end = (jnp.asarray(x, kind) for x, kind in ((3, jnp.int32), (0.5, jnp.float32), (0.1, jnp.float32)))
    assert epsilon_greedy.scheduled(done, start, end, 0.0) == pytest.approx(0.1)


def test_a_floor_under_another_rule():
    """Random choices of the sum are those that epsilon_greedy makes alone; all others are the perturbed policy's."""
    alone = _acted("epsilon_greedy(0.2)", 5)[0]
    weights = _acted("parameter(sigma=3)", 5)[0]
    both, told = _acted("parameter(sigma=3) + epsilon_greedy(0.2)", 5)
    random = np.asarray(alone != CLEAN[None])
    assert (np.asarray(both)[random] == np.asarray(alone)[random]).all()
    kept = np.asarray(both == weights)
    assert 0.75 < kept.mean() < 0.95 and (np.asarray(weights) != np.asarray(CLEAN)).any()
    assert {"epsilon", "sigma", "distance", "target"} <= told.keys()


@pytest.mark.parametrize(
    "rule,said",
    [
        ("epsilon_greedy(1.5)", r"epsilon_greedy\.epsilon = 1\.5: a number at least 0 and at most 1"),
        ("epsilon_greedy(0.1, start=0.5)", r"epsilon_greedy\.start = 0\.5: 1, the default, as steps is 0"),
    ],
)
def test_what_is_refused(rule, said):
    with pytest.raises(errors.UserError, match=said):
        exploration.EXPLORATION.make(rule)
