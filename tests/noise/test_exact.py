"""Sigma zero is clean bit for bit for convolutions of every layout; wide weights keep their width."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxpsn import noise
from tests.noise.models import KINDS

KEY = jax.random.key(9)
PADS = ((1, 0), (0, 1))
CONVOLUTIONS = {
    "channels first": dict(dims=("NCHW", "OIHW", "NCHW")),
    "channels last": dict(dims=("NHWC", "HWIO", "NHWC")),
    "mixed": dict(dims=("NCHW", "HWIO", "NHWC")),
    "reversed": dict(dims=("WHCN", "IOWH", "CWHN")),
    "groups": dict(dims=("NCHW", "OIHW", "NCHW"), feature_group_count=2),
    "depthwise": dict(dims=("NHWC", "HWIO", "NHWC"), feature_group_count=4),
    "strided": dict(dims=("NCHW", "OIHW", "NCHW"), window_strides=(2, 1)),
    "dilated": dict(dims=("NCHW", "OIHW", "NCHW"), rhs_dilation=(2, 2)),
    "transposed": dict(dims=("NCHW", "OIHW", "NCHW"), lhs_dilation=(2, 2)),
}


def convolution(form):
    settings = dict(window_strides=(1, 1), padding=PADS, feature_group_count=1) | CONVOLUTIONS[form]
    dims = settings.pop("dims")
    inputs = 4 // settings["feature_group_count"]
    kernel = jax.random.normal(KEY, (8, inputs, 3, 3)).transpose(["OIHW".index(axis) for axis in dims[1]])
    shape = tuple({"N": 1, "C": 4, "H": 9, "W": 8}[axis] for axis in dims[0])

    def apply(params, x):
        h = lax.conv_general_dilated(x, params["kernel"], dimension_numbers=dims, **settings)
        return jnp.tanh(h).ravel() @ params["out"]

    def size(x):
        return lax.conv_general_dilated(x, kernel, dimension_numbers=dims, **settings)

    count = jax.eval_shape(size, jnp.zeros(shape)).size
    return apply, {"kernel": kernel, "out": jax.random.normal(KEY, (count, 2))}, shape


@pytest.mark.parametrize("form", CONVOLUTIONS)
def test_sigma_zero_is_clean_bit_for_bit(form):
    apply, params, shape = convolution(form)
    x = jax.random.normal(KEY, (3, *shape))
    clean = np.asarray(jax.jit(jax.vmap(apply, (None, 0)))(params, x))
    spec = noise.plan(apply, params, x[0])
    kind = noise.Flipout()
    draw, act = kind.init(KEY, spec, 3), noise.fused(apply, spec, kind)
    # With arguments, and with constants that the compiler could compute with.
    np.testing.assert_array_equal(jax.jit(act)(params, draw, 0.0, x), clean)
    np.testing.assert_array_equal(jax.jit(lambda sigma: act(params, draw, sigma, x))(0.0), clean)
    moved = jax.jit(lambda sigma: act(params, draw, sigma, x))(0.2)
    want = jnp.stack([apply(kind.materialise(params, draw, 0.2, i), x[i]) for i in range(3)])
    np.testing.assert_allclose(moved, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("law", ["dense", "rank1", "factorised", "input_gain", "flipout_normal"])
def test_sigma_zero_is_clean_for_other_structures(law):
    apply, params, shape = convolution("channels first")
    x = jax.random.normal(KEY, (3, *shape))
    spec, kind = noise.plan(apply, params, x[0]), KINDS[law]
    draw, act = kind.init(KEY, spec, 3), noise.fused(apply, spec, kind)
    clean = jax.jit(jax.vmap(apply, (None, 0)))(params, x)
    np.testing.assert_array_equal(jax.jit(lambda sigma: jax.jit(act)(params, draw, sigma, x))(0.0), clean)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16])
def test_weights_keep_their_width(dtype):
    with jax.enable_x64(True):
        params = {"w": jax.random.normal(KEY, (6, 3)).astype(dtype), "table": jnp.ones((5, 6), dtype) / 3}
        select = noise.everything

        def apply(params, i):
            return params["table"][i] @ params["w"]

        spec = noise.plan(apply, params, jnp.zeros((2,), jnp.int32), select)
        for kind in (noise.Flipout(), noise.Dense(), noise.LowRank(rank=1, dense_head=False), noise.InputGain()):
            draw = kind.init(KEY, spec, 2)
            still = kind.materialise(params, draw, 0.0, 0)
            assert all(leaf.dtype == dtype for leaf in still.values())
            np.testing.assert_array_equal(still["w"], params["w"])
            np.testing.assert_array_equal(still["table"], params["table"])
            # Noise far below the last bit of float32 still counts in float64, in both forms.
            theta = kind.materialise(params, draw, 1e-9, 1)
            assert bool(jnp.any(theta["w"] != params["w"])) == (dtype == jnp.float64)
            ids = jnp.array([[0, 3], [1, 4]], jnp.int32)
            got = noise.fused(apply, spec, kind)(params, draw, 1e-9, ids)[1]
            assert got.dtype == dtype
            if dtype == jnp.float64:
                np.testing.assert_allclose(got, apply(theta, ids[1]), rtol=0, atol=1e-14)
