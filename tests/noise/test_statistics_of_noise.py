"""Moments of every structure by Monte Carlo: equal covariance, and the tails of perturbations.md."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.noise.signs import apply_fixed, fixed_matrix, fixed_rows, uses_kronecker

SIDE, DRAWS = 64, 8000
KEY = jax.random.key(2)


def pair_of_inputs():
    """Two unit-scale inputs with a known inner product."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, SIDE))
    y = 0.53 * x / np.linalg.norm(x) + 0.85 * y / np.linalg.norm(y)
    return np.stack([x / np.linalg.norm(x), y / np.linalg.norm(y)])


def responses(kind, shape=(SIDE, SIDE), draws=DRAWS):
    """delta[draw, input, unit] of one layer, through the fused path: weights are zero, sigma is one."""
    params = {"kernel": jnp.zeros(shape)}
    apply = jax.jit(lambda p, x: x @ p["kernel"])
    spec = noise.plan(apply, params, jnp.zeros(shape[0]), select=noise.matching("kernel"))
    act = jax.jit(noise.fused(apply, spec, kind))
    inputs = jnp.asarray(pair_of_inputs()[:, : shape[0]], jnp.float32)
    draw = kind.init(KEY, spec, draws)
    return np.asarray(act(params, draw, 1.0, jnp.broadcast_to(inputs, (draws, *inputs.shape))), np.float64)


# kurtosis, corr of squares, variance of the layer scale, mean |cos| at two inputs (perturbations.md 3.2)
EXPECTED = {
    "dense": (noise.Dense(), 3.0, 0.0, 2 / SIDE),
    "flipout": (noise.Flipout(), 3.0, 0.0, 0.0),
    "flipout_sign": (noise.Flipout(base="sign"), 3.0, 0.0, 2 / SIDE),
    "rank1": (noise.LowRank(rank=1, dense_head=False), 9.0, 0.25, 2.1),
    "rank4": (noise.LowRank(rank=4, dense_head=False), 4.5, 1 / 7, 0.55),
    "rank1_sign": (noise.LowRank(rank=1, factors="sign", dense_head=False), 3.0, 1.0, 2.0),
    "factorised": (noise.Factorised(), 3 * np.pi / 2, 0.53, 2.0),
}


@pytest.mark.parametrize("law", EXPECTED)
def test_covariance_and_tails(law):
    kind, kurtosis, square_corr, scale_variance = EXPECTED[law]
    delta, inputs = responses(kind), pair_of_inputs()
    gram = inputs @ inputs.T
    # Cov[delta_k(x), delta_l(x')] = 1{k=l} <x, x'>, over all pairs of inputs and units.
    covariance = np.einsum("nik,njl->ijkl", delta, delta) / DRAWS
    want = np.einsum("ij,kl->ijkl", gram, np.eye(SIDE))
    spread = np.sqrt(kurtosis / DRAWS)
    assert np.abs(covariance - want).max() < 7 * spread
    diagonal = np.einsum("iikk->ik", covariance).mean(axis=1)
    np.testing.assert_allclose(diagonal, 1.0, atol=0.05 if scale_variance > 0.1 else 0.02)
    squares = delta[:, 0] ** 2
    measured = (squares**2).mean() / squares.mean() ** 2
    np.testing.assert_allclose(measured, kurtosis, rtol=0.2 if kurtosis > 4 else 0.05)
    centred = (squares - squares.mean(axis=0)) / squares.std(axis=0)
    corr = (np.square(centred.sum(axis=1)).mean() / SIDE - 1) / (SIDE - 1)
    np.testing.assert_allclose(corr, square_corr, atol=0.06 if square_corr else 0.02)
    np.testing.assert_allclose(squares.mean(axis=1).var(), scale_variance, atol=0.02, rtol=0.2)


@pytest.mark.parametrize(
    "kind",
    [
        noise.Dense(),
        noise.Flipout(),
        noise.Flipout(base="normal"),
        noise.LowRank(rank=2),
        noise.LowRank(rank=2, factors="signed_sqrt", dense_head=False),
        noise.Factorised(),
    ],
)
def test_every_entry_has_unit_variance_and_no_mean(kind):
    params = {"kernel": jnp.zeros((6, 8)), "bias": jnp.zeros(8)}
    spec = noise.plan(lambda p, x: x @ p["kernel"] + p["bias"], params, jnp.zeros(6))
    draws = 6000
    if isinstance(kind, noise.Flipout) and kind.base == "normal":
        # One shared base: the variance is over bases as well.
        keys = jax.random.split(KEY, draws)
        drawn = jax.vmap(lambda key: kind.materialise(params, kind.init(key, spec, 1), 1.0, 0))(keys)
    else:
        draw = kind.init(KEY, spec, draws)
        drawn = jax.vmap(lambda member: kind.materialise(params, draw, 1.0, member))(jnp.arange(draws))
    flat = np.concatenate([np.asarray(x, np.float64).reshape(draws, -1) for x in jax.tree.leaves(drawn)], axis=1)
    assert np.abs(flat.mean(axis=0)).max() < 5 / np.sqrt(draws)
    covariance = flat.T @ flat / draws
    assert np.abs(covariance - np.eye(flat.shape[1])).max() < 0.2
    np.testing.assert_allclose(np.diag(covariance).mean(), 1.0, atol=0.04)


def test_input_gain_has_relative_unit_variance():
    params = {"kernel": jnp.full((6, 8), 3.0)}
    spec = noise.plan(lambda p, x: x @ p["kernel"], params, jnp.zeros(6))
    draw = noise.InputGain().init(KEY, spec, 4000)
    drawn = jax.vmap(lambda member: noise.InputGain().materialise(params, draw, 1.0, member))(jnp.arange(4000))
    np.testing.assert_allclose(np.std(np.asarray(drawn["kernel"]) - 3.0, axis=0), 3.0, rtol=0.1)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(256, 256), (256, 64), (64, 256), (576, 192), (100, 70), (65, 300), (8, 33), (4, 20000), (7, 9)],
)
def test_fixed_base_is_the_same_applied_and_formed(rows, columns):
    seed = (5, 9)
    formed = np.asarray(fixed_rows(jnp.arange(rows), rows, columns, True, seed), np.float64)
    np.testing.assert_array_equal(np.abs(formed), 1)
    np.testing.assert_array_equal(fixed_matrix(rows, columns, seed), formed)
    np.testing.assert_array_equal(fixed_rows(jnp.arange(columns), rows, columns, False, seed), formed.T)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((3, columns)), rng.standard_normal((3, rows))
    straight = apply_fixed(jnp.asarray(x, jnp.float32), rows, columns, False, seed)
    turned = apply_fixed(jnp.asarray(y, jnp.float32), rows, columns, True, seed)
    np.testing.assert_allclose(straight, x @ formed.T, rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(turned, y @ formed, rtol=1e-4, atol=2e-3)
    if uses_kronecker(rows, columns) and min(rows, columns) >= 64:
        # Rows that repeat each other would make units move together.
        agreement = np.abs(formed @ formed.T / columns - np.eye(rows))
        assert np.sqrt(np.mean(agreement**2)) < 2.5 / np.sqrt(columns)
        assert agreement.max() < 0.999
