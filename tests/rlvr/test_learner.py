"""The update: which policies its gradient sees, in what pieces, and what leaves the weights alone."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpsn.core import compat
from jaxpsn.lm.sampler import Prompts
from jaxpsn.rlvr import alarms, gathering, learner
from jaxpsn.rlvr.objective import advantages
from jaxpsn.rlvr.objective.tokens import token_mask
from jaxpsn.rlvr.placement import Placement


@pytest.fixture(scope="module")
def experience(small):
    """A step's experience: in each group a clean answer and those of three perturbations, far from the clean policy."""
    made = small.gatherer(small.config(noise={"clean_share": 0.25}))
    return made.gather(small.state(sigma=1.0), None, gathering.Clock()).experience


@pytest.fixture(scope="module")
def batch(experience):
    """The experience as one update sees it."""
    gained = np.asarray(advantages.group(jnp.asarray(experience.rewards))).T
    assert np.abs(gained).sum() > 1
    return learner.Batch(experience.prompts, experience.answers, gained)


@pytest.fixture(scope="module")
def step(small):
    """``step(batch, **algorithm) -> (gradient, metrics)`` of the base."""
    compiled = {}

    def run(batch, dtype="float32", **algorithm):
        settings = small.config(noise={"clean_share": 0.25}, algorithm=algorithm, dtype=dtype)
        # Plain descent at rate 1 leaves the gradient in the weights; Adam would normalise it away.
        made = learner.make(settings, small.DECODER, small.LIMIT, small.WORDS.vocab_size, Placement(None))
        name = repr(settings)
        if name not in compiled:
            compiled[name] = jax.jit(made._replace(optimiser=optax.sgd(1.0)).update)
        after, _, metrics = compiled[name](small.BASE.params, (optax.EmptyState(), optax.EmptyState()), batch)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(after))
        return jax.tree.map(lambda a, b: np.asarray(b - a), after, small.BASE.params), jax.device_get(metrics)

    return run


@pytest.fixture(scope="module")
def clean(small, experience):
    """Log-probs [G, P, T] of the answers under the base."""
    made = learner.make(small.config(), small.DECODER, small.LIMIT, small.WORDS.vocab_size, Placement(None))
    answers = experience.answers
    return np.asarray(jax.jit(made.log_probs)(small.BASE.params, experience.prompts, answers.tokens, answers.lengths))


def moved(batch, by=0.3):
    """The batch with other log-probs of the sampler."""
    return batch.replace(answers=batch.answers.replace(log_probs=batch.answers.log_probs - np.float32(by)))


def apart(one, other):
    """Largest distance of two gradients, relative to the largest entry."""
    size = max(np.abs(leaf).max() for leaf in jax.tree.leaves(one))
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), one, other))) / size


def test_without_correction_the_sampler_is_not_seen(small, batch, step):
    """Not in a ratio, not anywhere: other log-probs of the noisy policy, the very same gradient."""
    one, told = step(batch, correction="none")
    other, _ = step(moved(batch), correction="none")
    assert small.same(one, other)
    assert told["ppo_ratio"] == pytest.approx(1.0, abs=1e-6) and told["ppo_kl"] == pytest.approx(0.0, abs=1e-6)
    assert told["clip_low"] == told["clip_high"] == told["clip_dual"] == 0.0


def test_the_correction_multiplies_and_is_not_clipped(small, batch, step):
    """All sampler log-probs lower by 0.3: every weight is exp(0.3) times as large, far outside PPO's clip of 0.2."""
    one, _ = step(batch, correction="token(cap=100000)")
    other, told = step(moved(batch), correction="token(cap=100000)")
    grown = jax.tree.map(lambda leaf: leaf * np.float32(np.exp(0.3)), one)
    assert apart(grown, other) < 1e-5
    assert told["clip_high"] == 0.0 and told["ppo_ratio"] == pytest.approx(1.0, abs=1e-6)


def test_normalised_weights_do_not_see_a_common_factor(batch, step):
    """All weights exp(0.3) times as large are, divided by their mean, what they were."""
    one, _ = step(batch, correction="token(cap=100000, normalise=true)")
    other, _ = step(moved(batch), correction="token(cap=100000, normalise=true)")
    plain, _ = step(batch, correction="token(cap=100000)")
    assert apart(one, other) < 1e-5 < apart(one, plain)


def test_the_loss_is_what_its_parts_say(small, batch, clean, step):
    _, told = step(batch, correction="token(cap=1.1)")
    answers, mask = batch.answers, np.asarray(token_mask(jnp.asarray(batch.answers.lengths), small.LIMIT))
    ratio = np.exp(clean.astype(np.float64) - answers.log_probs)[mask]
    weights = np.minimum(ratio, 1.1)
    gained = np.broadcast_to(batch.advantages[..., None], mask.shape)[mask]
    assert told["loss"] == pytest.approx(-np.mean(weights * gained), rel=1e-4, abs=1e-6)
    assert told["ratio_max"] == pytest.approx(ratio.max(), rel=1e-3)
    assert told["truncated_share"] == pytest.approx(np.mean(ratio > 1.1), abs=1e-6)
    noisy = mask & (answers.member >= 0)[:, None, None]
    assert told["noise_kl_k1"] == pytest.approx(np.mean((answers.log_probs - clean)[noisy]), rel=1e-3)
    for member in range(3):
        own = mask & (answers.member == member)[:, None, None]
        told_of = told[f"noise_kl_member_{member:02}"]
        assert told_of == pytest.approx(np.mean((answers.log_probs - clean)[own]), rel=1e-3, abs=1e-5)


def test_no_anchor_means_the_current_policy(batch, clean, step):
    one, _ = step(batch)
    other, _ = step(batch.replace(old=clean))
    assert apart(one, other) < 1e-5


def test_an_anchor_elsewhere_is_the_ratios_and_the_corrections(batch, clean, step):
    """Old log-probs higher by 0.1: ratios of exp(-0.1) within the clip, weights of the old policy."""
    _, told = step(batch.replace(old=clean + np.float32(0.1)), correction="token(cap=100000)")
    assert told["ppo_ratio"] == pytest.approx(np.exp(-0.1), rel=1e-4)
    assert told["ppo_kl"] == pytest.approx(0.1, rel=1e-3)
    weighed = [
        step(batch.replace(old=clean + np.float32(shift)), correction="token(cap=100000)")[1]["loss"]
        for shift in (0.0, 0.1)
    ]
    advantage, mask = batch.advantages, np.asarray(token_mask(jnp.asarray(batch.answers.lengths), 4))
    assert mask.any() and np.abs(advantage).max() > 0 and weighed[0] != 0
    # Weights grow by exp(0.1), ratios shrink by as much.
    assert weighed[1] == pytest.approx(weighed[0], rel=1e-3)


@pytest.mark.parametrize("pieces", [2, 4])
def test_micro_batches_change_nothing(batch, step, pieces):
    one, told = step(batch, kl_coefficient=0.0)
    other, again = step(batch, micro_batches=pieces)
    assert apart(one, other) < 1e-5
    assert again["grad_norm"] == pytest.approx(told["grad_norm"], rel=1e-5)


def test_pieces_are_whole_problems_in_order(batch, clean):
    whole = batch.replace(old=clean, reference=2 * clean)
    parts = learner.pieces(whole, 2)
    assert [part.advantages.shape for part in parts] == [(4, 2)] * 2
    for name in ("advantages", "old", "reference"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts], 1), getattr(whole, name))
    for name in ("tokens", "log_probs", "lengths", "ended"):
        joined = np.concatenate([getattr(part.answers, name) for part in parts], axis=1)
        np.testing.assert_array_equal(joined, getattr(whole.answers, name))
    np.testing.assert_array_equal(np.concatenate([part.prompts.tokens for part in parts]), whole.prompts.tokens)
    assert all(part.answers.member is whole.answers.member for part in parts)
    assert learner.pieces(whole, 1) == [whole]


def test_answers_cut_off_teach_nothing_where_they_are_masked(small, batch, step):
    ended = batch.answers.ended
    assert ended.any() and not ended.all()
    one, _ = step(batch, overlong="mask")
    spoilt = np.where(ended, batch.advantages, 7.0).astype(np.float32)
    assert small.same(one, step(batch.replace(advantages=spoilt), overlong="mask")[0])
    kept, _ = step(batch)
    assert apart(kept, one) > 0.01
    none = batch.replace(answers=batch.answers.replace(ended=np.zeros_like(ended)))
    gradient, told = step(none, overlong="mask")
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient)) and told["loss"] == 0.0


def test_an_update_that_a_gate_empties_is_skipped_and_counted(small, batch):
    """Not even Adam's memory moves; with one token left it is an update like any other."""

    def after(correction):
        made = learner.make(
            small.config(noise={"clean_share": 0.25}, algorithm={"correction": correction}),
            small.DECODER, small.LIMIT, small.WORDS.vocab_size, Placement(None),
        )  # fmt: skip
        memory = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), made.optimiser.init(small.BASE.params))
        params, moved, told = jax.jit(made.update)(small.BASE.params, memory, batch)
        return small.same(params, small.BASE.params) and small.same(moved, memory), told

    stood, told = after("none(gate=token(low=0, high=1e-6))")
    assert stood and told["skipped"] == 1.0 and told["masked_share"] == 1.0
    assert alarms.skipped({name: float(value) for name, value in told.items()}).startswith("gate: it dropped every")
    stood, told = after("none(gate=token)")
    assert not stood and told["skipped"] == 0.0 and 0.0 < told["masked_share"] < 1.0
    assert alarms.skipped({"skipped": 0.0}) is None


def test_what_leaves_the_denominator_makes_the_rest_count_more(batch, step):
    gate = "none(gate=token(low=0.5, high=2, counted={}))"
    one, told = step(batch, correction=gate.format("true"))
    other, _ = step(batch, correction=gate.format("false"))
    grown = jax.tree.map(lambda leaf: leaf / np.float32(1.0 - told["masked_share"]), one)
    assert 0.0 < told["masked_share"] < 1.0 and apart(grown, other) < 1e-5


def test_alarms_speak_of_weights_that_do_not_work():
    assert "sample size of 0.12" in alarms.few({"weight_ess": 0.12}) and alarms.few({"weight_ess": 0.31}) is None
    assert "mean of 0.4" in alarms.mean({"weight_mean": 0.4}) and "2.5" in alarms.mean({"weight_mean": 2.5})
    quiet = {"weight_mean": 1.9, "weight_ess": float("nan")}
    assert alarms.mean(quiet) is alarms.few(quiet) is alarms.skipped(quiet) is None
    assert all(alarm({}) is None for alarm in (alarms.few, alarms.mean, alarms.skipped))


def test_equal_rewards_teach_nothing(small, batch):
    """Exactly nothing, through Adam as well; only an entropy bonus or a KL term moves the weights then."""
    flat = batch.replace(advantages=np.asarray(advantages.group(jnp.full((4, 4), 0.7))).T)

    def after(**algorithm):
        settings = small.config(noise={"clean_share": 0.25}, algorithm=algorithm)
        made = learner.make(settings, small.DECODER, small.LIMIT, small.WORDS.vocab_size, Placement(None))
        memory = made.optimiser.init(small.BASE.params)
        params, _, told = jax.jit(made.update)(small.BASE.params, memory, flat)
        return params, told

    params, told = after()
    assert small.same(params, small.BASE.params)
    assert told["grad_norm"] == 0.0 and told["loss"] == 0.0
    params, told = after(entropy_coefficient=0.1)
    assert not small.same(params, small.BASE.params) and told["grad_norm"] > 0.0


def test_the_bonus_raises_entropy_and_the_penalty_draws_back(small, batch, clean, step):
    flat = batch.replace(advantages=np.zeros_like(batch.advantages))
    gradient, told = step(flat, entropy_coefficient=0.5)
    assert told["loss"] == pytest.approx(-0.5 * told["entropy"], rel=1e-5)
    here = dict(prompts=batch.prompts, tokens=batch.answers.tokens, lengths=batch.answers.lengths)
    made = learner.make(small.config(), small.DECODER, small.LIMIT, small.WORDS.vocab_size, Placement(None))
    better = jax.tree.map(lambda leaf, slope: leaf - 0.05 * slope, small.BASE.params, gradient)
    entropy = [float(jnp.sum(jax.jit(made.scores)(params, **here).entropy)) for params in (small.BASE.params, better)]
    assert entropy[1] > entropy[0]
    away = flat.replace(reference=clean - np.float32(0.5))
    _, told = step(away, kl_coefficient=0.1)
    assert told["reference_kl"] == pytest.approx(np.exp(-0.5) + 0.5 - 1, rel=1e-4)
    assert told["loss"] == pytest.approx(0.1 * told["reference_kl"], rel=1e-4)


def test_scores_are_at_the_sampling_temperature_in_any_pieces(small, experience):
    answers = experience.answers

    def log_probs(temperature, **algorithm):
        settings = small.config(rollout={"prompts": 4, "samples": 4, "temperature": temperature}, algorithm=algorithm)
        made = learner.make(settings, small.DECODER, small.LIMIT, small.WORDS.vocab_size, Placement(None))
        return jax.jit(made.log_probs)(small.BASE.params, experience.prompts, answers.tokens, answers.lengths)

    at_one, in_pieces = log_probs(1.0), log_probs(1.0, mini_batches=2, micro_batches=2)
    np.testing.assert_allclose(at_one, in_pieces, atol=1e-5)
    # The clean answers of the group were drawn at temperature 1, by this very policy.
    np.testing.assert_allclose(at_one[0], answers.log_probs[0], atol=1e-4)
    assert np.abs(at_one - log_probs(0.5)).max() > 0.1


def test_bfloat16_passes_keep_float32_weights(batch, step):
    one, _ = step(batch)
    other, told = step(batch, dtype="bfloat16")
    assert apart(one, other) < 0.2 and np.isfinite(told["loss"])


def test_rate_rises_over_the_warm_up(small):
    settings = small.config(algorithm={"warmup": 3, "learning_rate": 1e-3})
    made = learner.make(settings, small.DECODER, small.LIMIT, small.WORDS.vocab_size, Placement(None))
    params = {"weight": jnp.ones((4,))}
    memory, sizes = made.optimiser.init(params), []
    for _ in range(5):
        with compat.foreign():
            change, memory = made.optimiser.update(params, memory, params)
        sizes.append(float(-change["weight"][0]))
    # The gradient is clipped to norm 1, which Adam undoes.
    np.testing.assert_allclose(sizes, [2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3], rtol=1e-2)


def test_a_constant_divides_by_the_limit(small):
    made = learner.make(small.config(algorithm={"loss": "dr_grpo"}), small.DECODER, 4, 15, Placement(None))
    assert (made.settings.loss.aggregation, made.settings.length) == ("constant", 4)


def _with_words(small, vocab, mesh=None, **algorithm):
    """A learner of a decoder with so many words."""
    place = Placement(None)
    if mesh is not None:
        place.mesh = SimpleNamespace(size=mesh)
    decoder = replace(small.DECODER, vocab_size=vocab)
    return learner.make(small.config(algorithm=algorithm), decoder, small.LIMIT, vocab, place)


def test_of_a_large_vocabulary_1024_tokens_have_logits_at_once(small):
    """On each device, whatever the number of texts; at least one of each text."""
    assert _with_words(small, 4096)._tokens(7) == 0
    large = _with_words(small, 4097)
    for texts in (1, 3, 32, 1000, 1024):
        assert 1024 - texts < texts * large._tokens(texts) <= 1024
    assert large._tokens(1025) == large._tokens(9999) == 1
    assert _with_words(small, 4097, mesh=8)._tokens(32) == 8 * large._tokens(32)


@pytest.mark.parametrize("algorithm", [{}, {"token_budget": 2048}], ids=["as they stand", "packed"])
def test_no_more_logits_exist_at_once_than_that(small, algorithm):
    """Of 16 x 5 answers of 40 tokens, in the backward pass too."""
    vocab, shape = 4099, (16, 5, 40)
    made = _with_words(small, vocab, **algorithm)
    params = jax.tree.map(jnp.zeros_like, small.BASE.params)
    params["embed"]["embedding"] = jnp.zeros((vocab, small.DECODER.hidden_size))
    prompts = Prompts(jnp.ones((5, 6), jnp.int32), jnp.full((5,), 6, jnp.int32))
    given = prompts, jnp.ones(shape, jnp.int32), jnp.full(shape[:2], 40, jnp.int32)

    def total(params):
        return jnp.sum(made.scores(params, *given).log_probs)

    text = str(jax.make_jaxpr(jax.grad(total))(params))
    sizes = {math.prod(map(int, found.split(","))) for found in re.findall(r"f32\[([\d,]*),4099\]", text)}
    assert max(sizes) <= 1024 < math.prod(shape) and len(sizes) > 1
