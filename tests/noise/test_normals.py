"""Normal numbers: their values against float64, and the same bits however an array is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jaxpsn.noise.normals import normal

KEY = jax.random.key(11)
SIZES = (1, 2, 3, 5, 7, 11, 13, 17, 23, 31, 37)


def test_they_are_the_quantiles_of_their_uniform_numbers():
    count = 1 << 20
    low = np.nextafter(np.float32(-1), np.float32(0))
    u = np.asarray(jax.random.uniform(KEY, (count,), jnp.float32, low, 1.0), np.float64)
    drawn = np.asarray(jax.jit(normal, static_argnums=1)(KEY, (count,)), np.float64)
    wanted = np.where(u < 0, scipy.stats.norm.ppf((1 + u) / 2), -scipy.stats.norm.ppf((1 - u) / 2))
    assert np.abs(wanted).max() > 4.5, "the tails are there"
    np.testing.assert_allclose(drawn, wanted, rtol=2e-6, atol=1e-9)


def test_what_is_left_over_of_a_vector_is_rounded_as_the_rest():
    # Draws of another size begin with the same random bits, and end in vectors that are not full.
    whole = np.asarray(jax.jit(normal, static_argnums=1)(KEY, (4096,)))
    for size in SIZES:
        np.testing.assert_array_equal(np.asarray(jax.jit(normal, static_argnums=1)(KEY, (size,))), whole[:size])
    alone = jax.jit(lambda rows: jax.lax.map(lambda row: normal(jax.random.fold_in(KEY, row), (1,))[0], rows))
    rows = jnp.arange(4096, dtype=jnp.uint32)
    together = jax.jit(jax.vmap(lambda row: normal(jax.random.fold_in(KEY, row), (1,))[0]))
    np.testing.assert_array_equal(np.asarray(alone(rows)), np.asarray(together(rows)))
