"""fused == vmap(apply . materialise), forward and gradient, for every structure and every kind of model."""

import chex
import jax
import jax.numpy as jnp
import pytest

from jaxpsn import noise
from tests.noise.models import KINDS, MODELS

MEMBERS = 4
KEY = jax.random.key(5)


def built(model, kind, relative=False):
    spec = noise.plan(model.apply, model.params, model.input_of(KEY), model.select, relative)
    draw = kind.init(KEY, spec, MEMBERS)
    x = jax.vmap(model.input_of)(jax.random.split(KEY, MEMBERS))
    return spec, draw, x


def reference(model, kind, params, draw, sigma, x):
    def one(member, x):
        return model.apply(kind.materialise(params, draw, sigma, member), x)

    return jax.vmap(one)(jnp.arange(MEMBERS), x)


def outputs_and_gradients(forward, params, sigma, x):
    def loss(params, sigma, x):
        out = forward(params, sigma, x)
        return jnp.sum(jnp.sin(1.7 * out)), out

    floating = jnp.issubdtype(x.dtype, jnp.floating)
    (_, out), grads = jax.value_and_grad(loss, (0, 1, 2) if floating else (0, 1), has_aux=True)(params, sigma, x)
    return out, grads


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("law", KINDS)
def test_fused_is_the_materialised_forward_and_gradient(law, name):
    model, kind = MODELS[name](), KINDS[law]
    spec, draw, x = built(model, kind)
    act = noise.fused(model.apply, spec, kind)
    sigma = jnp.linspace(0.1, 0.4, MEMBERS)
    fast = jax.jit(lambda p, s, x: outputs_and_gradients(lambda *a: act(a[0], draw, a[1], a[2]), p, s, x))
    slow = jax.jit(lambda p, s, x: outputs_and_gradients(lambda *a: reference(model, kind, a[0], draw, a[1], a[2]), p, s, x))
    got, want = fast(model.params, sigma, x), slow(model.params, sigma, x)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, want)
    for path, fast_leaf in jax.tree_util.tree_leaves_with_path(got):
        slow_leaf = dict(jax.tree_util.tree_leaves_with_path(want))[path]
        scale = 1e-3 + float(jnp.linalg.norm(slow_leaf))
        assert float(jnp.linalg.norm(fast_leaf - slow_leaf)) < 1e-3 * scale, path
    clean = jax.vmap(model.apply, (None, 0))(model.params, x)
    assert float(jnp.max(jnp.abs(clean - got[0]))) > 1e-2
