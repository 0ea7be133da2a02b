"""Noise is a function of (seed, counter, member, path), and a redraw touches nothing else."""

import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.core.errors import UserError
from tests.noise.models import KINDS, MODELS

KEY = jax.random.key(11)
SHAPES = {"a": {"kernel": (16, 16), "bias": (16,)}, "b": {"kernel": (16, 16), "bias": (16,)}}


def square(params, x):
    for name in ("a", "b"):
        x = jnp.tanh(x @ params[name]["kernel"] + params[name]["bias"])
    return x


def square_spec():
    params = jax.tree.map(jnp.zeros, SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    return params, noise.plan(square, params, jnp.zeros(16))


def formed(kind, draw, members):
    """E of the first members, leaves ``[members, ...]``: materialised from zero weights (from ones for InputGain)."""
    start = float(isinstance(kind, noise.InputGain))
    params = jax.tree.map(lambda x: x + start, square_spec()[0])
    whole = jax.jit(jax.vmap(lambda draw, member: kind.materialise(params, draw, 1.0, member), (None, 0)))
    return jax.tree.map(lambda x: np.asarray(x, np.float64) - start, whole(draw, jnp.arange(members)))


@pytest.mark.parametrize("law", KINDS)
def test_redraw_changes_only_where(law):
    kind, (_, spec) = KINDS[law], square_spec()
    members = 200  # more than one block of the block-wise redraw
    draw = kind.init(KEY, spec, members)
    redraw = jax.jit(kind.redraw)
    where = jnp.arange(members) % 7 == 3
    new = redraw(KEY, draw, where)
    chosen = np.asarray(where)
    for old, fresh in zip(jax.tree.leaves(draw.noise), jax.tree.leaves(new.noise), strict=True):
        old, fresh = np.asarray(old), np.asarray(fresh)
        np.testing.assert_array_equal(old[~chosen].tobytes(), fresh[~chosen].tobytes())
        assert np.all(np.any((old != fresh).reshape(members, -1), axis=1) == chosen)
    assert np.all(np.asarray(new.counter).reshape(members, -1) == chosen[:, None])
    chex.assert_trees_all_equal(redraw(KEY, draw, jnp.zeros(members, bool)), draw)
    # Everyone at once gives the members of `where` what they got alone: no dependence on company.
    everyone = redraw(KEY, draw, jnp.ones(members, bool))
    chex.assert_trees_all_equal(
        jax.tree.map(lambda x: x[chosen], everyone.noise), jax.tree.map(lambda x: x[chosen], new.noise)
    )
    chex.assert_trees_all_equal(
        jax.tree.map(lambda x: x[:3], kind.init(KEY, spec, 3).noise), jax.tree.map(lambda x: x[:3], draw.noise)
    )


@pytest.mark.parametrize("law", ["flipout", "rank1", "dense"])
def test_redraw_under_vmap_over_seeds_equals_each_seed_alone(law):
    kind, (_, spec) = KINDS[law], square_spec()
    keys, members = jax.random.split(KEY, 3), 150
    draws = jax.vmap(lambda key: kind.init(key, spec, members))(keys)
    where = jax.random.bernoulli(KEY, 0.1, (3, members)).at[1].set(False)
    together = jax.jit(jax.vmap(kind.redraw))(keys, draws, where)
    for seed in range(3):
        alone = kind.redraw(keys[seed], jax.tree.map(lambda x, seed=seed: x[seed], draws), where[seed])
        chex.assert_trees_all_equal(jax.tree.map(lambda x, seed=seed: x[seed], together), alone)


@pytest.mark.parametrize("law", KINDS)
def test_leaves_members_counters_and_keys_get_unequal_noise(law):
    kind, (_, spec) = KINDS[law], square_spec()
    members = 40
    draw = kind.init(KEY, spec, members)
    again = kind.redraw(KEY, draw, jnp.ones(members, bool))
    other = kind.init(jax.random.key(12), spec, members)

    e, redrawn, from_another_key = (
        {name: leaf["kernel"].reshape(members, -1) for name, leaf in formed(kind, one, members).items()}
        for one in (draw, again, other)
    )
    a = e["a"]
    pairs = [(a, e["b"]), (a, redrawn["a"]), (a, from_another_key["a"]), (a, np.roll(a, 1, axis=0))]
    for left, right in pairs:
        # Per member the inner product of unit-variance matrices; its mean over members vanishes.
        products = (left * right).mean(axis=1)
        assert abs(products.mean()) < 0.35
        assert np.all(np.any(left != right, axis=1))


def test_scanned_slices_get_unequal_noise():
    model = MODELS["attention"]()
    spec = noise.plan(model.apply, model.params, jnp.zeros((6, 8)))
    for law in ("flipout", "rank2_head", "dense"):
        draw = KINDS[law].init(KEY, spec, 2)
        for path, state in draw.noise.items():
            for leaf in jax.tree.leaves(state):
                if leaf[0, 0].size > 4:
                    assert not np.array_equal(leaf[0, 0], leaf[0, 1]), path


@pytest.mark.parametrize("law", KINDS)
def test_antithetic_members_mirror_each_other(law):
    kind = type(KINDS[law])(**{**vars(KINDS[law]), "antithetic": True})
    _, spec = square_spec()
    draw = kind.init(KEY, spec, 6)
    again = kind.redraw(KEY, draw, jnp.ones(6, bool))
    for one in (draw, again):
        e = formed(kind, one, 6)
        even, odd = (jax.tree.map(lambda x, first=first: x[first::2], e) for first in (0, 1))
        chex.assert_trees_all_close(even, jax.tree.map(lambda x: -x, odd), rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="even"):
        kind.init(KEY, spec, 5)


def test_the_two_factors_and_a_leaf_renamed_do_not_share_numbers():
    _, spec = square_spec()
    draw = noise.LowRank(rank=1, dense_head=False).init(KEY, spec, 50)
    state = draw.noise["a/kernel"]
    corr = np.corrcoef(np.asarray(state["out"]).ravel(), np.asarray(state["in"]).ravel())[0, 1]
    assert abs(corr) < 0.15
    assert not np.any(np.isin(np.asarray(state["out"]), np.asarray(state["in"])))


def test_a_leaf_keeps_its_noise_when_others_are_added_or_left_out():
    params, spec = square_spec()
    only = noise.plan(square, params, jnp.zeros(16), select=noise.matching("b/kernel"))
    for kind in (noise.Flipout(), noise.LowRank(), noise.Dense()):
        whole, part = kind.init(KEY, spec, 4), kind.init(KEY, only, 4)
        chex.assert_trees_all_equal(whole.noise["b/kernel"], part.noise["b/kernel"])


def test_flipout_state_of_the_control_policy_is_136_bytes():
    shapes = {"0": (27, 256), "1": (256, 256), "2": (256, 8)}
    params = {name: {"kernel": jnp.zeros(shape), "bias": jnp.zeros(shape[1])} for name, shape in shapes.items()}

    def apply(params, x):
        for layer in params.values():
            x = x @ layer["kernel"] + layer["bias"]
        return x

    spec = noise.plan(apply, params, jnp.zeros(27))
    kind = noise.Flipout()
    assert sum(map(kind.state_bytes, spec.leaves)) == 136
    assert sum(x.nbytes for x in jax.tree.leaves(kind.init(KEY, spec, 8).noise)) == 8 * 136
    assert "136" in noise.spec_summary(spec, kind)


def test_draw_survives_flattening_and_bad_keys_are_refused():
    _, spec = square_spec()
    for kind in KINDS.values():
        draw = kind.init(KEY, spec, 3)
        leaves, tree = jax.tree.flatten(draw)
        assert all(isinstance(leaf, jax.Array) for leaf in leaves)
        back = jax.tree.unflatten(tree, [jnp.asarray(np.asarray(leaf)) for leaf in leaves])
        everyone = jnp.ones(3, bool)
        chex.assert_trees_all_equal(kind.redraw(KEY, back, everyone), kind.redraw(KEY, draw, everyone))
    with pytest.raises(UserError, match="typed key"):
        kind.init(jax.random.PRNGKey(0), spec, 3)
    with pytest.raises(UserError, match="rbg"):
        kind.init(jax.random.key(0, impl="rbg"), spec, 3)


LAYOUT = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxpsn import noise
params = {"a": 0.1 * jnp.arange(30.0).reshape(5, 6), "b": jnp.ones(6)}
apply = lambda params, x: jnp.tanh(x @ params["a"] + params["b"])
x = jnp.sin(jnp.arange(40.0)).reshape(8, 5)
key = jax.random.key(3)
spec = noise.plan(apply, params, x[0])
for kind in (noise.Flipout(), noise.LowRank(rank=2, dense_head=False), noise.Dense(), noise.InputGain()):
    act = jax.jit(noise.fused(apply, spec, kind))
    redraw = jax.jit(kind.redraw)
    where = jnp.arange(8) % 3 == 0
    draw = redraw(key, kind.init(key, spec, 8), where)
    want = jax.block_until_ready(act(params, draw, 0.3, x))
    for axis_type in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((4,), ("member",), axis_types=(axis_type,))
        rows = NamedSharding(mesh, P("member"))
        with jax.set_mesh(mesh):
            first = jax.block_until_ready(jax.device_put(kind.init(key, spec, 8), rows))
            spread = jax.block_until_ready(redraw(key, first, jax.device_put(where, rows)))
            for a, b in zip(jax.tree.leaves(draw), jax.tree.leaves(spread), strict=True):
                np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
            got = jax.block_until_ready(act(params, spread, jnp.float32(0.3), jax.device_put(x, rows)))
            assert got.sharding.is_equivalent_to(rows, 2), got.sharding
            np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-6, atol=1e-6)
print("equal")
"""


@pytest.mark.usefixtures("optimised")
def test_noise_is_independent_of_the_device_layout():
    done = subprocess.run([sys.executable, "-c", LAYOUT], capture_output=True, text=True, timeout=200)
    assert done.stdout.strip() == "equal", done.stderr[-3000:]
