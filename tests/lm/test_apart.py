"""Layers side by side: the same answers as from the stack, the same noise, and no weights copied in the loop."""

import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.lm import apart, decoding, lora, model, policies, sampler
from jaxpsn.lm.config import tiny
from jaxpsn.lm.policies import Clean, Fused
from jaxpsn.lm.sampler import Sampler, Sampling
from jaxpsn.noise.hold_rules import Steps
from tests.lm import members
from tests.lm.members import CONFIG, KEY, MEMBERS, PARAMS, PROMPTS, SAMPLING, SIGMA, drawn, rows_of

APART = replace(CONFIG, apart=True)
COLOURED = noise.Multiscale(noise.LowRank(1), holds=(1.0, 4.0), powers=(0.25, 0.75))
KINDS = (noise.LowRank(2), noise.Flipout(), noise.Dense(), COLOURED)
TOKENS = jnp.asarray([[3, 4, 5, 6, 7], [8, 9, 10, 2, 3]])
_sample = jax.jit(sampler.sample, static_argnums=(0, 6))
_state = jax.jit(decoding.begin, static_argnums=(0, 6))


def policy_of(name):
    """A policy of this name; ``everything`` perturbs the embedding, norms and biases of a common base as well."""
    if name == "everything":
        return Fused(PARAMS, drawn(noise.Flipout("sign"), noise.everything), jnp.full((MEMBERS,), SIGMA / 4))
    return members.policy_of(name)[0]


def same(found, wanted):
    np.testing.assert_array_equal(found.tokens, wanted.tokens)
    np.testing.assert_array_equal(found.lengths, wanted.lengths)
    for name in ("log_probs", "entropy", "certainty", "confidence", "pooled"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("name", ["low rank", "everything"])
def test_answers_are_those_of_the_stack(name):
    policy = policy_of(name)
    assert policy.apart() is not None
    given = PROMPTS, rows_of(policy), KEY, jnp.float32(0.9), SAMPLING
    same(_sample(APART, policy, *given), _sample(CONFIG, policy, *given))


def test_rows_that_leave_between_segments_find_their_own_cache():
    rows = np.arange(MEMBERS * 3).reshape(MEMBERS, 3)
    found = Sampler(APART, SAMPLING, segment=3)(Clean(PARAMS), PROMPTS, KEY, 0.9, MEMBERS, rows)
    policy = Clean(PARAMS, MEMBERS)
    wanted = _sample(CONFIG, policy, PROMPTS, jnp.asarray(rows, jnp.int32), KEY, jnp.float32(0.9), SAMPLING)
    assert len(set(np.asarray(wanted.lengths).ravel().tolist())) > 3
    same(found, wanted)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_structure_is_the_same_noise(kind):
    draw = drawn(kind, noise.everything)
    wanted = apart.weights(kind.materialise(PARAMS, draw, SIGMA, 2))
    found = kind.materialise(apart.weights(PARAMS), apart.drawn(draw, CONFIG.num_layers), SIGMA, 2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted)
    other = kind.materialise(PARAMS, draw, SIGMA, 1)["layers"]["mlp"]["gate"]["kernel"][1].T
    assert np.abs(other - found["layers"][1]["mlp"]["gate"]["turned"]).max() > 0.01


def test_sigmas_by_path_and_known_units_go_with_their_layers():
    draw = drawn(noise.LowRank(2))
    sigmas = {leaf.path: 0.1 * (1 + place) for place, leaf in enumerate(draw.spec.leaves)}
    policy = policies.perturbed(PARAMS, draw, sigmas).apart()
    wanted = apart.weights(draw.kind.materialise(PARAMS, draw, sigmas, 1))
    found = draw.kind.materialise(policy.params, policy.draw, policy.sigma, 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted)
    for layer in range(2):
        kernel = PARAMS["layers"]["mlp"]["up"]["kernel"][layer]
        unit = policy.rms[f"layers/{layer}/mlp/up/turned"]
        np.testing.assert_allclose(unit, np.sqrt(np.mean(np.square(kernel))), rtol=1e-5)


def test_a_pass_is_that_of_the_stack():
    """Biases, a head of its own and adapters too."""
    config = replace(CONFIG, tied=False, qkv_bias=True, o_bias=True, mlp_bias=True)
    params = model.init(config, jax.random.key(2))
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.sin(jnp.arange(leaf.size).reshape(leaf.shape)), params)
    adapters = lora.init(config, 2, "linear", jax.random.key(3))
    params = lora.joined(params, jax.tree.map(lambda leaf: leaf + 0.1, adapters), 1.0)

    def logits(params):
        hidden = model.hidden_states(config, params, TOKENS, jnp.zeros(2, jnp.int32))[0]
        return model.logits(config, params, hidden)

    wanted = logits(params)
    assert np.std(wanted) > 0.1
    np.testing.assert_allclose(logits(apart.weights(params)), wanted, rtol=1e-4, atol=1e-4)


def test_weights_narrower_than_float32_place_their_noise_likewise():
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    policy = Fused(half, drawn(noise.LowRank(2)), jnp.float32(SIGMA))
    given = KEY, jnp.float32(0.9), Sampling(12, (), 0), jnp.int32(2)
    state = _state(CONFIG, policy, PROMPTS, rows_of(policy), *given[:3])
    found, wanted = (decoding.advance(config, policy, state, *given) for config in (APART, CONFIG))
    np.testing.assert_allclose(found.entropy[..., 1], wanted.entropy[..., 1], atol=0.03)
    assert found.cache.k.dtype == jnp.bfloat16 and found.cache.k.shape == wanted.cache.k.shape
    np.testing.assert_allclose(*(np.asarray(one.cache.v, np.float32) for one in (found, wanted)), atol=0.05)


def test_what_cannot_be_taken_apart_stays_in_its_stack():
    """Weights of each member, noise of each token, and noise that all layers share."""
    draw = drawn(noise.LowRank(2))
    held = policies.Redrawn(PARAMS, draw, jnp.float32(SIGMA), KEY, Steps(2))
    assert policy_of("single").apart() is not None
    assert policy_of("stacked").apart() is None and held.apart() is None
    common = tuple(replace(leaf, stack=()) for leaf in draw.spec.leaves)
    assert Fused(PARAMS, draw.replace(spec=replace(draw.spec, leaves=common)), jnp.float32(1.0)).apart() is None


def test_a_cache_comes_back_as_it_was():
    shape = (2, 3, 4, 7, 2, 6)
    whole = model.Cache(*(jax.random.normal(jax.random.key(seed), shape) for seed in (0, 1)))
    beside = apart.cache(whole)
    assert [leaf.shape for leaf in (beside.k[0], beside.v[2])] == [(2, 4, 2, 6, 7), (2, 4, 2, 7, 6)]
    back = apart.stacked(beside)
    np.testing.assert_array_equal(back.k, whole.k)
    np.testing.assert_array_equal(back.v, whole.v)


def _bodies(text):
    """The instructions of what loops run, of a compiled program: ``(name of the operation, shape of its result)``."""
    called = set(re.findall(r"body=%?([\w.\-]+)", text))
    for name, body in re.findall(r"^%?([\w.\-]+) \([^\n]*\{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        if name in called:
            yield from re.findall(r"%?([\w\-]+)[\w.\-]* = \w+\[([\d,]*)\]\S* (?!parameter|get-tuple|bitcast)", body)


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("beside", [True, False])
def test_no_weights_are_copied_in_the_loop(beside):
    """Of the stack some are, once a token for each layer: if that ends, nothing needs to lie apart."""
    config = replace(tiny(11, 48, 2, 4), apart=beside)
    policy, sampling = Clean(model.init(config, jax.random.key(0)), MEMBERS), Sampling(20, (), 0)
    given = KEY, jnp.float32(1.0), sampling
    begun = partial(decoding.begin, config, sampling=sampling)
    state = jax.eval_shape(begun, policy, PROMPTS, rows_of(policy), *given[:2])
    loop = jax.jit(decoding.advance, static_argnums=(0, 5), donate_argnums=2)
    text = loop.lower(config, policy, state, *given, jnp.int32(20)).compile().as_text()
    kernels = {"48,48", "48,144", "144,48"}
    copies = [(name, shape) for name, shape in _bodies(text) if shape in kernels]
    assert list(_bodies(text)) and bool(copies) != beside, copies
