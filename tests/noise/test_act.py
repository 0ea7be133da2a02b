"""The fused forward: exactness at sigma 0, what is formed, what is refused, and how it composes with JAX."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.core.errors import UserError
from tests.noise.models import KINDS, MODELS

KEY = jax.random.key(21)


def made(model, kind, members=8, **plan):
    spec = noise.plan(model.apply, model.params, model.input_of(KEY), model.select, **plan)
    x = jax.vmap(model.input_of)(jax.random.split(KEY, members))
    return jax.jit(noise.fused(model.apply, spec, kind)), kind.init(KEY, spec, members), x


@pytest.mark.parametrize("law", KINDS)
@pytest.mark.parametrize("name", ["mlp", "mlp_rows"])
def test_sigma_zero_is_the_clean_pass_bit_for_bit(name, law):
    model = MODELS[name]()
    act, draw, x = made(model, KINDS[law])
    clean = jax.jit(model.apply)(model.params, x)
    np.testing.assert_array_equal(np.asarray(act(model.params, draw, 0.0, x)), np.asarray(clean))
    # A member with sigma 0 among others is clean to rounding: the others choose the program.
    mixed = act(model.params, draw, jnp.array([0.0, 0.5] * 4), x)
    np.testing.assert_allclose(mixed[::2], clean[::2], rtol=1e-5, atol=1e-5)
    assert np.all(np.any(np.asarray(mixed[1::2] != clean[1::2]).reshape(4, -1), axis=1))


def test_gradients_at_sigma_zero_are_those_of_the_noisy_pass():
    model = MODELS["mlp"]()
    act, draw, x = made(model, noise.LowRank(), members=4)

    def slope(sigma):
        return jax.grad(lambda s, p: act(p, draw, s, x).sum(), (0, 1))(sigma, model.params)

    chex.assert_trees_all_close(slope(jnp.float32(0.0)), slope(jnp.float32(1e-6)), rtol=1e-2, atol=1e-3)
    assert abs(float(slope(jnp.float32(0.0))[0])) > 1e-2


@pytest.mark.parametrize("name", ["attention", "brax", "nnx", "tied"])
def test_sigma_zero_is_clean_for_other_models(name):
    model = MODELS[name]()
    act, draw, x = made(model, noise.Flipout())
    clean = jax.jit(jax.vmap(model.apply, (None, 0)))(model.params, x)
    np.testing.assert_array_equal(np.asarray(act(model.params, draw, 0.0, x)), np.asarray(clean))


def shapes_in(jaxpr):
    """Every intermediate shape, inner jaxprs included."""
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    for eqn in inner.eqns:
        yield from (tuple(var.aval.shape) for var in eqn.outvars)
        for value in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                yield from shapes_in(value)


@pytest.mark.parametrize(
    "kind",
    [
        noise.Flipout(),
        noise.Flipout(base="sign"),
        noise.LowRank(rank=3, dense_head=False),
        noise.Factorised(),
        noise.InputGain(),
        noise.Multiscale(noise.Flipout(), (1.0, 4.0, 16.0), (0.2, 0.3, 0.5)),
        noise.Multiscale(noise.LowRank(dense_head=False), (1.0, 4.0, 16.0), (0.2, 0.3, 0.5)),
    ],
)
def test_no_member_weights_are_formed(kind):
    members, sizes = 13, (17, 128, 96, 11)
    net = nn.Sequential([nn.Dense(width) for width in sizes[1:]])
    params = net.init(KEY, jnp.zeros(17))
    spec = noise.plan(net.apply, params, jnp.zeros(17))
    draw = jax.eval_shape(lambda: kind.init(KEY, spec, members))
    jaxpr = jax.make_jaxpr(noise.fused(net.apply, spec, kind))(params, draw, 0.1, jnp.zeros((members, 17)))
    largest = max((shape for shape in shapes_in(jaxpr) if shape[:1] == (members,)), key=np.prod)
    assert np.prod(largest) <= members * 128 * 96 // 16, f"{largest}: a sixteenth of the largest weights at most"
    dense = jax.eval_shape(lambda: noise.Dense().init(KEY, spec, members))
    jaxpr = jax.make_jaxpr(noise.fused(net.apply, spec, noise.Dense()))(params, dense, 0.1, jnp.zeros((members, 17)))
    assert max(shapes_in(jaxpr), key=np.prod) != (members, 128, 96), "held noise is applied, not added to weights"


def test_plan_reports_uses_and_leaves_norms_alone():
    model = MODELS["mlp"]()
    spec = noise.plan(model.apply, model.params, jnp.zeros(5))
    assert set(spec.by_path) == {f"params/Dense_{i}/{name}" for i in range(3) for name in ("kernel", "bias")}
    assert spec.by_path["params/Dense_0/bias"].partner == "params/Dense_0/kernel"
    assert "params/Dense_1/kernel" in str(spec) and "24x24" in str(spec) and "LayerNorm_0/scale" in str(spec)
    assert hash(spec) == hash(noise.plan(model.apply, model.params, jnp.zeros(5)))
    odd = MODELS["einsum"]()
    uses = noise.plan(odd.apply, odd.params, jnp.zeros((7, 6))).by_path
    assert uses["into"].contract == (2,) and uses["back"].contract == (0, 1)
    assert uses["each"].batch == (0,) and uses["bias"].use != "matmul"
    assert uses["place"].materialised and not uses["into"].materialised
    scanned = MODELS["attention"]()
    uses = noise.plan(scanned.apply, scanned.params, jnp.zeros((6, 8))).by_path
    assert all(leaf.stack == (0,) for leaf in uses.values())
    assert not any(leaf.materialised for leaf in uses.values())
    assert not any("Norm" in path for path in uses)
    _, draw, _ = made(model, noise.Flipout())
    theta = noise.Flipout().materialise(model.params, draw, 0.5, member=1)
    chex.assert_trees_all_equal(theta["params"]["LayerNorm_0"], model.params["params"]["LayerNorm_0"])


@pytest.mark.parametrize(
    ("path", "siblings", "perturbed"),
    [
        ("params/ln_1/weight", {"weight"}, False),
        ("a/input_layernorm/weight", {"weight"}, False),
        ("a/q_norm/scale", {"scale"}, False),
        ("a/bn/bias", {"scale", "bias"}, False),
        ("a/embed_tokens/weight", set(), False),
        ("a/wte", set(), False),
        ("0/mean", set(), False),
        ("normalizer/x", set(), False),
        ("batch_stats/a/mean", set(), False),
        ("a/normal_head/kernel", {"kernel", "bias"}, True),
        ("a/embed/kernel", {"kernel"}, True),
        ("a/b/bias", {"kernel"}, True),
    ],
)
def test_default_selection(path, siblings, perturbed):
    assert noise.all_but_norms(path, None, frozenset(siblings)) is perturbed


def test_mistakes_are_refused():
    model = MODELS["mlp"]()
    with pytest.raises(UserError, match="matches no"):
        noise.plan(model.apply, model.params, jnp.zeros(5), select=noise.matching("nothing"))
    with pytest.raises(UserError, match=r"spare.*not consumed"):
        noise.plan(lambda p, x: x @ p["w"], {"w": jnp.ones((5, 5)), "spare": jnp.ones(3)}, jnp.zeros(5))
    params = {"w": jnp.ones((5, 5)), "v": jnp.ones((5, 5))}

    def shifty(params, x):
        return x @ params["w"] @ params["v"] if x.ndim == 1 else x @ params["w"]

    spec, kind = noise.plan(shifty, params, jnp.zeros(5)), noise.Flipout()
    draw = kind.init(KEY, spec, 2)
    with pytest.raises(UserError, match=r"'v'.*not consumed"):
        noise.fused(shifty, spec, kind)(params, draw, 0.1, jnp.zeros((2, 3, 5)))
    act, x = noise.fused(shifty, spec, kind), jnp.zeros((2, 5))
    mistakes = {
        "one per member": lambda: act(params, draw, jnp.ones(3), x),
        "leading axis": lambda: act(params, draw, 0.1, jnp.zeros((4, 5))),
        "unknown": lambda: act(params, draw, {"x": 0.1}, x),
        "every perturbed leaf": lambda: act(params, draw, {"w": 0.1}, x),
        "planned shape": lambda: act({**params, "w": jnp.ones((5, 4))}, draw, 0.1, x),
        "not in these": lambda: noise.fused(lambda p, x: x @ p["w"], spec, kind)({"w": params["w"]}, draw, 0.1, x),
        "0 to 1": lambda: kind.materialise(params, draw, 0.1, 2),
        "hadamard": lambda: noise.Flipout(base="hadamrad"),
        "at least 1": lambda: noise.LowRank(rank=0),
        "float32": lambda: noise.Dense(store="float31"),
        "same plan": lambda: noise.fused(shifty, spec, noise.Dense())(params, draw, 0.1, x),
    }
    for message, mistake in mistakes.items():
        with pytest.raises(UserError, match=message):
            mistake()


def test_relative_sigma_scales_by_the_rms_of_each_slice():
    model = MODELS["attention"]()
    _, draw, _ = made(model, noise.Flipout(), members=2)
    _, relative, _ = made(model, noise.Flipout(), members=2, relative=True)
    plain = noise.Flipout().materialise(model.params, draw, 0.1, 0)
    scaled = noise.Flipout().materialise(model.params, relative, 0.1, 0)
    for old, a, b in zip(*map(jax.tree.leaves, (model.params, plain, scaled)), strict=True):
        rms = np.sqrt(np.mean(np.square(old), axis=tuple(range(1, old.ndim)), keepdims=True))
        np.testing.assert_allclose(b - old, (a - old) * rms, rtol=1e-3, atol=1e-5)


def test_sigma_by_path_and_a_grid_of_rows_per_member():
    model = MODELS["mlp"]()
    act, draw, x = made(model, noise.LowRank(rank=2))
    sigma = {path: 0.0 for path in draw.spec.by_path} | {"params/Dense_1/kernel": jnp.full(8, 0.3)}
    theta = noise.LowRank(rank=2).materialise(model.params, draw, sigma, 3)
    chex.assert_trees_all_equal(theta["params"]["Dense_0"], model.params["params"]["Dense_0"])
    np.testing.assert_allclose(act(model.params, draw, sigma, x)[3], model.apply(theta, x[3]), rtol=1e-4, atol=1e-5)
    rows = jax.random.normal(KEY, (8, 6, 5))
    grid = act(model.params, draw, 0.2, rows)
    single = jnp.stack([act(model.params, draw, 0.2, rows[:, i]) for i in range(6)], axis=1)
    np.testing.assert_allclose(grid, single, rtol=1e-4, atol=1e-5)


def test_custom_derivatives_without_noise_survive():
    @jax.custom_vjp
    def shrink(x):
        return x

    shrink.defvjp(lambda x: (x, None), lambda _, g: (0.5 * g,))
    params = {"w": jnp.ones((4, 4))}

    def apply(params, x):
        return shrink(x) @ params["w"]

    spec, kind = noise.plan(apply, params, jnp.zeros(4)), noise.Flipout()
    draw = kind.init(KEY, spec, 3)
    act = noise.fused(apply, spec, kind)
    got = jax.grad(lambda x: act(params, draw, 0.0, x).sum())(jnp.ones((3, 4)))
    np.testing.assert_allclose(got, 2.0)


def test_under_scan_vmap_and_remat_it_is_the_same():
    model = MODELS["mlp"]()
    act, draw, x = made(model, noise.Flipout())
    want = act(model.params, draw, 0.2, x)
    _, scanned = jax.lax.scan(lambda c, row: (c, act(model.params, draw, 0.2, row)), None, jnp.stack([x, x]))
    np.testing.assert_allclose(scanned[1], want, rtol=1e-5, atol=1e-6)
    sigmas = jnp.array([0.1, 0.2])
    swept = jax.vmap(lambda sigma: jax.checkpoint(act)(model.params, draw, sigma, x))(sigmas)
    np.testing.assert_allclose(swept[1], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kind", [noise.Flipout(), noise.LowRank(rank=2, dense_head=False)])
def test_bfloat16_keeps_small_noise(kind, param_dtype):
    net = nn.Dense(64, dtype=jnp.bfloat16, param_dtype=param_dtype, use_bias=False)
    params = net.init(KEY, jnp.zeros(64))
    x = jax.random.normal(KEY, (256, 64))
    spec = noise.plan(net.apply, params, x[0])
    draw, sigma = kind.init(KEY, spec, 256), 1e-4
    act = jax.jit(noise.fused(net.apply, spec, kind))
    np.testing.assert_array_equal(act(params, draw, 0.0, x), jax.jit(net.apply)(params, x))
    moved = np.asarray(act(params, draw, sigma, x) - act(params, draw, 0.0, x), np.float64)
    exact = {"params": {"kernel": params["params"]["kernel"].astype(jnp.float32)}}
    full = nn.Dense(64, use_bias=False)
    want = jax.vmap(lambda i: full.apply(kind.materialise(exact, draw, sigma, i), x[i]) - full.apply(exact, x[i]))
    want = np.asarray(want(jnp.arange(256)), np.float64)
    # Single outputs move by whole last bits, so the noise shows in the regression over all of them.
    slope = (moved * want).sum() / (want * want).sum()
    np.testing.assert_allclose(slope, 1.0, atol=0.3)
    if param_dtype == jnp.bfloat16:
        rounded = kind.materialise(params, draw, sigma, 0)["params"]["kernel"]
        lost = np.mean(np.asarray(rounded == params["params"]["kernel"]))
        assert lost > 0.3, "the pitfall that the fused form avoids"


def test_bfloat16_policy_follows_its_reference():
    net = nn.Sequential([nn.Dense(24, dtype=jnp.bfloat16), nn.swish, nn.Dense(3, dtype=jnp.bfloat16)])
    params = net.init(KEY, jnp.zeros(5))
    x = jax.random.normal(KEY, (6, 5))
    spec, kind = noise.plan(net.apply, params, x[0]), noise.Flipout()
    draw = kind.init(KEY, spec, 6)
    got = noise.fused(net.apply, spec, kind)(params, draw, 0.2, x)
    want = jnp.stack([net.apply(kind.materialise(params, draw, 0.2, i), x[i]) for i in range(6)])
    assert got.dtype == want.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(got, np.float64), np.asarray(want, np.float64), atol=0.05)
