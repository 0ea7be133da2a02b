import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn.control import statistics


def _run(batches):
    state, update = statistics.init(batches[0].shape[1]), jax.jit(statistics.update)
    for batch in batches:
        state = update(state, jnp.asarray(batch, jnp.float32))
    return state


def test_merged_batches_are_the_whole():
    rng = np.random.default_rng(0)
    batches = [rng.normal([1e3, -2, 0], [1, 5, 1e-3], size=(n, 3)) for n in (1, 7, 64, 64, 3)]
    state, whole = _run(batches), np.concatenate(batches).astype(np.float32).astype(np.float64)
    assert state.count == len(whole)
    np.testing.assert_allclose(state.mean, whole.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(state.variance, whole.var(0), rtol=1e-3)


def test_float32_survives_a_far_mean_and_many_batches():
    rng = np.random.default_rng(1)
    batches = rng.normal(1e3, 1, size=(4000, 8, 1))
    state = jax.jit(lambda b: jax.lax.scan(lambda s, x: (statistics.update(s, x), None), statistics.init(1), b)[0])(
        jnp.asarray(batches, jnp.float32)
    )
    np.testing.assert_allclose(state.mean, batches.mean(), rtol=1e-6)
    np.testing.assert_allclose(state.variance, batches.var(), rtol=0.01)


def test_normalised_values_have_unit_scale_and_a_clip():
    x = np.random.default_rng(2).normal(3, 2, size=(1000, 1)).astype(np.float32)
    state = _run([x])
    out = np.asarray(statistics.normalise(state, jnp.asarray(x), 2.0))
    np.testing.assert_allclose(out, np.clip((x - x.mean()) / x.std(), -2, 2), atol=1e-4)
    assert np.abs(out).max() == 2


def test_a_dimension_that_never_moves_becomes_zero():
    state = _run([np.full((5, 2), 0.3)])
    assert np.all(np.abs(statistics.normalise(state, jnp.full((5, 2), 0.3), 10.0)) < 1e-4)
