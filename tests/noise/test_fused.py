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


# Every structure on the models that use every rule of the interpreter; every model with two structures.
PAIRS = [(law, name) for name in MODELS for law in KINDS]
PAIRS = [
    (law, name)
    for law, name in PAIRS
    if name in ("mlp", "einsum")
    or law in ("flipout", "rank2_head")
    or (name == "attention" and law in ("flipout_sign", "dense", "pink_rank2"))
    or (name == "tied" and law in ("factorised", "input_gain", "flipout_normal", "pink_flipout"))
]


@pytest.mark.parametrize(("law", "name"), PAIRS)
def test_fused_is_the_materialised_forward_and_gradient(law, name):
    model, kind = MODELS[name](), KINDS[law]
    _, draw, x = built(model, kind)
    act = noise.fused(model.apply, draw.spec, kind)
    sigma = jnp.linspace(0.1, 0.4, MEMBERS)

    def fast(params, sigma, x):
        return outputs_and_gradients(lambda p, s, x: act(p, draw, s, x), params, sigma, x)

    def slow(params, sigma, x):
        return outputs_and_gradients(lambda p, s, x: reference(model, kind, p, draw, s, x), params, sigma, x)

    got, want = jax.jit(fast)(model.params, sigma, x), jax.jit(slow)(model.params, sigma, x)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, want)
    # Some gradients are zero but for rounding (a key's bias), so each is measured against the largest.
    for fast_tree, slow_tree in zip(got, want, strict=True):
        scale = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(slow_tree))
        chex.assert_trees_all_close(fast_tree, slow_tree, rtol=0, atol=1e-4 * scale)
    clean = jax.vmap(model.apply, (None, 0))(model.params, x)
    assert float(jnp.max(jnp.abs(clean - got[0]))) > 1e-2


def test_an_accelerators_program_is_the_same_but_for_the_precision_of_its_products(monkeypatch):
    params = {"first": (4, 64), "second": (64, 64), "head": (64, 2)}
    params = {name: jax.random.normal(KEY, shape) / shape[0] ** 0.5 for name, shape in params.items()}

    def apply(params, x):
        return jnp.tanh(jnp.tanh(x @ params["first"]) @ params["second"]) @ params["head"]

    spec, kind = noise.plan(apply, params, jnp.zeros(4)), noise.Flipout()
    draw, x = kind.init(KEY, spec, MEMBERS), jax.random.normal(KEY, (MEMBERS, 4))
    act = noise.fused(apply, spec, kind, exact_zero=False)

    def run(params, sigma, x):
        return outputs_and_gradients(lambda p, s, x: act(p, draw, s, x), params, sigma, x)

    sigma = jnp.full((MEMBERS,), 0.1)
    want = run(params, sigma, x)
    taken = []

    def elsewhere(*operands, default, **by_platform):
        taken.append(default)
        return default(*operands)

    monkeypatch.setattr(jax.lax, "platform_dependent", elsewhere)
    jax.clear_caches()
    # The first layer's clean product, and three of the noise.
    chex.assert_trees_all_close(run(params, sigma, x), want, rtol=0.02, atol=0.02)
    assert len(taken) == 4
    with jax.default_matmul_precision("highest"):
        chex.assert_trees_all_close(run(params, sigma, x), want, rtol=1e-4, atol=1e-5)
