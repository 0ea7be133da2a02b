"""What users hand over by mistake or out of habit: right, or refused in one line."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.core.errors import UserError
from tests.noise.models import KINDS

KEY = jax.random.key(8)
PARAMS = {"w": jnp.ones((6, 3)), "b": jnp.zeros(3)}


def layer(params, x):
    return x @ params["w"] + params["b"]


SPEC = noise.plan(layer, PARAMS, jnp.zeros(6))


@pytest.mark.parametrize("members", [5, 300])  # 300: more than one block
@pytest.mark.parametrize("law", ["flipout", "dense", "rank1", "factorised"])
def test_where_is_taken_in_every_form(law, members):
    kind, chosen = KINDS[law], np.arange(members) % 3 == 1
    draw = kind.init(KEY, SPEC, members)
    want = kind.redraw(KEY, draw, jnp.asarray(chosen))
    forms = [chosen, chosen.tolist(), chosen.astype(np.float32), jnp.asarray(chosen, jnp.bfloat16),
             chosen.astype(float).tolist()]  # fmt: skip
    if members > 5:
        forms = forms[:3]
    for form in forms:
        got = kind.redraw(KEY, draw, form)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_array_equal(a, b)
    looped = jax.jit(lambda d, done: jax.lax.fori_loop(0, 2, lambda _, d: kind.redraw(KEY, d, done), d))
    np.testing.assert_array_equal(looped(draw, jnp.asarray(chosen, jnp.float32)).counter, 2 * chosen)
    for one, count in ((True, 1), (np.bool_(False), 0), (jnp.array(True), 1)):
        assert kind.redraw(KEY, draw, one).counter.tolist() == [count] * members


@pytest.mark.parametrize("hold", [noise.per_episode(), noise.every(3), noise.zeta(2.0, 9)])
def test_holds_take_flags_too(hold):
    state = hold.init(KEY, 4)
    want = hold.step(KEY, state, jnp.array([True, False, True, False]))[1]
    for done in (jnp.array([1.0, 0.0, 1.0, 0.0]), np.array([1, 0, 1, 0], bool), [True, False, True, False]):
        np.testing.assert_array_equal(hold.step(KEY, state, done)[1], want)
    with pytest.raises(UserError, match=r"^done = int32"):
        hold.step(KEY, state, jnp.array([1, 0, 1, 0]))


class Whole(NamedTuple):
    """A module with its functions and settings among its leaves."""

    weights: dict
    activation: object
    temperature: float
    layers: int = 2


def test_functions_and_numbers_among_the_parameters_are_passed_on():
    module = Whole(PARAMS, jnp.tanh, 0.5)

    def apply(module, x):
        return module.activation(layer(module.weights, x)) * module.temperature

    spec, kind = noise.plan(apply, module, jnp.zeros(6)), noise.LowRank()
    assert set(spec.by_path) == {"weights/w", "weights/b"}
    assert set(spec.left_alone) == {"activation", "temperature", "layers"}
    draw, x = kind.init(KEY, spec, 3), jax.random.normal(KEY, (3, 6))
    theta = kind.materialise(module, draw, 0.3, 1)
    assert theta.activation is jnp.tanh and theta.temperature == 0.5
    for sigma in (0.3, jnp.float32(0.3)):
        got = noise.fused(apply, spec, kind)(module, draw, sigma, x)
        np.testing.assert_allclose(got[1], apply(theta, x[1]), rtol=1e-5, atol=1e-6)
    moved = noise.superpose(module, draw, [1.0, 0.0, 0.0])
    assert moved.activation is jnp.tanh and moved.weights["w"].shape == (6, 3)


def test_one_member_is_one_of_them():
    kind = noise.Dense()
    draw = kind.init(KEY, SPEC, 3)
    want = kind.materialise(PARAMS, draw, 0.1, 2)["w"]
    for member in (np.int64(2), np.uint8(2), jnp.int32(2), np.array(2)):
        np.testing.assert_array_equal(kind.materialise(PARAMS, draw, 0.1, member)["w"], want)
    traced = jax.jit(lambda member: kind.materialise(PARAMS, draw, 0.1, member))(2)["w"]
    np.testing.assert_array_equal(traced, want)
    for member in (3, -1, np.int64(3), np.int64(-1), jnp.int32(7), 1.0, np.float32(1.0), True, "1", None, np.arange(2)):
        with pytest.raises(UserError, match=r"^member = .*0 to 2") as error:
            kind.materialise(PARAMS, draw, 0.1, member)
        assert "\n" not in str(error.value)


def mistakes():
    kind = noise.Flipout()
    draw, act = kind.init(KEY, SPEC, 4), noise.fused(layer, SPEC, kind)
    x = jnp.ones((4, 6))
    yield from (("where", lambda bad=bad: kind.redraw(KEY, draw, bad)) for bad in (
        [True, False], jnp.zeros((4, 1), bool), jnp.arange(4), [0, 1, 0, 1], np.array([1, 2]), "all", None,
        [[1.0], 2.0], jnp.ones(3), 1j,
    ))  # fmt: skip
    yield from (("key", lambda bad=bad: kind.init(bad, SPEC, 4)) for bad in (
        0, 1.5, "seed", None, np.zeros(2, np.uint32), [0, 1], jax.random.split(KEY),
    ))  # fmt: skip
    yield "key", lambda: kind.redraw(3, draw, True)
    yield from (("members", lambda bad=bad: kind.init(KEY, SPEC, bad)) for bad in (
        0, -2, 3.0, True, "4", None, np.float32(4), [0.5, 1.0], [-1, 2], jnp.zeros((2, 2), int), [],
    ))  # fmt: skip
    yield "members", lambda: noise.Flipout(antithetic=True).init(KEY, SPEC, 3)
    yield "spec", lambda: kind.init(KEY, PARAMS, 4)
    yield "draw", lambda: kind.redraw(KEY, SPEC, True)
    yield "draw", lambda: noise.Dense().redraw(KEY, draw, True)
    yield "draw", lambda: noise.Dense().materialise(PARAMS, draw, 0.1, 0)
    yield "params", lambda: kind.materialise({"w": PARAMS["w"]}, draw, 0.1, 0)
    yield from (("sigma", lambda bad=bad: act(PARAMS, draw, bad, x)) for bad in ("0.1", None, [0.1, 0.2], True, 1j))
    yield from (("x", lambda bad=bad: act(PARAMS, draw, 0.1, bad)) for bad in (1.0, [[1.0] * 6] * 4, x[0], jnp.tanh))
    yield "draw", lambda: act(PARAMS, SPEC, 0.1, x)
    yield "kind", lambda: noise.fused(layer, SPEC, noise.Flipout)
    yield "spec", lambda: noise.fused(layer, draw, kind)
    yield "apply", lambda: noise.fused(PARAMS, SPEC, kind)
    yield "exact_zero", lambda: noise.fused(layer, SPEC, kind, exact_zero=None)
    yield "apply", lambda: noise.plan(PARAMS, PARAMS, x[0])
    yield "example", lambda: noise.plan(layer, PARAMS, "x")
    yield "select", lambda: noise.plan(layer, PARAMS, x[0], select="norms")
    yield "select", lambda: noise.plan(layer, {"w": [[1.0]]}, x[0])
    yield "structure", lambda: noise.named(["dense"])
    yield "relative", lambda: noise.plan(layer, PARAMS, x[0], relative="yes")
    yield "pattern", lambda: noise.matching("(")
    yield "pattern", lambda: noise.matching(3)
    yield "weights", lambda: noise.superpose(PARAMS, draw, [1.0, 2.0])
    yield "weights", lambda: noise.superpose(PARAMS, draw, 1.0)
    yield "weights", lambda: noise.superpose(PARAMS, draw, [True] * 4)
    yield "module", lambda: noise.nnx_policy(PARAMS)
    yield "schedule", lambda: noise.scheduled(0.5)
    yield "sigma", lambda: noise.adaptive(0.1).init("0.1")
    yield "distance", lambda: noise.adaptive(0.1).update(noise.adaptive(0.1).init(0.1), [0.1, 0.2])
    yield "clean", lambda: noise.rms_action(1.0, x)
    yield "noisy", lambda: noise.kl_softmax(x, x[0])
    yield "noisy", lambda: noise.argmax_disagreement(x, "x")
    yield "axis", lambda: noise.rms_action(x, x, axis=0.5)


def test_mistakes_are_told_in_one_line():
    for place, (field, mistake) in enumerate(mistakes()):
        with pytest.raises(UserError) as error:
            mistake()
            pytest.fail(f"mistake {place}, of {field}, was not noticed")
        said = str(error.value)
        assert said.startswith(field) and "\n" not in said and len(said) <= 300, (place, said)


@pytest.mark.parametrize(
    ("field", "mistake"),
    [("antithetic", lambda: noise.Dense(antithetic="no")), ("antithetic", lambda: noise.Flipout(antithetic=1)),
     ("rank", lambda: noise.LowRank(rank=2.0)), ("dense_head", lambda: noise.LowRank(dense_head=0))],
)  # fmt: skip
def test_fields_of_structures_are_checked_without_a_type_checker(field, mistake, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(UserError, match=rf"^\w+\.{field} = "):
        mistake()


def test_distances_take_lists_and_arrays_of_numpy():
    clean, noisy = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    for distance in (noise.rms_action, noise.kl_softmax, noise.argmax_disagreement):
        want = distance(*(jnp.asarray(given, jnp.float32) for given in (clean, noisy)))
        np.testing.assert_array_equal(distance(clean.tolist(), noisy), want)


def test_leaves_whose_names_hold_the_separator_have_noise_of_their_own():
    params = {"x/y": {"w": jnp.zeros((6, 6))}, "x": {"y/w": jnp.zeros((6, 6))}, "mlp/~/one": {"w": jnp.zeros((6, 6))}}

    def apply(params, x):
        return (x @ params["x/y"]["w"] + x @ params["x"]["y/w"]) @ params["mlp/~/one"]["w"]

    spec, kind = noise.plan(apply, params, jnp.zeros(6)), noise.Dense()
    assert len(spec.by_path) == len(spec.leaves) == 3 and "mlp/~/one/w" in spec.by_path
    draw = kind.init(KEY, spec, 2)
    theta = kind.materialise(params, draw, 1.0, 0)
    assert not np.any(np.asarray(theta["x/y"]["w"]) == np.asarray(theta["x"]["y/w"]))
    x = jax.random.normal(KEY, (2, 6))
    got = noise.fused(apply, spec, kind)(params, draw, 1.0, x)
    np.testing.assert_allclose(got[0], apply(theta, x[0]), rtol=1e-4, atol=1e-4)
    # A name that collides with none is left as it is, and so is its noise.
    alone = noise.plan(lambda p, x: x @ p["mlp/~/one"]["w"], {"mlp/~/one": params["mlp/~/one"]}, jnp.zeros(6))
    np.testing.assert_array_equal(
        kind.init(KEY, alone, 2).noise["mlp/~/one/w"]["noise"], draw.noise["mlp/~/one/w"]["noise"]
    )
