"""The weighted sum of all members' noise against the sum of what each member is perturbed by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.core.errors import UserError
from tests.noise.models import KINDS, MODELS

MEMBERS = 6
KEY = jax.random.key(11)
WEIGHTS = np.random.default_rng(0).normal(size=MEMBERS).astype(np.float32)

# Every structure on dense layers; einsums with an ensemble axis, and scanned layers, with a few.
PAIRS = [(law, "mlp") for law in KINDS if law not in ("rank3_sign", "dense_bf16")]
PAIRS += [("flipout_sign", "einsum"), ("input_gain", "einsum"), ("flipout", "attention")]


def drawn(name, kind):
    model = MODELS[name]()
    spec = noise.plan(model.apply, model.params, model.input_of(KEY), model.select)
    return model.params, kind.init(KEY, spec, MEMBERS)


@pytest.mark.parametrize(("law", "name"), PAIRS)
def test_it_is_the_sum_over_members(law, name):
    params, draw = drawn(name, KINDS[law])
    total = jax.jit(noise.superpose)(params, draw, jnp.asarray(WEIGHTS))
    thetas = jax.vmap(lambda i: draw.kind.materialise(params, draw, 1.0, i))(jnp.arange(MEMBERS))
    expected = jax.tree.map(
        lambda noisy, clean: np.tensordot(np.float64(WEIGHTS), np.float64(noisy) - np.float64(clean)[None], 1),
        thetas,
        params,
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), total, expected)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(total))
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(total)) > 1.0


@pytest.mark.parametrize("law", ["dense", "flipout", "rank1"])
def test_wide_layers_and_mirrored_members(law):
    """Kronecker bases, and pairs of one weight, which cancel."""
    kind = type(KINDS[law])(**({"antithetic": True} | ({"dense_head": False} if law == "rank1" else {})))
    matrix = jnp.zeros((128, 96))
    spec = noise.plan(lambda w, x: x @ w, matrix, jnp.zeros(128), select=noise.everything)
    draw = kind.init(KEY, spec, MEMBERS)
    weights = jnp.array([1.0, -2.0, 0.5, 0.5, -3.0, -3.0])
    expected = 3.0 * np.asarray(kind.materialise(matrix, draw, 1.0, member=0), np.float64)
    np.testing.assert_allclose(noise.superpose(matrix, draw, weights), expected, atol=1e-4)


def test_factors_are_summed_without_forming_any_members_matrix():
    members, sizes = 64, (128, 128)
    params = jnp.zeros(sizes)
    spec = noise.plan(lambda w, x: x @ w, params, jnp.zeros(128), select=noise.everything)
    for kind in (noise.LowRank(), noise.Flipout()):
        draw = jax.eval_shape(lambda kind=kind: kind.init(KEY, spec, members))
        made = jax.jit(noise.superpose).lower(params, draw, jnp.zeros(members)).compile()
        assert made.memory_analysis().temp_size_in_bytes < members * 128 * 128 * 4 / 8, kind


def test_refusals():
    params, draw = drawn("mlp", noise.Dense())
    with pytest.raises(UserError, match="one for each of the 6 members"):
        noise.superpose(params, draw, jnp.zeros(5))
    with pytest.raises(UserError, match="planned, but not in these parameters"):
        noise.superpose({"other": jnp.zeros(3)}, draw, jnp.zeros(6))
    with pytest.raises(UserError, match="the planned shape"):
        noise.superpose(jax.tree.map(lambda x: x[..., None], params), draw, jnp.zeros(6))
