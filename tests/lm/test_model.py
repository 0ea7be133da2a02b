"""The decoder: against logits that torch computed, with its cache, its padding, its derivative, and noise in it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.core.errors import UserError
from jaxpsn.lm import attention, model, rope
from jaxpsn.lm.config import DecoderConfig, LinearScaling, Llama3Scaling, Rope, tiny
from jaxpsn.lm.folders import hub
from tests.lm import oracle

GROUPED = replace(tiny(50, 64, 2, 4), num_kv_heads=2)
HIDDEN = jax.jit(model.hidden_states, static_argnames=("config", "remat"))
START = jnp.array([0, 3, 7], jnp.int32)


def _params(config, dtype=jnp.float32, gain=5.0):
    """Large enough weights that attention is far from uniform."""
    params = model.init(config, jax.random.key(0), jnp.float32)
    return jax.tree.map(lambda leaf: (gain * leaf).astype(dtype), params)


def _ids(rows=3, length=12):
    return jax.random.randint(jax.random.key(1), (rows, length), 0, 50, jnp.int32)


def _text(start=START, length=12):
    return np.arange(length)[None] >= np.asarray(start)[:, None]


@pytest.mark.parametrize("name", oracle.CHECKPOINTS)
def test_logits_equal_what_torch_computed(name):
    folder = oracle.GOLDEN / name
    config = hub.read_config(folder)
    params = hub.load(folder, config, dtype=jnp.float32)
    hidden, _ = HIDDEN(config, params, jnp.asarray(oracle.tokens()), jnp.zeros(1, jnp.int32))
    want = np.load(folder / "logits.npz")
    found = np.asarray(model.logits(config, params, hidden))[0, want["places"]]
    assert np.abs(found - want["logits"]).max() < 2e-4


@pytest.mark.parametrize("name", ["qwen2-tied", "llama-scaled"])
def test_bfloat16_stays_near_float32(name):
    folder = oracle.GOLDEN / name
    config = hub.read_config(folder)
    params = hub.load(folder, config)
    hidden, _ = HIDDEN(config, params, jnp.asarray(oracle.tokens()), jnp.zeros(1, jnp.int32))
    assert hidden.dtype == jnp.bfloat16
    want = np.load(folder / "logits.npz")
    found = np.asarray(model.logits(config, params, hidden))[0, want["places"]]
    assert np.sqrt(np.mean((found - want["logits"]) ** 2)) < 0.03 * want["logits"].std()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_cached_decoding_equals_the_full_pass(dtype):
    params, ids = _params(GROUPED, dtype), _ids()
    full, none = HIDDEN(GROUPED, params, ids, START)
    assert none is None and full.dtype == dtype
    cache = model.empty_cache(GROUPED, 3, 15, dtype)
    hidden, cache = HIDDEN(GROUPED, params, ids[:, :8], START, cache)
    parts = [hidden]
    for slot in range(8, 11):
        hidden, cache = HIDDEN(GROUPED, params, ids[:, slot : slot + 1], START, cache, jnp.int32(slot))
        parts.append(hidden)
    # The last one as a continuation by a number known beforehand.
    hidden, cache = model.hidden_states(GROUPED, params, ids[:, 11:], START, cache, 11)
    found = np.asarray(jnp.concatenate([*parts, hidden], 1), np.float32)
    gap = np.abs(found - np.asarray(full, np.float32))[_text()].max()
    assert gap < (1e-4 if dtype == jnp.float32 else 0.2), gap
    assert not np.asarray(cache.k[:, :, 12:]).any()


def test_several_new_slots_look_at_the_cache_and_at_each_other():
    params, ids = _params(GROUPED), _ids()
    cache = model.empty_cache(GROUPED, 3, 12, jnp.float32)
    _, cache = HIDDEN(GROUPED, params, ids[:, :5], START, cache)
    later, _ = HIDDEN(GROUPED, params, ids[:, 5:], START, cache, 5)
    full, _ = HIDDEN(GROUPED, params, ids, START)
    np.testing.assert_allclose(np.asarray(later)[_text()[:, 5:]], np.asarray(full[:, 5:])[_text()[:, 5:]], atol=1e-4)


def test_padding_changes_nothing_whatever_it_holds():
    params, ids = _params(GROUPED), _ids()
    full, _ = HIDDEN(GROUPED, params, ids, START)
    other, _ = HIDDEN(GROUPED, params, jnp.where(_text(), ids, 49 - ids), START)
    np.testing.assert_array_equal(np.asarray(full)[_text()], np.asarray(other)[_text()])
    alone, _ = HIDDEN(GROUPED, params, ids[2:, 7:], jnp.zeros(1, jnp.int32))
    np.testing.assert_allclose(np.asarray(alone[0]), np.asarray(full[2, 7:]), atol=1e-4)
    empty, _ = HIDDEN(GROUPED, params, ids, jnp.full(3, 12, jnp.int32))
    assert np.isfinite(np.asarray(empty)).all()


def test_grouped_heads_equal_repeated_ones():
    params = _params(GROUPED)
    whole = replace(GROUPED, num_kv_heads=4)

    def repeat(leaf):
        split = leaf.reshape(*leaf.shape[:-1], 2, 16)
        return jnp.repeat(split, 2, axis=-2).reshape(*leaf.shape[:-1], 64)

    mixer = dict(params["layers"]["attention"])
    for name in ("k", "v"):
        mixer[name] = jax.tree.map(repeat, mixer[name])
    more = params | {"layers": params["layers"] | {"attention": mixer}}
    few, _ = HIDDEN(GROUPED, params, _ids(), START)
    many, _ = HIDDEN(whole, more, _ids(), START)
    np.testing.assert_allclose(np.asarray(few)[_text()], np.asarray(many)[_text()], atol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_remat_has_the_same_gradient(dtype):
    params, ids = _params(GROUPED, dtype), _ids()

    def loss(params, remat):
        hidden, _ = model.hidden_states(GROUPED, params, ids, START, remat=remat)
        return jnp.sum(jnp.where(_text()[:, :, None], model.logits(GROUPED, params, hidden), 0.0) ** 2)

    grads = [jax.jit(jax.grad(loss), static_argnums=1)(params, remat) for remat in (False, True)]
    for kept, again in zip(*map(jax.tree.leaves, grads), strict=True):
        scale = np.abs(np.asarray(kept, np.float32)).max()
        assert scale > 0
        assert np.abs(np.asarray(kept, np.float32) - np.asarray(again, np.float32)).max() < 1e-2 * scale
    prints = [str(jax.make_jaxpr(jax.grad(loss), static_argnums=1)(params, remat)) for remat in (False, True)]
    assert ["remat" in text or "checkpoint" in text for text in prints] == [False, True]


def test_the_kernel_of_cudnn_gets_even_lengths_and_no_mask(monkeypatch):
    """The real one cannot run here: its place is taken by XLA's, with what it is given looked at."""
    plain, calls, params, ids = jax.nn.dot_product_attention, [], _params(GROUPED), _ids(length=11)
    want, _ = HIDDEN(GROUPED, params, ids, START)

    def stand_in(q, k, v, *, is_causal, implementation):
        calls.append((q.shape[1], is_causal, implementation))
        return plain(q, k, v, is_causal=is_causal, implementation="xla")

    monkeypatch.setattr(attention, "fits_cudnn", lambda dtype, head_dim: True)
    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    model.hidden_states(GROUPED, params, ids, START)
    assert not calls, "of a program that is traced for a CPU"
    found, _ = model.hidden_states(replace(GROUPED, flash=True), params, ids, START)
    assert calls == [(12, True, "cudnn")]
    np.testing.assert_allclose(np.asarray(found)[_text(length=11)], np.asarray(want)[_text(length=11)], atol=1e-4)


def test_rows_of_members_go_to_the_kernel_side_by_side():
    seen = []

    def attend(q, k, v):
        seen.append(q.shape)
        return jnp.cumsum(q, axis=1) * k[:, :1] + v

    q, k, v = jax.random.normal(jax.random.key(0), (3, 4, 2, 5, 3, 8))  # four members, two rows
    found = jax.vmap(attention.rows_first(attend), (0, 0, None))(q, k, v[0])
    assert seen[-1] == (8, 5, 3, 8)
    np.testing.assert_allclose(found, jax.vmap(attend, (0, 0, None))(q, k, v[0]), rtol=1e-6)


def test_cudnn_is_chosen_for_its_dtypes_and_widths():
    assert attention.fits_cudnn(jnp.bfloat16, 128)
    for dtype, width in ((jnp.float32, 64), (jnp.bfloat16, 20), (jnp.float16, 136)):
        assert not attention.fits_cudnn(dtype, width)


def test_rotation_turns_pairs_by_their_frequency():
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 8)).astype(np.float32)
    positions = np.array([[0, 1, 2, 3, 4], [7, 8, 9, 10, 1000]], np.int32)
    spin = Rope(theta=1e4)
    found = rope.rotate(jnp.asarray(x), *rope.turns(spin, 8, jnp.asarray(positions)))
    angles = positions[:, :, None, None] * 1e4 ** (-np.arange(0, 8, 2) / 8)
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angles)
    np.testing.assert_allclose(np.asarray(found), np.concatenate([turned.real, turned.imag], -1), atol=3e-4)


def test_scaled_frequencies():
    plain = rope.frequencies(Rope(5e5), 64)
    np.testing.assert_allclose(rope.frequencies(Rope(5e5, LinearScaling(4.0)), 64), plain / 4)
    scaled = rope.frequencies(Rope(5e5, Llama3Scaling(8.0, 1.0, 4.0, 8192)), 64)
    length = 2 * np.pi / plain
    np.testing.assert_array_equal(scaled[length < 8192 / 4], plain[length < 8192 / 4])
    np.testing.assert_allclose(scaled[length > 8192], plain[length > 8192] / 8)
    between = (length > 8192 / 4) & (length < 8192)
    assert between.any() and ((scaled < plain) & (scaled > plain / 8))[between].all()


def test_noise_in_a_padded_prefill_is_that_of_whole_copies():
    params, kind = _params(GROUPED), noise.LowRank()
    ids = jnp.stack([_ids(), 49 - _ids()])
    text = jnp.asarray(_text())[:, :, None]

    def read(params, x):
        cache = model.empty_cache(GROUPED, 3, 14, jnp.float32)
        hidden, cache = model.hidden_states(GROUPED, params, x, START, cache)
        step, _ = model.hidden_states(GROUPED, params, x[:, :1], START, cache, jnp.int32(12))
        return jnp.where(text, hidden, 0.0), step

    spec = noise.plan(read, params, ids[0], select=noise.matching("/mlp/"))
    assert len(spec.leaves) == 3 and not any(leaf.materialised for leaf in spec.leaves)
    draw = kind.init(jax.random.key(5), spec, members=2)
    found = jax.jit(noise.fused(read, spec, kind, exact_zero=False))(params, draw, 0.1, ids)
    for member in range(2):
        want = jax.jit(read)(kind.materialise(params, draw, 0.1, member=member), ids[member])
        for one, other in zip(found, want, strict=True):
            np.testing.assert_allclose(np.asarray(one[member]), np.asarray(other), atol=1e-3)
    clean = read(params, ids[0])[0]
    assert np.abs(np.asarray(found[0][0] - clean)).max() > 0.05, "the noise is to be seen"


def test_init_and_the_count_of_parameters():
    biased = DecoderConfig(
        40, 32, 48, 2, 4, 2, 10, qkv_bias=True, o_bias=True, mlp_bias=True, qk_norm=True, tied=False
    )  # fmt: skip
    for config in (biased, tiny(40)):
        params = model.init(config, jax.random.key(0), jnp.bfloat16)
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == config.parameters
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    down = np.asarray(model.init(tiny(40, 128), jax.random.key(0))["layers"]["mlp"]["down"]["kernel"])
    assert abs(down.std() / (0.02 / 6**0.5) - 1) < 0.02


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_kv_heads": 3}, "num_kv_heads = 3: a divisor of num_heads = 4"),
        ({"head_dim": 15}, "head_dim = 15: even"),
        ({"num_layers": 0}, "num_layers = 0"),
        ({"family": "mistral"}, "family = 'mistral'"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps = -1.0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, says):
    with pytest.raises(UserError, match=says) as caught:
        replace(GROUPED, **change)
    assert "\n" not in str(caught.value)


def test_bad_scalings_are_refused():
    for bad in (lambda: Rope(-1.0), lambda: LinearScaling(0.0), lambda: Llama3Scaling(8.0, 4.0, 4.0)):
        with pytest.raises(UserError):
            bad()
