"""What is perturbed by default: told by the leaf, its own module and its use, not by who its ancestors are."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxpsn import noise

KEY = jax.random.key(0)


def planned(module, x, select=noise.all_but_norms):
    variables = jax.eval_shape(lambda: module.init(KEY, x))
    return noise.plan(module.apply, variables, x, select)


class NormalisedBlock(nn.Module):
    """A torso whose name sounds like a norm."""

    @nn.compact
    def __call__(self, x):
        return nn.silu(nn.GroupNorm(2, name="even")(nn.Dense(6, name="wide")(x)))


class Heads(nn.Module):
    """Heads named like statistics."""

    @nn.compact
    def __call__(self, x):
        x = NormalisedBlock(name="layernorm_torso")(x)
        return [nn.Dense(3, name=name)(x) for name in ("mean", "var", "count", "running_value")]


def test_heads_and_torsos_of_any_name_are_perturbed():
    spec = planned(Heads(), jnp.zeros((4, 5)))
    wanted = {f"params/{name}/{leaf}" for name in ("mean", "var", "count") for leaf in ("kernel", "bias")}
    wanted |= {f"params/layernorm_torso/wide/{leaf}" for leaf in ("kernel", "bias")}
    assert wanted <= set(spec.by_path)
    assert set(spec.left_alone) == {f"params/layernorm_torso/even/{leaf}" for leaf in ("scale", "bias")}
    norms = planned(Heads(), jnp.zeros((4, 5)), noise.norms)
    assert set(norms.by_path) == set(spec.left_alone)


class Residual(nn.Module):
    """Convolutions and running statistics, all under names of one's own."""

    train: bool

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), name="normal_mean")(x)
        x = nn.BatchNorm(use_running_average=not self.train, name="even")(x)
        x = nn.ConvTranspose(3, (2, 2), name="embedder")(nn.relu(x))
        return nn.InstanceNorm(name="level")(x)


def test_convolutions_are_perturbed_and_batch_norms_are_not():
    spec = planned(Residual(train=False), jnp.zeros((2, 6, 6, 3)))
    kernels = {f"params/{name}/{leaf}" for name in ("normal_mean", "embedder") for leaf in ("kernel", "bias")}
    assert set(spec.by_path) == kernels
    assert {"batch_stats/even/mean", "batch_stats/even/var", "params/level/scale"} <= set(spec.left_alone)


def test_running_statistics_are_known_without_their_names():
    params = {
        "w": jnp.ones((5, 6)), "stage": {"c": jnp.zeros(6), "v": jnp.ones(6), "g": jnp.ones(6), "o": jnp.zeros(6)},
    }  # fmt: skip

    def apply(params, x):
        own, h = params["stage"], x @ params["w"]
        return (h - own["c"]) / jnp.sqrt(own["v"] + 1e-3) * own["g"] + own["o"]

    assert set(noise.plan(apply, params, jnp.zeros(5)).by_path) == {"w"}


def unit(x):
    return (x - jnp.mean(x, -1, keepdims=True)) * jax.lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-6)


NORMS = {
    "layer norm": lambda p, h: unit(h) * p["s"] + p["t"],
    "scale first": lambda p, h: p["s"] * jax.lax.rsqrt(jnp.var(h) + 1e-6) * (h - h.mean()) + p["t"],
    "mean square, one plus": lambda p, h: h / jnp.sqrt(jnp.mean(h * h) + 1e-6) * (1.0 + p["s"]) + p["t"],
    "length": lambda p, h: p["s"] * (h / jnp.maximum(jnp.linalg.norm(h), 1e-6)) + p["t"],
    "power": lambda p, h: h * (jnp.mean(jnp.square(h)) + 1e-6) ** -0.5 * p["s"] + p["t"],
    "in half": lambda p, h: (unit(h).astype(jnp.bfloat16) * p["s"].astype(jnp.bfloat16)).astype(jnp.float32) + p["t"],
    "remat": lambda p, h: jax.checkpoint(lambda p, h: unit(h) * p["s"])(p, h) + p["t"],
    "jit": lambda p, h: jax.jit(lambda p, h: unit(h) * p["s"] + p["t"])(p, h),
}


@pytest.mark.parametrize("form", NORMS)
def test_norms_are_known_by_what_they_do(form):
    params = {"layers": [jnp.ones((5, 6)), {"s": jnp.ones(6), "t": jnp.zeros(6)}, jnp.ones((6, 2))]}

    def apply(params, x):
        first, norm, last = params["layers"]
        return jnp.tanh(NORMS[form](norm, x @ first)) @ last

    spec = noise.plan(apply, params, jnp.zeros(5))
    assert set(spec.by_path) == {"layers/0", "layers/2"}, form


PLAIN = {
    "gain": lambda p, h: jnp.tanh(h * p["s"] + p["t"]),
    "after an activation": lambda p, h: jnp.tanh(unit(h)) * p["s"] + p["t"],
    "after a rectifier": lambda p, h: jax.nn.relu(unit(h)) * p["s"] + p["t"],
    "bias before a norm": lambda p, h: unit(h * p["s"] + p["t"]),
    "softmax": lambda p, h: jax.nn.softmax(h) * p["s"] + p["t"],
    "root of the input": lambda p, h: h * jax.lax.rsqrt(1.0 + h * h) * p["s"] + p["t"],
    "attention scale": lambda p, h: h / jnp.sqrt(jnp.float32(6.0)) * p["s"] + p["t"],
}


@pytest.mark.parametrize("form", PLAIN)
def test_scales_of_other_things_are_perturbed(form):
    params = {"w": jnp.ones((5, 6)), "own": {"s": jnp.ones(6), "t": jnp.zeros(6)}}
    spec = noise.plan(lambda p, x: PLAIN[form](p["own"], x @ p["w"]), params, jnp.zeros(5))
    assert set(spec.by_path) == {"w", "own/s", "own/t"}, form


def test_matrices_that_are_normalised_themselves_are_matrices():
    params = {"LayerNormLinear": {"v": jnp.ones((5, 6)), "bias": jnp.zeros(6)}, "scale": jnp.ones((6, 6))}

    def apply(params, x):
        v = params["LayerNormLinear"]["v"]
        return (x @ (v * jax.lax.rsqrt(jnp.sum(v * v, 0, keepdims=True))) + params["LayerNormLinear"]["bias"]) @ params[
            "scale"
        ]

    assert len(noise.plan(apply, params, jnp.zeros(5)).leaves) == 3


def test_tables_are_known_by_being_looked_up():
    params = {"tokens": jnp.ones((11, 6)), "experts": jnp.ones((3, 6, 6)), "embed": {"w": jnp.ones((6, 2))}}

    def apply(params, ids):
        h = params["tokens"][ids]
        return jnp.einsum("td,tdo->to", h, params["experts"][ids % 3]) @ params["embed"]["w"]

    spec = noise.plan(apply, params, jnp.zeros((4,), jnp.int32))
    assert set(spec.by_path) == {"experts", "embed/w"} and spec.left_alone == ("tokens",)
    one = noise.plan(lambda p, i: p["tokens"][i] @ p["w"], {**params, "w": jnp.ones((6, 2))}, jnp.int32(0),
                     ~noise.embeddings & noise.matching("^(tokens|w)$"))  # fmt: skip
    assert set(one.by_path) == {"w"}


def test_scanned_layers_are_followed():
    params = {"k": jnp.ones((3, 6, 6)), "g": jnp.ones((3, 6)), "o": jnp.zeros((3, 6))}

    def apply(params, x):
        return jax.lax.scan(lambda h, p: (unit(jnp.tanh(h @ p["k"])) * p["g"] + p["o"], None), x, params)[0]

    assert set(noise.plan(apply, params, jnp.zeros(6)).by_path) == {"k"}
    # ... and who chooses by path gets what he names.
    assert set(noise.plan(apply, params, jnp.zeros(6), noise.matching("^g$")).by_path) == {"g"}
    assert len(noise.plan(apply, params, jnp.zeros(6), noise.everything).leaves) == 3
