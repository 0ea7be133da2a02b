"""Whole runs as arrays: they are the runs of the loop, values are paired by seed, and mistakes are named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import program
from jaxpsn.control.presets import PRESETS
from jaxpsn.core.errors import UserError
from jaxpsn.run import chunk, curves

CALLS = 40


@pytest.fixture(scope="module")
def swept():
    made = program.make(PRESETS["smoke"])
    return made, curves.trace(made, seeds=2, calls=CALLS, points=4, seed=3,
                              target=[0.2, np.nan], **{"explore.sigma": [0.1, 0.3]})  # fmt: skip


def test_shapes_and_steps(swept):
    made, traced = swept
    np.testing.assert_array_equal(traced.steps, np.array([10, 20, 30, 40]) * made.steps_per_call)
    assert {values.shape for values in traced.metrics.values()} == {(2, 2, 4)}
    assert jax.tree.leaves(traced.state.learner.actor)[0].shape[0] == 4


def test_a_run_is_the_run_of_its_seed_and_value(swept):
    made, traced = swept
    state = made.init(
        jax.random.key(4), made.hyper | {"explore.scale.target": jnp.float32(0.2), "explore.sigma": jnp.float32(0.1)}
    )
    advance = jax.jit(chunk.make_chunk(made, 1, CALLS // 4))
    for point in range(4):
        state, told = advance(chunk.strip_weak_types(state))
        total, count = told.totals["sigma"]
        np.testing.assert_allclose(traced.metrics["sigma"][0, 1, point], total / count, rtol=1e-4)
    evaluated = made.evaluate(jax.random.fold_in(jax.random.fold_in(jax.random.key(4), chunk.EVALUATION), CALLS), state)
    np.testing.assert_allclose(traced.metrics["eval_return"][0, 1, -1], evaluated["eval_return"], rtol=1e-3)


def test_without_a_target_sigma_stays(swept):
    _, traced = swept
    np.testing.assert_allclose(traced.metrics["sigma"][1], 0.3, rtol=1e-5)
    assert np.ptp(traced.metrics["sigma"][0]) > 1e-4
    assert np.isnan(traced.metrics["target"][1]).all() and np.isfinite(traced.metrics["distance"][1][:, -1]).all()


def test_mistakes_are_named():
    made = program.make(PRESETS["smoke"])
    with pytest.raises(UserError, match=r"swept.*targett"):
        curves.trace(made, seeds=2, calls=4, points=2, targett=[0.1])
    with pytest.raises(UserError, match="as many values"):
        curves.trace(made, seeds=2, calls=4, points=2, target=[0.1, 0.2], sigma=[0.1])
    with pytest.raises(UserError, match="at least two runs"):
        curves.trace(made, seeds=1, calls=4, points=2)
    with pytest.raises(UserError, match="calls"):
        curves.trace(made, seeds=2, calls=1, points=2)


def test_budgets_shrink(monkeypatch):
    monkeypatch.delenv(curves.SCALE, raising=False)
    assert curves.budget(100) == 100
    monkeypatch.setenv(curves.SCALE, "0.1")
    assert curves.budget(100) == 10 and curves.budget(4, 2) == 2
    for bad in ("much", "2", "nan"):
        monkeypatch.setenv(curves.SCALE, bad)
        with pytest.raises(UserError, match=curves.SCALE):
            curves.budget(100)
