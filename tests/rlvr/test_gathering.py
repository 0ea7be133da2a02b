"""A step's experience: who answers what, in which order, verified how, and what dynamic sampling replaces."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.lm import policies, scoring
from jaxpsn.noise.scales import ScaleState
from jaxpsn.rlvr import gathering, rollout
from jaxpsn.rlvr.exploration.rules import Composite
from jaxpsn.tasks.problem import Problem


@pytest.fixture(scope="module")
def plain(small):
    """One gatherer of rank-one noise per sample, and what it found at the first step."""
    made = small.gatherer(small.config(noise={"clean_share": 0.25}))
    return made, made.gather(small.state(), None, gathering.Clock())


def shared(small, one, other):
    """Whether two experiences hold the same answers."""
    a, b = one.experience, other.experience
    assert a.texts == b.texts and a.problems == b.problems
    np.testing.assert_array_equal(a.answers.tokens, b.answers.tokens)
    np.testing.assert_allclose(a.answers.log_probs, b.answers.log_probs, atol=1e-4)
    for name in ("member", "sigma", "lengths", "ended"):
        np.testing.assert_array_equal(getattr(a.answers, name), getattr(b.answers, name))


def test_a_group_is_its_clean_answers_and_then_its_members(small, plain):
    _, found = plain
    experience = found.experience
    assert experience.answers.tokens.shape == (4, 4, small.LIMIT)
    assert experience.answers.member.tolist() == [rollout.CLEAN, 0, 1, 2]
    assert experience.answers.sigma.tolist() == [0.0, 0.5, 0.5, 0.5]
    assert (found.drawn, found.replaced) == (4, 0)


def test_texts_and_scores_are_those_of_problem_and_sample(small, plain):
    _, found = plain
    experience, words = found.experience, small.WORDS
    for p, problem in enumerate(experience.problems):
        width = experience.prompts.lengths[p]
        assert words.decode(experience.prompts.tokens[p, -width:].tolist()) == problem.prompt
        for g in range(4):
            ids = experience.answers.tokens[g, p, : experience.answers.lengths[g, p]].tolist()
            assert experience.texts[p][g] == words.decode(ids)
            assert experience.scores[p, g] == small.even([problem], [words.decode(ids)])[0]
    assert 0 < experience.scores.mean() < 1
    np.testing.assert_array_equal(experience.rewards, experience.scores)


def test_the_verifier_is_told_which_problem(small):
    asked = []

    def grade(problems, texts):
        asked.extend(zip((problem.id for problem in problems), texts, strict=True))
        return small.even(problems, texts)

    found = small.gatherer(small.config(noise={"clean_share": 0.25}), grade).gather(
        small.state(), None, gathering.Clock()
    )
    experience = found.experience
    pairs = [
        (problem.id, text) for problem, row in zip(experience.problems, experience.texts, strict=True) for text in row
    ]
    assert asked == pairs


def test_clean_weights_are_not_touched(small):
    before = small.host(small.BASE.params)
    small.gatherer(small.config(noise={"clean_share": 0.25})).gather(small.state(), None, gathering.Clock())
    assert small.same(before, small.BASE.params)


@pytest.mark.parametrize("change", [{"rows": 4}, {"segment": 1, "rows": 6}], ids=str)
def test_answers_do_not_depend_on_calls_and_segments(small, plain, change):
    made = small.gatherer(small.config(noise={"clean_share": 0.25}, rollout={"prompts": 4, "samples": 4} | change))
    shared(small, plain[1], made.gather(small.state(), None, gathering.Clock()))


def test_segments_of_members_that_answer_more_than_once(small):
    """Layouts [member, sample] and [sample, member] are told apart by two members with two answers each."""
    noise = {"per": "replica", "replicas": 2}
    one, other = (
        small.gatherer(small.config(noise=noise, rollout={"prompts": 4, "samples": 4, "segment": segment}))
        for segment in (0, 2)
    )
    found = one.gather(small.state(), None, gathering.Clock())
    assert found.experience.answers.member.tolist() == [0, 0, 1, 1]
    shared(small, found, other.gather(small.state(), None, gathering.Clock()))


def test_answers_are_a_function_of_seed_step_and_position(small, plain):
    made, found = plain
    shared(small, found, made.gather(small.state(), None, gathering.Clock()))
    later = made.gather(small.state(clock=1), None, gathering.Clock()).experience
    assert later.problems == found.experience.problems and later.texts != found.experience.texts
    other = made.gather(small.state(seed=1), None, gathering.Clock()).experience
    assert other.problems == found.experience.problems and other.texts != found.experience.texts
    moved = made.gather(small.state(position=2), None, gathering.Clock()).experience
    assert moved.problems[:2] == found.experience.problems[2:]


@pytest.mark.parametrize(
    "problems, samples, rows, parts, size",
    [(32, 8, 0, 1, 32), (32, 8, 256, 1, 32), (32, 8, 255, 1, 16), (32, 8, 7, 1, 1), (30, 4, 40, 1, 10),
     (32, 8, 64, 4, 8), (32, 8, 1, 4, 4), (12, 1, 5, 2, 4)],
)  # fmt: skip
def test_blocks_divide_the_problems(problems, samples, rows, parts, size):
    assert gathering.block(problems, samples, rows, parts) == size


def test_fines_for_length_lower_the_reward_and_not_the_score(small):
    made = small.gatherer(
        small.config(noise={"clean_share": 0.25}, algorithm={"overlong": "penalty", "overlong_buffer": 2})
    )
    experience = made.gather(small.state(), None, gathering.Clock()).experience
    lengths = experience.answers.lengths.T
    np.testing.assert_allclose(experience.rewards - experience.scores, -np.clip((lengths - small.LIMIT + 2) / 2, 0, 1))
    assert set(np.unique(experience.scores)) <= {0.0, 1.0}


class Numbered:
    """Problems that carry their place in the stream; the prompt is the same for all."""

    def problem(self, index):
        return Problem(str(index), "1+2=", "3", "chain_sum")


def telling(chosen):
    """A verdict by which the groups of the ``chosen`` places, and only those, have different scores."""

    def grade(problems, texts):
        seen = {}
        scores = []
        for problem in problems:
            seen[problem.id] = seen.get(problem.id, -1) + 1
            scores.append(float(int(problem.id) in chosen and seen[problem.id] == 0))
        return scores

    return grade


REFILLS = [
    # refills, places whose groups tell, kept places, drawn, replaced
    (0, {1, 3, 5}, [0, 1, 2, 3], 4, 0),
    (3, {0, 1, 2, 3}, [0, 1, 2, 3], 4, 0),
    (3, {1, 3, 5, 6, 9}, [1, 3, 5, 6], 8, 2),
    (3, {1, 7, 8}, [0, 1, 7, 8], 16, 2),  # one of the first groups fills up
    (1, {9, 10, 11}, [0, 1, 2, 3], 8, 0),  # too late
    (2, set(), [0, 1, 2, 3], 12, 0),
    (2, {11}, [0, 1, 2, 11], 12, 1),
]


@pytest.fixture
def refilling(small):
    """``refilling(refills, chosen) -> Gathered``."""

    def gather(refills, chosen):
        settings = small.config(noise={"clean_share": 0.25}, rollout={"prompts": 4, "samples": 4, "refills": refills})
        return small.gatherer(settings, telling(chosen), Numbered()).gather(small.state(), None, gathering.Clock())

    return gather


@pytest.mark.parametrize("refills, chosen, kept, drawn, replaced", REFILLS)
def test_refills_replace_groups_that_teach_nothing(small, refilling, refills, chosen, kept, drawn, replaced):
    found = refilling(refills, chosen)
    experience = found.experience
    assert [int(problem.id) for problem in experience.problems] == kept
    assert (found.drawn, found.replaced) == (drawn, replaced)
    assert experience.answers.tokens.shape == (4, 4, small.LIMIT) and experience.scores.shape == (4, 4)
    assert experience.answers.member.tolist() == [-1, 0, 1, 2]
    for p, place in enumerate(kept):
        assert experience.scores[p].tolist() == [float(place in chosen), 0, 0, 0]
        texts = [
            small.WORDS.decode(experience.answers.tokens[g, p, : experience.answers.lengths[g, p]].tolist())
            for g in range(4)
        ]
        assert texts == experience.texts[p]
    shared(small, found, refilling(refills, chosen))


def test_refills_have_randomness_of_their_own(refilling):
    """One prompt throughout: answers of the second turn must not be those of the first."""
    first, second = refilling(0, set()).experience, refilling(1, {4, 5, 6, 7}).experience
    assert [problem.id for problem in second.problems] == ["4", "5", "6", "7"]
    assert first.texts != second.texts


def probing(small, **sigma):
    own = {"drop": None, "target": 0.5, "initial": 0.5, "probes": 2, "probe_policy": "clean"}
    return small.config(sigma=Composite(**(own | sigma)))


def observed(small, settings, sigma=0.1):
    """What a gatherer finds, and what its probes were when sigma was decided on."""
    made, seen = small.gatherer(settings), []

    def decide(probes):
        seen.append((probes.answers, probes.texts))
        return ScaleState(jnp.float32(sigma))

    clock = gathering.Clock()
    found = made.gather(small.state(), decide, clock)
    assert clock.seconds.keys() == {"probe", "sample", "verify"}
    assert len(seen) == 1 and float(found.sigma.sigma) == pytest.approx(sigma)
    return found.experience.answers, *seen[0]


def test_probes_come_first_and_count(small):
    answers, probes, texts = observed(small, probing(small))
    np.testing.assert_array_equal(answers.tokens[:2], probes.tokens)
    assert answers.member.tolist() == [-1, -1, 0, 1]
    assert answers.sigma.tolist() == pytest.approx([0.0, 0.0, 0.1, 0.1])
    assert [len(row) for row in texts] == [2] * 4
    assert probes.certainty.shape == (2, 4) and probes.pooled.shape == (2, 4, 40) and answers.pooled is None


def test_extra_probes_do_not_count(small):
    answers, probes, _ = observed(small, probing(small, reuse_probes=False))
    assert answers.member.tolist() == [0, 1, 2, 3] and probes.member.tolist() == [-1, -1]
    assert answers.sigma.tolist() == pytest.approx([0.1] * 4)


def test_noisy_probes_have_the_last_sigma_and_noise_of_their_own(small):
    settings = probing(small, probe_policy="noisy")
    answers, probes, _ = observed(small, settings, sigma=0.5)
    assert answers.member.tolist() == [2, 3, 0, 1], "members of probes are numbered after the others"
    np.testing.assert_array_equal(answers.tokens[:2], probes.tokens)
    assert answers.sigma.tolist() == [0.5] * 4
    other, _, _ = observed(small, settings, sigma=0.1)
    assert other.sigma.tolist() == pytest.approx([0.5, 0.5, 0.1, 0.1])
    np.testing.assert_array_equal(other.tokens[:2], probes.tokens)


def test_probes_of_refills_have_the_last_sigma_too(small):
    settings = probing(small, probe_policy="noisy")
    settings = dataclasses.replace(settings, rollout=dataclasses.replace(settings.rollout, refills=1))
    made = small.gatherer(settings, telling({5, 6}), Numbered())
    asked = []

    def decide(probes):
        asked.append(probes.texts)
        return ScaleState(jnp.float32(0.1))

    sent, answer = [], made._answers

    def answers(part, state, prompts, turn, sigma):
        sent.append((part.probing, turn, round(float(sigma), 3)))
        return answer(part, state, prompts, turn, sigma)

    made._answers = answers
    found = made.gather(small.state(), decide, gathering.Clock())
    assert len(asked) == 1, "one decision a step"
    assert sent == [(True, 0, 0.5), (False, 0, 0.1), (True, 1, 0.5), (False, 1, 0.1)]
    assert [problem.id for problem in found.experience.problems] == ["0", "1", "5", "6"]


def test_extra_probes_are_not_drawn_again_for_refills(small):
    settings = probing(small, reuse_probes=False)
    settings = dataclasses.replace(settings, rollout=dataclasses.replace(settings.rollout, refills=2))
    made, sent = small.gatherer(settings, telling(set()), Numbered()), []
    answer = made._answers

    def answers(part, state, prompts, turn, sigma):
        sent.append((part.probing, turn))
        return answer(part, state, prompts, turn, sigma)

    made._answers = answers
    made.gather(small.state(), lambda *_: ScaleState(jnp.float32(0.1)), gathering.Clock())
    assert sent == [(True, 0), (False, 0), (False, 1), (False, 2)]


def test_a_sampler_in_float16_is_nearer_to_float32_than_one_in_bfloat16(small):
    apart = {}
    for dtype in ("float16", "bfloat16"):
        made = small.gatherer(small.config(noise="none", rollout={"dtype": dtype}))
        found = made.gather(small.state(), None, gathering.Clock()).experience
        tokens, lengths = jnp.asarray(found.answers.tokens), jnp.asarray(found.answers.lengths)
        clean = policies.Clean(small.BASE.params, small.SAMPLES)
        exact = scoring.score(small.DECODER, clean, found.prompts, tokens, lengths, jnp.float32(1.0)).log_probs
        apart[dtype] = float(np.abs(np.asarray(exact) - found.answers.log_probs).sum() / np.sum(found.answers.lengths))
    assert 1e-6 < apart["float16"] < apart["bfloat16"] / 4 < 0.05
