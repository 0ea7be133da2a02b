"""Noise within an answer: drawn anew at every token or every few, sampled and scored with the same draws."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core import errors
from jaxpsn.lm import policies, sampler, scoring, tokenizer
from jaxpsn.noise import colours, holds
from jaxpsn.noise.hold_rules import HOLDS, Steps
from jaxpsn.rlvr import rollout
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.objective import correction
from jaxpsn.rlvr.objective.corrections import CORRECTIONS
from jaxpsn.rlvr.objective.tokens import token_mask

KEY, SIGMA, STEP, LIMIT = jax.random.key(11), jnp.float32(0.5), jnp.int32(3), 7
TEMPERATURE = jnp.float32(0.8)


@pytest.fixture(scope="module")
def prompts(small):
    """Three problems of different lengths."""
    texts = ("1+2=", "7+", "0")
    return tokenizer.pack([small.WORDS.encode(text) for text in texts], length=small.TASK.max_prompt)


def planned(small, structure, hold, members=2, answers=2):
    asked = Psn(structure, hold=hold, per="replica", replicas=members)
    return perturbation.plan(asked, small.DECODER, small.BASE.params, members, answers)


@partial(jax.jit, static_argnums=(0, 1, 2))
def drawn(decoder, noise, settings, params, prompts):
    ids = rollout.Ids(0, 0, prompts.tokens.shape[0])
    return rollout.noisy(decoder, noise, params, noise.draw(KEY, STEP), SIGMA, prompts, ids, KEY, TEMPERATURE, settings)


@partial(jax.jit, static_argnums=(0, 1))
def rescored(decoder, noise, params, prompts, answers):
    return rollout.rescore(
        decoder, noise, params, noise.draw(KEY, STEP), SIGMA, prompts, answers, TEMPERATURE, vocab=15
    )


@pytest.fixture(scope="module")
def settings(small):
    """Answers that none but the limit ends."""
    return sampler.Sampling(LIMIT, (), small.WORDS.pad, vocab=small.WORDS.vocab_size)


@pytest.mark.parametrize(
    ("structure", "hold"),
    [("lowrank(rank=2)", "tokens(1)"), ("flipout", "pink(longest=4)"), ("dense", "tokens(2)")],
)
def test_scoring_repeats_the_draws_of_sampling(small, prompts, settings, structure, hold):
    noise = planned(small, structure, hold)
    answers = jax.device_get(drawn(small.DECODER, noise, settings, small.BASE.params, prompts))
    again = rescored(small.DECODER, noise, small.BASE.params, prompts, answers)
    np.testing.assert_allclose(again, answers.log_probs, atol=1e-4)
    held = noise._replace(hold=None, kind=getattr(noise.kind, "of", noise.kind))
    other = rescored(small.DECODER, held, small.BASE.params, prompts, answers)
    every = noise.hold.n if isinstance(noise.hold, Steps) else 0  # the components of a colour have streams of their own
    # The first draw is that of noise which is held for the whole answer; later ones are others.
    np.testing.assert_allclose(other[..., :every], answers.log_probs[..., :every], atol=1e-4)
    assert np.abs(np.asarray(other) - answers.log_probs)[..., every:].max() > 0.05


def test_held_beyond_the_answer_it_is_noise_of_the_answer(small, prompts, settings):
    one = drawn(small.DECODER, planned(small, "lowrank", "tokens(7)"), settings, small.BASE.params, prompts)
    other = drawn(small.DECODER, planned(small, "lowrank", "episode"), settings, small.BASE.params, prompts)
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-5)


def test_draws_are_a_function_of_member_and_token(small):
    noise = planned(small, "lowrank", "tokens(2)")
    policy = noise.policy(small.BASE.params, noise.draw(KEY, STEP), SIGMA).over(5)
    drawn_at = [jax.tree.leaves(policy.at(token).draw.noise)[0] for token in range(4)]
    assert small.same(drawn_at[0], drawn_at[1]) and small.same(drawn_at[2], drawn_at[3])
    assert not small.same(drawn_at[0], drawn_at[2]) and not np.array_equal(drawn_at[0][0], drawn_at[0][1])
    few = noise.some(jax.random.key(1), jnp.array([4, 9], jnp.int32))
    alone = noise.some(jax.random.key(1), jnp.array([9], jnp.int32))
    both, one = (some.policy(small.BASE.params, draw, SIGMA).over(5).at(5).draw.noise for some, draw in (few, alone))
    np.testing.assert_array_equal(jax.tree.leaves(both)[0][1], jax.tree.leaves(one)[0][0])


@pytest.mark.parametrize(("hold", "falls"), [("pink(longest=64)", -1.0), ("colored(beta=0.5, longest=64)", -0.5)])
def test_over_tokens_noise_has_its_colour(small, hold, falls):
    """Spectrum of a weight over 1024 tokens, of 256 members: each component a normal number for every redraw."""
    rule = HOLDS.make(hold, "hold")
    numbers = jnp.arange(256, dtype=jnp.uint32)
    count = np.asarray(jax.jit(lambda: holds.turns(rule.build(), KEY, numbers, 1024))())
    assert count.shape == (1024, 256, len(rule.components)) and not count[0].any()
    values = np.random.default_rng(0).normal(size=(256, count.shape[2], count.max() + 1))
    each = np.stack([values[member, k, count[:, member, k]] for member in range(256) for k in range(count.shape[2])])
    weight = np.einsum("mkt,k->mt", each.reshape(256, -1, 1024), np.sqrt(list(rule.components.values())))
    assert np.var(weight) == pytest.approx(1.0, abs=0.1)
    density = np.mean(np.abs(np.fft.rfft(weight, axis=1)) ** 2, axis=0) / 1024
    frequency = np.fft.rfftfreq(1024)
    band = (frequency > 0.5 / (np.pi * 64)) & (frequency < 0.5 / np.pi)
    assert colours.slope(frequency[band], density[band]) == pytest.approx(falls, abs=0.12)


def test_the_correction_is_exact(small, prompts):
    """Noisy tokens weighed by clean / noisy: chances of the clean policy, for the first two tokens of an answer."""
    settings = sampler.Sampling(2, (), small.WORDS.pad, vocab=small.WORDS.vocab_size)
    noise = planned(small, "lowrank", "tokens(1)", members=2, answers=1500)
    answers = drawn(small.DECODER, noise, settings, small.BASE.params, prompts)
    params, mask = small.BASE.params, token_mask(answers.lengths, 2)
    clean = policies.Clean(params, len(answers.member))
    old = jax.jit(lambda *given: scoring.score(small.DECODER, clean, *given, TEMPERATURE, vocab=15).log_probs)(
        prompts, answers.tokens, answers.lengths
    )
    weights = correction.weights(CORRECTIONS.make("sequence(cap=none)"), old, answers.log_probs, mask)[..., 0]
    for problem in range(3):
        first = np.asarray(answers.tokens[:, problem, 0])
        chance = np.bincount(first, np.asarray(weights[:, problem]), 15) / len(first)
        common = np.bincount(first, minlength=15) > 100
        exact = np.zeros(15)
        exact[first] = np.exp(np.asarray(old[:, problem, 0]))
        np.testing.assert_allclose(chance[common], exact[common], atol=0.05)


def test_a_step_trains_with_it(small):
    program = small.reasoner(small.config(noise={"hold": "tokens(1)"}))
    state, told = program.step(program.init())
    assert told["noise_kl_k3"] > 0.0 and int(state.clock) == 1


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (dict(noise={"hold": "drift"}), "psn.hold = 'drift': a hold of which each token"),
        (
            dict(noise={"hold": "tokens(2)"}, algorithm={"estimator": "pooled", "correction": "none"}),
            "noise.hold = 'steps(n=2)': episode with estimator = pooled",
        ),
    ],
)
def test_refuses_in_one_line(small, sections, said):
    with pytest.raises(errors.UserError) as caught:
        small.config(**sections)
    assert said in str(caught.value)
