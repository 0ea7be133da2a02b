"""Explorations: their numbers are those of formed weights and whole distributions, whatever the calls."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.lm import model
from jaxpsn.rlvr import gathering, rollout, setup
from jaxpsn.rlvr.config import DecoderSize, PretrainConfig, RlvrConfig
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.run import cache
from jaxpsn.run.reasoning import curves

PROBLEMS, SIGMA = 4, 0.4
WIDTH = 16  # of a text, prompt and answer
CONFIG = RlvrConfig(
    task="chain_sum(terms=2, digits=1)",
    decoder=DecoderSize(hidden_size=40, num_layers=1, num_heads=2),
    pretrain=PretrainConfig(steps=0),
)


def ground_of(problems, told=lambda step, steps, shown: None):
    """The base of ``CONFIG``, pre-trained or found where it is kept, and problems to judge it by."""
    task = CONFIG.task
    base = setup.policy(CONFIG, task, cache.home() / "bases", lambda text: None, told)
    return curves.ground(CONFIG, base, task, problems)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """Random weights with opinions: at the usual scale of 0.02 all tokens are equally likely."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        made = ground_of(PROBLEMS)
    grown = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if path[-1].key == "scale" else 6.0 * leaf, made.params
    )
    return made._replace(params=grown)


CASES = {
    "a member for each answer": (4, 1, {}),
    "two answers of each member": (2, 2, {"structure": "dense", "select": "linear"}),
}


def noise_of(ground, case):
    members, answers, fields = CASES[case]
    return perturbation.plan(Psn(**fields), ground.decoder, ground.params, members, answers)


@lru_cache
def drawing(decoder, sampling, noise):
    """``(params, prompts) -> answers`` that an exploration with seed 0 is made of, drawn in one piece."""
    key = jax.random.key(0)

    @jax.jit
    def draw(params, prompts):
        ids, stream = rollout.Ids(0, 0, PROBLEMS), jax.random.fold_in(key, gathering.SAMPLE)
        held, scale = noise.draw(key, 0), jnp.float32(SIGMA)
        return rollout.noisy(decoder, noise, params, held, scale, prompts, ids, stream, jnp.float32(1), sampling)

    return draw


def drawn(ground, noise):
    """Those answers, on the host."""
    return jax.device_get(drawing(ground.decoder, ground.sampling, noise)(ground.params, ground.prompts))


@partial(jax.jit, static_argnums=0)
def logits_of(decoder, params, text):
    """Next-token logits along one text that stands at the front."""
    hidden, _ = model.hidden_states(decoder, params, text[None], jnp.zeros((1,), jnp.int32))
    return model.logits(decoder, params, hidden)[0]


def log_softmax(ground, params, prompt, answer):
    """Next-token log-probs [T, V] along one answer, in float64."""
    text = np.zeros(WIDTH, np.int32)
    text[: len(prompt) + len(answer)] = [*prompt, *answer]
    logits = np.asarray(logits_of(ground.decoder, params, text), np.float64)
    logits = logits[len(prompt) - 1 : len(prompt) + len(answer) - 1]
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def texts_of(ground, answers):
    samples, problems = answers.lengths.shape
    return [
        [ground.words.decode(answers.tokens[s, p, : answers.lengths[s, p]].tolist()) for s in range(samples)]
        for p in range(problems)
    ]


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_those_of_formed_weights(ground, case):
    noise = noise_of(ground, case)
    members, answers = noise.members, noise.answers
    found = curves.perturbed(ground, noise, [SIGMA])
    own, held = drawn(ground, noise), noise.draw(jax.random.key(0), 0)
    told = {name: [] for name in ("kl", "k1", "k3", "entropy", "certainty")}
    vocab = ground.words.vocab_size
    for member in range(members):
        formed = noise.kind.materialise(ground.params, held, jnp.float32(SIGMA), member)
        tokens = []
        for sample in range(member * answers, (member + 1) * answers):
            for place, problem in enumerate(ground.problems):
                prompt = ground.words.prompt(problem.prompt)
                answer = own.tokens[sample, place, : own.lengths[sample, place]].tolist()
                noisy, clean = (log_softmax(ground, params, prompt, answer) for params in (formed, ground.params))
                chosen = np.arange(len(answer)), answer
                gap = (clean - noisy)[chosen]
                tokens.append([
                    (np.exp(noisy) * (noisy - clean)).sum(axis=1), -gap, np.expm1(gap) - gap,
                    -(np.exp(noisy) * noisy).sum(axis=1), -noisy.mean(axis=1) - np.log(vocab),
                ])  # fmt: skip
        for name, values in zip(told, np.concatenate(tokens, axis=1), strict=True):
            told[name].append(values.mean())
    for name, values in told.items():
        np.testing.assert_allclose(getattr(found, name)[0], values, rtol=2e-3, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(found.length[0], own.lengths.reshape(members, -1).mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_groups_are_counted_apart(ground, case):
    noise = noise_of(ground, case)
    members = noise.members
    found = curves.perturbed(ground, noise, [0.0, SIGMA])
    groups = 1 if noise.answers == 1 else members
    assert found.samples == 4 // groups and found.right.shape == found.hidden.shape == (2, groups, PROBLEMS)
    assert found.kl.shape == (2, members) and found.scales.tolist() == [0.0, SIGMA]
    texts = texts_of(ground, drawn(ground, noise))
    for place, problem in enumerate(ground.problems):
        for group in range(groups):
            some = texts[place][group * found.samples : (group + 1) * found.samples]
            assert found.different[1, group, place] == pytest.approx(len(set(some)) / len(some))
            right = [text for text in some if ground.task.check(problem, text)]
            assert found.right[1, group, place] == len(right)
            assert found.solutions[1, group, place] == len({ground.task.canonical(problem, text) for text in right})


def test_right_answers_are_counted(ground):
    problem = ground.problems[0]
    texts = [problem.answer, problem.answer + " ", "no", "no", ""]
    right, solutions, different = curves._counted(ground.task, problem, texts)
    assert different == 4 and solutions == 1 and right == sum(ground.task.check(problem, text) for text in texts) >= 1


def test_sigma_zero_and_temperature_one_are_the_clean_policy(ground):
    still = curves.perturbed(ground, noise_of(ground, "a member for each answer"), [0.0, SIGMA])
    clean = curves.heated(ground, 4, [1.0, 2.0])
    for name in ("right", "solutions", "different"):
        np.testing.assert_array_equal(getattr(still, name)[0], getattr(clean, name)[0])
    for one in (still, clean):
        assert np.abs(one.kl[0]).max() < 1e-6 and one.kl[1].min() > 1e-3
        for level in ("token", "sequence"):
            assert one.ratios[f"{level}_ess"][0] == pytest.approx(1.0, abs=1e-3)
            assert one.ratios[f"{level}_ess"][1] < 0.99
            assert one.ratios[f"{level}_truncated"][0] == 0.0
            assert one.ratios[f"{level}_mean"][0] == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(still.hidden[0], clean.hidden[0], atol=1e-3)
    assert clean.entropy[1].mean() > clean.entropy[0].mean() and clean.scales.tolist() == [1.0, 2.0]


def test_blocks_change_nothing(ground):
    noise = noise_of(ground, "two answers of each member")
    whole, parts = (curves.perturbed(ground, noise, [SIGMA], rows=rows) for rows in (2048, 8))
    for name in ("right", "solutions", "different", "ngram"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    for name in ("kl", "k1", "entropy", "hidden"):
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), atol=1e-4)


def test_seeds_differ(ground):
    noise = noise_of(ground, "a member for each answer")
    one, other = (curves.perturbed(ground, noise, [SIGMA], seed=seed) for seed in (0, 1))
    assert np.abs(one.kl - other.kl).min() > 1e-6


def test_a_base_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    heard = []
    first = ground_of(2, lambda step, steps, shown: heard.append((step, steps)))
    again = ground_of(2)
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), first.params, again.params))
    assert len(list((tmp_path / "jaxpsn" / "bases").iterdir())) == 1
    assert first.prompts.tokens.shape == (2, first.task.max_prompt)


def test_mistakes_are_named(ground):
    with pytest.raises(UserError, match="samples"):
        curves.heated(ground, 0, [1.0])
    with pytest.raises(UserError, match="count"):
        ground_of(100_000)
