"""NNX modules that write to themselves: what a call writes is dropped, everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxpsn import noise
from jaxpsn.core.compat import foreign

KEY = jax.random.key(2)


class Remembering(nnx.Module):
    """A recurrent core over time, a batch norm, dropout and a counter of calls."""

    def __init__(self, rngs):
        self.into = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.core = nnx.RNN(nnx.SimpleCell(4, 5, rngs=rngs))
        self.out = nnx.Linear(5, 2, rngs=rngs)
        self.calls = nnx.Variable(jnp.int32(0))

    def __call__(self, x):
        self.calls[...] = self.calls[...] + 1
        with foreign():
            return self.out(self.core(self.drop(nnx.tanh(self.norm(self.into(x))))[None])[0])


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_modules_that_write_are_planned_and_applied(mode):
    module = Remembering(nnx.Rngs(0))
    getattr(module, mode)()
    apply, params = noise.nnx_policy(module)
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(module, nnx.Not(nnx.RngState)))]
    x = jax.random.normal(KEY, (3, 6, 3))
    spec = noise.plan(apply, params, x[0])
    assert {"into/kernel", "out/kernel", "core/cell/dense_i/kernel"} <= set(spec.by_path)
    assert "norm/scale" in spec.left_alone
    run, kind = jax.jit(apply), noise.Flipout()
    first = run(params, x[0])
    np.testing.assert_array_equal(run(params, x[0]), first)  # nothing is remembered, the dropped units are the same
    draw = kind.init(KEY, spec, 3)
    act = jax.jit(noise.fused(apply, spec, kind))
    for sigma in (0.0, 0.2):
        want = [run(kind.materialise(params, draw, sigma, i), x[i]) for i in range(3)]
        np.testing.assert_allclose(act(params, draw, sigma, x), jnp.stack(want), rtol=1e-4, atol=1e-5)
    after = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(module, nnx.Not(nnx.RngState)))]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_module_may_go_on_without_the_policy():
    module = Remembering(nnx.Rngs(1))
    apply, params = noise.nnx_policy(module)
    x = jax.random.normal(KEY, (6, 3))
    run = jax.jit(apply)
    first = run(params, x)
    nnx.jit(lambda module, x: module(x))(module, x)
    assert int(module.calls[...]) == 1
    np.testing.assert_array_equal(jax.jit(lambda params, x: apply(params, x))(params, x), first)
