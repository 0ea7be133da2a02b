"""``jaxpsn.make``: pure functions that jit, vmap and scan, over keys and over traced hyper-parameters."""

import jax
import numpy as np
import pytest

import jaxpsn
from jaxpsn.api.sweeps import sweep
from jaxpsn.core.errors import UserError
from jaxpsn.run.checkpoints.store import digest

STEPS = 12


@pytest.fixture(scope="module")
def made():
    return jaxpsn.make(preset="smoke")


@pytest.fixture(scope="module")
def advance(made):
    _, step = made
    return lambda state: jax.lax.scan(lambda state, _: step(state), state, None, length=STEPS)


@pytest.mark.usefixtures("optimised")
def test_it_is_the_run_that_train_makes(made, advance):
    init, step = made
    state, metrics = jax.jit(advance)(init(jax.random.key(3)))
    run = jaxpsn.train(preset="smoke", steps=STEPS * 8, seed=3, warmup=64, progress="none", eval_every=0)
    assert step.environment_steps == 8 and metrics["reward"].shape == (STEPS,)
    assert digest(state) == digest(run.state)


def test_vmapped_over_keys_it_equals_single_runs(made, advance):
    init, step = made
    keys = jax.vmap(jax.random.key)(np.arange(2, dtype=np.uint32))
    states = jax.vmap(init, out_axes=init.axes)(keys)
    many = jax.jit(jax.vmap(advance, in_axes=(step.axes,), out_axes=(step.axes, 0)))
    together = many(states)[0]
    assert together.clock == STEPS
    for index in range(2):
        alone = jax.jit(advance)(init(keys[index]))[0]
        for one, all_runs in zip(jax.tree.leaves(alone.learner), jax.tree.leaves(together.learner), strict=True):
            np.testing.assert_allclose(one, all_runs[index], rtol=1e-4, atol=1e-6)


def test_traced_hyper_parameters_are_data(made):
    init, _ = made
    assert init.hyper["explore.sigma"] == pytest.approx(0.05)
    key = jax.random.key(0)
    states = jax.vmap(init, in_axes=(None, 0))(key, {"sigma": np.array([0.1, 0.4], np.float32)})
    np.testing.assert_allclose(states.hyper["explore.sigma"], [0.1, 0.4])
    np.testing.assert_allclose(states.hyper["explore.scale.target"], [0.2, 0.2], rtol=1e-6)
    with pytest.raises(UserError, match=r"hyper = 'sigm': unknown; nearest: .*explore.sigma"):
        init(key, {"sigm": 1})


def test_a_policy_can_be_judged(made):
    init, step = made
    found = jax.jit(step.evaluate)(jax.random.key(1), init(jax.random.key(0)))
    assert np.isfinite(found["eval_return"])


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"env\.name = 'nope'"):
        jaxpsn.make("nope")
    with pytest.raises(UserError, match="steps = 0"):
        jaxpsn.make(preset="smoke", steps=0)


def test_a_sweep_is_one_program_whose_runs_are_those_of_single_ones():
    values = {"target": [0.1, 0.3], "sigma": [0.1, 0.2]}
    found = sweep(preset="smoke", values=values, steps=320, seeds=2, points=4)
    assert found.metrics["sigma"].shape == (2, 2, 4) and found.steps.tolist() == [80, 160, 240, 320]
    np.testing.assert_allclose(found.metrics["target"][:, :, -1], [[0.1] * 2, [0.3] * 2], rtol=1e-6)
    assert found.last("eval_return").shape == (2, 2)
    policy, seen = found.policy(1, 0), found.observations(1, 0)
    assert seen.shape == (16 * 8, 1) and policy(seen).shape == (128, 1)
    alone = jaxpsn.train(
        preset="smoke", steps=320, explore={"target": 0.3, "sigma": 0.2}, progress="none", replay_capacity=320
    )
    np.testing.assert_allclose(policy(seen), alone.policy(seen), rtol=1e-3, atol=1e-5)
    for call, said in ((lambda: found.policy(2), "value = 2"), (lambda: found.last("sigm"), "metric = 'sigm'")):
        with pytest.raises(UserError, match=said):
            call()
