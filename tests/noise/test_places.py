"""Members keep who they are under shard_map and pmap, in parts and in other orders; act works where the net does."""

import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from tests.noise.models import KINDS

KEY = jax.random.key(4)
PARAMS = {"a": jnp.ones((9, 7)), "b": jnp.zeros(7)}


def layer(params, x):
    return jnp.tanh(x @ params["a"] + params["b"])


def spec():
    return noise.plan(layer, PARAMS, jnp.zeros(9))


def taken(draw, places):
    """Members at these places; what all share is kept."""
    cut = jax.tree.map(lambda x: x[places], draw.replace(base={}))
    return cut.replace(base=draw.base)


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("law", KINDS)
def test_members_cut_out_or_moved_keep_their_noise(law, antithetic):
    kind = type(KINDS[law])(**{**vars(KINDS[law]), "antithetic": antithetic})
    draw, everyone = kind.init(KEY, spec(), 6), jnp.ones(6, bool)
    again = kind.redraw(KEY, draw, everyone)
    for places in ([3], [4, 1, 2], [5, 4, 3, 2, 1, 0]):
        part = taken(draw, jnp.array(places))
        chex.assert_trees_all_equal(kind.redraw(KEY, part, True), taken(again, jnp.array(places)))
    halves = [kind.redraw(KEY, taken(draw, jnp.arange(3) + start), True) for start in (0, 3)]
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *(half.replace(base={}) for half in halves))
    chex.assert_trees_all_equal(joined.replace(base=draw.base), again)
    # First drawn with these numbers, they are the same as in the company of all.
    chex.assert_trees_all_equal(kind.init(KEY, spec(), jnp.array([4, 1, 2])), taken(draw, jnp.array([4, 1, 2])))


def test_a_layout_of_the_counter_is_one_of_the_numbers():
    draw = noise.Flipout().init(KEY, spec(), 4)
    rows = jax.sharding.PartitionSpec("data")
    assert draw.replace(counter=rows).number is rows
    assert draw.replace(counter=draw.counter + 1).number is draw.number


PLACES = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from jax.sharding import AxisType, PartitionSpec as P
from jaxpsn import noise
from jaxpsn.core.errors import UserError
from tests.noise.models import KINDS
from tests.noise.test_places import KEY, PARAMS, layer, spec

mesh = jax.make_mesh((2, 2), ("seed", "member"), axis_types=(AxisType.Auto, AxisType.Auto))
rows = P(("seed", "member"))
x = jnp.sin(jnp.arange(72.0)).reshape(8, 9)
where = jnp.arange(8) % 3 != 1
sigma = jnp.linspace(0.0, 0.4, 8)
plan = spec()

def equal(a, b):
    for one, two in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))

def by_device(x):
    return x.reshape(4, 2, *x.shape[1:])

for law in LAWS:
    kind = type(KINDS[law])(**{**vars(KINDS[law]), "antithetic": law == "dense"})
    draw = kind.init(KEY, plan, 8)
    want = jax.jit(kind.redraw)(KEY, draw, where)
    shared = jax.tree.map(lambda _: P(), draw.base)
    cut = draw.replace(counter=rows, noise=jax.tree.map(lambda _: rows, draw.noise), base=shared)
    for check in (True, False):
        def over(f, ins, outs):
            return jax.jit(jax.shard_map(f, mesh=mesh, in_specs=ins, out_specs=outs, check_vma=check))
        equal(over(lambda d, w: kind.redraw(KEY, d, w), (cut, rows), cut)(draw, where), want)

        def begin(number):
            return kind.init(KEY, plan, number)
        equal(over(begin, (rows,), cut)(jnp.arange(8)), draw)
        try:
            over(lambda x: kind.init(KEY, plan, 2).counter + x, (rows,), rows)(jnp.zeros(8, jnp.uint32))
            raise SystemExit("members of all devices were numbered alike")
        except UserError as error:
            assert "shard_map" in str(error)
        for exact in (True, False):
            act = noise.fused(layer, plan, kind, exact_zero=exact)
            for scale, laid in ((sigma, rows), (jnp.float32(0.3), P()), (jnp.float32(0.0), P())):
                got = over(act, (P(), cut, laid, rows), rows)(PARAMS, want, scale, x)
                np.testing.assert_allclose(np.asarray(got), np.asarray(jax.jit(act)(PARAMS, want, scale, x)), atol=2e-6)

        def loss(params, draw, sigma, x):
            return jax.lax.psum(jnp.sum(act(params, draw, sigma, x) ** 2), ("seed", "member"))
        if check:
            slope = over(jax.grad(loss), (P(), cut, rows, rows), P())(PARAMS, want, sigma, x)
            alone = jax.grad(lambda p: jnp.sum(act(p, want, sigma, x) ** 2))(PARAMS)
            for name in PARAMS:
                np.testing.assert_allclose(np.asarray(slope[name]), np.asarray(alone[name]), rtol=1e-4, atol=1e-5)
            # A key that is known to differ between all devices makes a count right.
            keys = jax.random.split(KEY, 4)
            own = over(lambda k: kind.init(k[0], plan, 2).counter, (rows,), rows)(keys)
            assert own.shape[0] == 8
    parts = jax.tree.map(by_device, draw.replace(base={}))
    parts = parts.replace(base=jax.tree.map(lambda b: jnp.stack([b] * 4), draw.base))
    told = jax.pmap(lambda d, w: kind.redraw(KEY, d, w))(parts, by_device(where))
    equal((told.noise, told.counter), jax.tree.map(by_device, (want.noise, want.counter)))
    try:
        jax.pmap(lambda x: kind.init(KEY, plan, 2).counter + x)(jnp.zeros((4, 2), jnp.uint32))
        raise SystemExit("members of all devices were numbered alike")
    except UserError as error:
        assert "pmap" in str(error)
print("equal")
"""


LAWS = [
    ("flipout", "flipout_normal", "rank2_head"),
    ("dense", "factorised", "input_gain"),
    ("pink_flipout", "pink_rank2"),
]


@pytest.mark.parametrize("laws", LAWS)
def test_members_of_several_devices_are_those_of_one(laws):
    code = PLACES.replace("LAWS", repr(laws))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=900)
    assert done.stdout.strip() == "equal", done.stderr[-3000:]


def test_superpose_takes_members_in_any_order():
    kind = noise.LowRank(rank=2, dense_head=False)
    draw, weights = kind.init(KEY, spec(), 4), jnp.array([0.5, -1.0, 2.0, 0.25])
    order = jnp.array([2, 0, 3, 1])
    moved = noise.superpose(PARAMS, taken(draw, order), weights[order])
    chex.assert_trees_all_close(moved, noise.superpose(PARAMS, draw, weights), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(taken(draw, order).number, order)
