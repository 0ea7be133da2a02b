"""Answers of perturbed policies: whose they are, what they were drawn from, and that the noise can be had again."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.lm import config as decoders
from jaxpsn.lm import model, policies, sampler, scoring, tokenizer
from jaxpsn.noise import LowRank
from jaxpsn.rlvr import rollout
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noises import NoNoise, Psn
from jaxpsn.rlvr.objective import correction
from jaxpsn.rlvr.objective.corrections import Token
from jaxpsn.rlvr.objective.tokens import token_mask

KEY = jax.random.key(5)
SIGMA = jnp.float32(0.4)
TEMPERATURE = jnp.float32(0.8)
STEP = jnp.int32(3)

CASES = {
    "lowrank, per sample": (Psn(), 4, 1),
    "antithetic pairs": (Psn(structure=LowRank(antithetic=True)), 4, 1),
    "rank 2, replicas, attention": (Psn("lowrank(rank=2)", "attention", per="replica", replicas=2), 2, 2),
    "dense, per step": (Psn("dense", per="step"), 1, 4),
    "dense, per sample, absolute": (Psn("dense", relative=False), 4, 1),
    "norms (QeRL)": (Psn("dense", select="norms", per="step", relative=False), 1, 2),
    "flipout, all": (Psn("flipout", select="all"), 2, 1),
}


@pytest.fixture(scope="module")
def prompts(small):
    """Four problems of different lengths."""
    texts = ("1+2=", "9-3=", "7+", "0")
    return tokenizer.pack([small.WORDS.encode(text) for text in texts], length=small.TASK.max_prompt)


@pytest.fixture(scope="module")
def settings(small):
    """How answers are drawn."""
    return sampler.Sampling(small.LIMIT, small.WORDS.ends, small.WORDS.pad, vocab=small.WORDS.vocab_size)


@pytest.fixture(scope="module")
def plan(small):
    """``plan(name) -> Perturbation`` of a case."""
    return lambda name: perturbation.plan(
        CASES[name][0], small.DECODER, small.BASE.params, members=CASES[name][1], answers=CASES[name][2]
    )


@partial(jax.jit, static_argnums=(0, 1, 2))
def drawn(decoder, noise, settings, params, prompts, step, sigma=SIGMA):
    ids = rollout.Ids(0, 0, prompts.tokens.shape[0])
    draw = noise.draw(KEY, step)
    return rollout.noisy(decoder, noise, params, draw, sigma, prompts, ids, KEY, TEMPERATURE, settings)


@partial(jax.jit, static_argnums=(0, 1))
def rescored(decoder, noise, params, prompts, answers, step, sigma=SIGMA):
    draw = noise.draw(KEY, step)
    return rollout.rescore(decoder, noise, params, draw, sigma, prompts, answers, TEMPERATURE)


@partial(jax.jit, static_argnums=0)
def scored(decoder, params, prompts, tokens, lengths):
    """Log-probs [P, T] of one answer to each problem under whole, formed weights."""
    policy = policies.Single(params)
    return scoring.score(decoder, policy, prompts, tokens[None], lengths[None], TEMPERATURE).log_probs[0]


@pytest.mark.parametrize("name", CASES)
def test_log_probs_are_those_of_the_members_own_weights(small, prompts, settings, plan, name):
    """Each answer against its own prompt, under weights formed anew from (key, step, member): no layout is shared."""
    noise, params = plan(name), small.BASE.params
    answers = jax.device_get(drawn(small.DECODER, noise, settings, params, prompts, STEP))
    assert answers.tokens.shape == (noise.members * noise.answers, 4, small.LIMIT)
    assert answers.member.tolist() == [m for m in range(noise.members) for _ in range(noise.answers)]
    assert answers.sigma.tolist() == [pytest.approx(0.4)] * len(answers.member)
    held = noise.draw(KEY, STEP)
    apart = []
    for sample, member in enumerate(answers.member.tolist()):
        formed = noise.kind.materialise(params, held, SIGMA, member)
        own = scored(small.DECODER, formed, prompts, answers.tokens[sample], answers.lengths[sample])
        np.testing.assert_allclose(answers.log_probs[sample], own, atol=1e-4)
        clean = scored(small.DECODER, params, prompts, answers.tokens[sample], answers.lengths[sample])
        apart.append(np.abs(np.asarray(clean) - answers.log_probs[sample]).max())
    assert min(apart) > 0.01, "the clean policy prices these answers otherwise"


@pytest.mark.parametrize("name", ["lowrank, per sample", "rank 2, replicas, attention", "dense, per step"])
def test_rescoring_needs_the_same_step_and_key(small, prompts, settings, plan, name):
    noise = plan(name)
    answers = jax.device_get(drawn(small.DECODER, noise, settings, small.BASE.params, prompts, STEP))
    again = rescored(small.DECODER, noise, small.BASE.params, prompts, answers, STEP)
    np.testing.assert_allclose(again, answers.log_probs, atol=1e-4)
    other = rescored(small.DECODER, noise, small.BASE.params, prompts, answers, STEP + 1)
    assert np.abs(other - answers.log_probs).max() > 0.05
    probes = rescored(small.DECODER, noise._replace(purpose=7), small.BASE.params, prompts, answers, STEP)
    assert np.abs(probes - answers.log_probs).max() > 0.05


def formed(noise, params, step=STEP, member=0, sigma=SIGMA):
    """What a member adds to each leaf, by path."""
    whole = noise.kind.materialise(params, noise.draw(KEY, step), sigma, member)
    flat = jax.tree_util.tree_flatten_with_path(jax.tree.map(lambda a, b: np.asarray(a - b), whole, params))[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}


@pytest.mark.parametrize(
    "name, chosen",
    [
        ("lowrank, per sample", ("/mlp/",)),
        ("rank 2, replicas, attention", ("/q/", "/k/", "/v/", "/o/")),
        ("norms (QeRL)", ("norm",)),
        ("flipout, all", ("",)),
    ],
)
def test_only_chosen_leaves_are_perturbed(small, plan, name, chosen):
    for path, added in formed(plan(name), small.BASE.params).items():
        assert np.any(added) == any(word in path for word in chosen), path


def test_noise_differs_between_members_leaves_and_steps(small, plan):
    noise = plan("lowrank, per sample")
    first = formed(noise, small.BASE.params)
    gate, up = first["layers/mlp/gate/kernel"], first["layers/mlp/up/kernel"]
    assert abs(np.corrcoef(gate.ravel(), up.ravel())[0, 1]) < 0.3
    for other in (formed(noise, small.BASE.params, member=1), formed(noise, small.BASE.params, step=STEP + 1)):
        assert abs(np.corrcoef(gate.ravel(), other["layers/mlp/gate/kernel"].ravel())[0, 1]) < 0.3
    assert np.linalg.matrix_rank(gate[0], tol=1e-4) == 1


def test_antithetic_members_are_opposite(small, plan):
    noise = plan("antithetic pairs")
    pairs = [[formed(noise, small.BASE.params, member=2 * pair + side) for side in (0, 1)] for pair in (0, 1)]
    for one, other in pairs:
        for path, added in one.items():
            np.testing.assert_allclose(added, -other[path], atol=1e-6)
    path = "layers/mlp/down/kernel"
    assert abs(np.corrcoef(pairs[0][0][path].ravel(), pairs[1][0][path].ravel())[0, 1]) < 0.3


def test_sigma_is_absolute_or_in_units_of_the_matrix(small, plan):
    absolute = formed(plan("dense, per sample, absolute"), small.BASE.params)["layers/mlp/gate/kernel"]
    assert np.sqrt(np.mean(absolute**2)) == pytest.approx(0.4, rel=0.05)
    relative = formed(plan("dense, per step"), small.BASE.params)["layers/mlp/gate/kernel"]
    size = np.sqrt(np.mean(np.asarray(small.BASE.params["layers"]["mlp"]["gate"]["kernel"]) ** 2))
    assert np.sqrt(np.mean(relative**2)) == pytest.approx(0.4 * size, rel=0.05)


@pytest.mark.parametrize("name", ["lowrank, per sample", "dense, per step"])
def test_sigma_zero_needs_no_correction(small, prompts, settings, plan, name):
    noise, zero = plan(name), jnp.float32(0)
    answers = drawn(small.DECODER, noise, settings, small.BASE.params, prompts, STEP, zero)
    old = jnp.stack([
        scored(small.DECODER, small.BASE.params, prompts, tokens, lengths)
        for tokens, lengths in zip(answers.tokens, answers.lengths, strict=True)
    ])  # fmt: skip
    mask = token_mask(answers.lengths, small.LIMIT)
    weights = correction.weights(Token(), old, answers.log_probs, mask)
    np.testing.assert_allclose(weights, mask, atol=1e-4)


def test_clean_answers_are_marked_and_go_on_where_others_end(small, prompts, settings):
    """Samples 2 and 3 drawn alone are those of four drawn together; so are two of the four problems."""

    @partial(jax.jit, static_argnums=(0, 1))
    def clean(first, count, prompts, begin=0):
        ids = rollout.Ids(first, begin, 4)
        return rollout.clean(
            small.DECODER, small.BASE.params, prompts, ids, count, KEY, TEMPERATURE, settings
        )  # fmt: skip

    whole, tail = jax.device_get((clean(0, 4, prompts), clean(2, 2, prompts)))
    assert whole.member.tolist() == [rollout.CLEAN] * 4 and whole.sigma.tolist() == [0.0] * 4
    np.testing.assert_array_equal(tail.tokens, whole.tokens[2:])
    np.testing.assert_allclose(tail.log_probs, whole.log_probs[2:], atol=1e-5)
    half = jax.tree.map(lambda leaf: leaf[2:], prompts)
    block = jax.device_get(clean(0, 4, half, 2))
    np.testing.assert_array_equal(block.tokens, whole.tokens[:, 2:])
    assert len({tuple(row) for row in whole.tokens.reshape(16, -1).tolist()}) > 8, "rows have randomness of their own"


def test_answers_end_where_they_say(small, prompts, settings, plan):
    answers = jax.device_get(drawn(small.DECODER, plan("lowrank, per sample"), settings, small.BASE.params, prompts, 1))
    last = np.take_along_axis(answers.tokens, answers.lengths[..., None] - 1, axis=-1)[..., 0]
    np.testing.assert_array_equal(answers.ended, last == small.WORDS.ends[0])
    assert answers.ended.any() and not answers.ended.all(), "both kinds are in this test"
    beyond = ~np.asarray(token_mask(jnp.asarray(answers.lengths), small.LIMIT))
    assert np.all(answers.log_probs[beyond] == 0.0) and np.all(answers.tokens[beyond] == small.WORDS.pad)


def test_some_members_are_the_same_in_any_company(small, plan):
    flipout = Psn("flipout", select="re:/mlp/up/")
    params = small.BASE.params
    for noise in (plan("antithetic pairs"), perturbation.plan(flipout, small.DECODER, params, 1, 1)):

        @jax.jit
        def form(members, noise=noise):
            some, held = noise.some(KEY, members)
            assert (some.members, some.answers) == (4, 1)
            one = jax.vmap(lambda member: noise.kind.materialise(params, held, SIGMA, member))
            return one(jnp.arange(4))["layers"]["mlp"]["up"]["kernel"] - params["layers"]["mlp"]["up"]["kernel"][None]

        found = np.asarray(form(jnp.asarray([0, 1, 2, 3], jnp.int32)))
        other = np.asarray(form(jnp.asarray([2, 900, 1, 3], jnp.int32)))
        np.testing.assert_array_equal(other[[0, 2, 3]], found[[2, 1, 3]])
        assert all(np.abs(other[1] - one).max() > 0.01 for one in found)
        assert noise.kind.antithetic == np.allclose(found[0], -found[1], atol=1e-6)


def test_nothing_to_perturb_is_refused(small):
    for target in ("re:nowhere", "norms"):
        wanted = Psn(select=target)
        if target == "norms":
            assert perturbation.plan(wanted, small.DECODER, small.BASE.params, 4, 1) is not None
            continue
        with pytest.raises(UserError, match="nowhere"):
            perturbation.plan(wanted, small.DECODER, small.BASE.params, 4, 1)
    with pytest.raises(UserError, match="structure"):
        perturbation.plan(NoNoise(), small.DECODER, small.BASE.params, 4, 1)
    assert perturbation.plan(NoNoise(), small.DECODER, small.BASE.params, NoNoise().members(4), 1) is None
    assert perturbation.plan(Psn(), small.DECODER, small.BASE.params, 0, 1) is None


@pytest.mark.parametrize("width, structure, dense", [
    (16, "lowrank", 3), (40, "lowrank", 0), (16, "flipout", 0), (16, "dense", 0), (16, "factorised", 0),
])  # fmt: skip
def test_what_is_too_small_for_a_structure_is_counted(width, structure, dense):
    decoder = decoders.tiny(9, width, 1, 2)
    params = jax.eval_shape(lambda: model.init(decoder, jax.random.key(0)))
    made = perturbation.plan(Psn(structure), decoder, params, 4, 1)
    assert made.dense() == (dense, 3), "gate, up and down of one layer"
