"""NoisyNet's layers: the published formula, gradients to means and scales, and the clean network beside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.core import errors
from jaxpsn.networks import Actor, noisy

OBS, A = 6, 2
ACTOR = Actor(A, (16, 8), head_scale=1.0)
CLEAN = ACTOR.init(jax.random.key(0), jnp.zeros(OBS))
# Scales that differ from weight to weight, as learning makes them.
PARAMS = noisy.widen(CLEAN, 0.5)
PARAMS["sigma"] = jax.tree.map(lambda x: x * jnp.linspace(-1.0, 2.0, x.size).reshape(x.shape), PARAMS["sigma"])
X = jax.random.normal(jax.random.key(1), (4, OBS))
KEY = jax.random.key(2)


def _formed(params, factors):
    """Weights ``mu + sigma o f(e_in) f(e_out)^T``, biases ``mu + sigma o f(e_out)``."""
    formed = {}
    for name, module in params["params"].items():
        path = ("head",) if name == "head" else (name, "dense")
        mu, sigma = (params[kind][name] if len(path) == 1 else params[kind][name]["dense"] for kind in params)
        drawn = factors["/".join(("params", *path, "kernel"))]
        layer = {
            "kernel": mu["kernel"] + sigma["kernel"] * drawn["in"][:, None] * drawn["out"][None],
            "bias": mu["bias"] + sigma["bias"] * drawn["out"],
        }
        formed[name] = layer if len(path) == 1 else {**module, "dense": layer}
    return {"params": formed}


def _draw(members):
    spec = noisy.plan(ACTOR.apply, PARAMS, X[0])
    return spec, noisy.KIND.init(KEY, spec, members)


def test_members_equal_the_formula_and_what_is_materialised():
    spec, draw = _draw(4)
    out = noisy.fused(ACTOR.apply, spec)(PARAMS, draw, X)
    for i in range(4):
        formed = _formed(PARAMS, jax.tree.map(lambda x, i=i: x[i], draw.noise))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), noisy.materialise(PARAMS, draw, i), formed
        )
        np.testing.assert_allclose(out[i], ACTOR.apply(formed, X[i]), atol=1e-5)
    assert (np.abs(np.asarray(out - ACTOR.apply(CLEAN, X))) > 1e-3).all()


def test_factors_are_signed_roots_of_normals():
    _, draw = _draw(3000)
    drawn = draw.noise["params/hidden_0/dense/kernel"]
    z = np.concatenate([np.asarray(drawn[side], np.float64).ravel() for side in ("in", "out")])
    normal = np.sign(z) * z**2
    np.testing.assert_allclose([normal.mean(), normal.std(), (normal**4).mean()], [0.0, 1.0, 3.0], atol=0.15)
    weights = np.asarray(drawn["in"], np.float64)[:, :, None] * np.asarray(drawn["out"], np.float64)[:, None]
    assert weights.std() == pytest.approx(np.sqrt(2 / np.pi), rel=0.02)
    assert set(draw.noise) == {f"params/{name}/kernel" for name in ("hidden_0/dense", "hidden_1/dense", "head")}


def test_gradients_reach_means_and_scales():
    spec, draw = _draw(4)

    def ours(params):
        return jnp.sum(jnp.square(noisy.fused(ACTOR.apply, spec)(params, draw, X)))

    def slow(params):
        rows = [
            ACTOR.apply(_formed(params, jax.tree.map(lambda x, i=i: x[i], draw.noise)), X[i]) for i in range(len(X))
        ]
        return jnp.sum(jnp.square(jnp.stack(rows)))

    gradient, expected = jax.jit(jax.grad(ours))(PARAMS), jax.jit(jax.grad(slow))(PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), gradient, expected)
    for leaf in jax.tree.leaves(gradient["sigma"]):
        assert bool(jnp.any(leaf != 0.0))


def test_scales_start_by_fan_in_beside_dense_layers_only():
    wide = noisy.widen(CLEAN, 0.5)
    assert set(wide["sigma"]) == {"hidden_0", "hidden_1", "head"} and set(wide["sigma"]["hidden_0"]) == {"dense"}
    for name, inputs in (("hidden_0", OBS), ("hidden_1", 16)):
        for leaf in wide["sigma"][name]["dense"].values():
            np.testing.assert_allclose(leaf, 0.5 / np.sqrt(inputs))
    assert float(noisy.scale(wide)) == pytest.approx(0.5)
    assert jax.tree.structure(wide["params"]) == jax.tree.structure(CLEAN["params"])


def test_the_network_itself_does_not_see_the_scales():
    np.testing.assert_array_equal(ACTOR.apply(PARAMS, X), ACTOR.apply(CLEAN, X))


def test_a_sample_is_one_draw_for_the_batch():
    out, again = (noisy.sample(ACTOR.apply, PARAMS, X, KEY) for _ in range(2))
    np.testing.assert_array_equal(out, again)
    assert (out != noisy.sample(ACTOR.apply, PARAMS, X, jax.random.key(9))).all()
    _, draw = _draw(1)
    weights = noisy.materialise(PARAMS, draw, 0)
    np.testing.assert_allclose(out, ACTOR.apply(weights, X), atol=1e-5)


def test_bfloat16_activations():
    half = ACTOR.clone(dtype=jnp.bfloat16)
    out, exact = (noisy.sample(actor.apply, PARAMS, X, KEY) for actor in (half, ACTOR))
    assert out.dtype == jnp.float32 and 0 < float(jnp.max(jnp.abs(out - exact))) < 0.1


def test_refuses_networks_that_are_not_of_dense_layers_and_parameters_without_scales():
    with pytest.raises(errors.UserError, match="collection sigma"):
        noisy.plan(ACTOR.apply, CLEAN, X[0])
    spec = noise.plan(lambda params, x: x * params["gain"], {"gain": jnp.ones(3)}, jnp.ones(3))
    with pytest.raises(errors.UserError, match="dense layers"):
        noisy.KIND.init(KEY, spec, 2)
