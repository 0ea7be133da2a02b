"""Variant II as a closed loop, and how far its indicator goes: a decoder whose answers differ more with more noise."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.rlvr import response
from jaxpsn.rlvr.exploration import similarity
from jaxpsn.rlvr.exploration.rules import Composite

DROP = 0.05
LOOP = Composite(drop=DROP, rate=1.3, low=1e-3, high=3.0)
STILL = {"learning_rate": 0.0, "warmup": 0}
"""The policy stays as it is: what moves the indicator is sigma alone."""


@pytest.fixture(scope="module")
def loop(small):
    """Variant II on 32 sums a step."""
    return small.reasoner(small.config(sigma=LOOP, algorithm=STILL, rollout={"prompts": 32, "samples": 4}))


def steps(made, sigma, count):
    """Sigma, indicator and target of each of ``count`` steps from ``sigma``."""
    state, told = made._first(), []
    state = state.replace(sigma=state.sigma.replace(sigma=jnp.float32(sigma)))
    for _ in range(count):
        state, metrics = made.step(state)
        told.append([float(metrics[name]) for name in ("sigma", "indicator", "target")])
    return np.array(told)


def test_the_indicator_reaches_its_target_and_stays_from_both_sides(loop):
    ends = []
    for start in (0.02, 2.5):
        sigma, indicator, target = steps(loop, start, 60).T
        assert abs(np.log(sigma[0] / start)) < np.log(1.3) + 1e-5, "steps are bounded"
        assert np.sign(indicator[0] - target[0]) == (1 if start < 0.1 else -1)
        settled = slice(30, None)
        assert np.mean(indicator[settled] - target[settled]) == pytest.approx(0.0, abs=0.02)
        ways = np.sign(np.diff(sigma[settled]))
        assert {-1.0, 1.0} <= set(ways) and abs(np.mean(ways)) < 0.5, "it turns, and ramps neither way"
        assert LOOP.low < sigma[settled].min() and sigma[settled].max() < LOOP.high
        ends.append(np.exp(np.mean(np.log(sigma[settled]))))
    assert abs(np.log(ends[0] / ends[1])) < 0.25, "the same scale from below and from above"


def test_at_sigma_zero_the_probes_are_the_clean_policy_s_answers(loop):
    state = loop._first()
    probes = loop.probe(state, 0.0, 0)
    np.testing.assert_array_equal(probes.answers.tokens, probes.clean.tokens)
    assert probes.texts == probes.clean_texts
    assert set(probes.answers.member.tolist()) == {2, 3} and set(probes.clean.member.tolist()) == {-1}
    far = loop.probe(state, 3.0, 0)
    np.testing.assert_array_equal(far.clean.tokens, probes.clean.tokens)
    assert far.texts != far.clean_texts
    indicator, target = loop.indicator(state, probes)
    assert target == pytest.approx(indicator - DROP, abs=1e-6)


def test_the_clean_answers_never_count(loop):
    rows = []
    gather = loop._gatherer.gather
    loop._gatherer.gather = lambda *given: rows.append(gather(*given)) or rows[-1]
    try:
        loop.step(loop._first())
    finally:
        del loop._gatherer.gather
    (found,) = rows
    assert found.experience.answers.member.tolist() == [2, 3, 0, 1], "noisy probes, then the rest; no clean answer"


def test_reach_says_which_way_and_how_far_the_indicator_goes(loop):
    found = response.reach(loop, loop._first())
    assert found.indicators[0] > found.indicators[1] + DROP and found.far() is None
    assert found.targets[0] == pytest.approx(found.indicators[0] - DROP, abs=0.01), "at sigma.low nearly clean"
    assert found.told().startswith("indicator falls from 0.") and "sigma.high = 3; its target is 0." in found.told()


@pytest.mark.parametrize(
    "indicators, targets, drop, said",
    [
        ((0.8, 0.6), (0.7, 0.7), 0.1, None),
        ((0.8, 0.6), (0.7, 0.7), None, None),
        ((0.8, 0.79), (0.7, 0.7), 0.1, "sigma.drop = 0.1 is out of reach: 0.000 to 0.010 between"),
        ((0.885, 0.884), (0.5, 0.5), None, "sigma.target = 0.5 is out of reach: 0.884 to 0.885 between"),
        ((0.4, 0.3), (0.5, 0.5), None, "sigma.target = 0.5 is out of reach: 0.300 to 0.400 between"),
        ((0.4, 0.6), (0.5, 0.5), None, "and the indicator rises with the noise"),
        ((float("nan"), 0.6), (0.5, 0.5), None, None),
    ],
)
def test_a_target_out_of_reach_is_told_with_the_range(indicators, targets, drop, said):
    text = response.Reach(1e-3, 2.0, indicators, targets, drop).far()
    assert text is None if said is None else said in text and "\n" not in text
    if said and "between" in said:
        assert text.endswith("sigma.low = 0.001 and sigma.high = 2")


def test_the_start_tells_a_far_target_once_and_goes_on(small):
    far = dataclasses.replace(LOOP, drop=1.5, high=0.5)
    made = small.reasoner(small.config(sigma=far, rollout={"prompts": 4, "samples": 4}))
    said = []
    made._say = said.append
    state = made.init()
    assert len(said) == 1 and said[0].startswith("indicator ")
    (told,) = filter(None, (alarm({}) for alarm in made.alarms()))
    assert told.startswith("sigma.drop = 1.5 is out of reach: ")
    made.step(state)


def test_the_start_takes_nothing_from_the_run(small):
    """What the look at the indicator drew is in no state: the first step is that of a state without it."""
    made = small.reasoner(small.config(sigma=LOOP, rollout={"prompts": 4, "samples": 4}))
    looked, plain = made.init(), made._first()
    assert small.same(looked.params, plain.params) and int(looked.position) == int(looked.clock) == 0
    one, other = made.step(looked)[1], made.step(plain)[1]
    assert one["reward"] == other["reward"] and one["indicator"] == other["indicator"]


def test_the_table_has_every_measure_at_every_scale(loop):
    rows = response.table(
        loop, (0.0, 2.0), 2, encode=lambda texts: np.eye(40, dtype=np.float32)[[len(t) for t in texts]]
    )
    by = {(row["name"], row["sigma"]): row for row in rows}
    names = {name for name, _ in by}
    assert names >= {"ngram", "equal", "hidden", "hidden raw", "bert", "bert raw", "certainty", "confidence"}
    assert names >= {"ngram + certainty", "bert raw + certainty batch"} and len(by) == 2 * len(names) == len(rows)
    for name in names:
        assert by[name, 0.0]["drop"] == pytest.approx(0.0, abs=1e-3), name
        assert by[name, 2.0]["clean"] == pytest.approx(by[name, 0.0]["clean"], abs=1e-6), "the same clean answers"
    assert by["certainty", 2.0]["drop"] > 0.05 and by["certainty", 2.0]["noise_kl"] > 0.05
    assert abs(by["certainty", 0.0]["noise_kl"]) < 1e-4
    both = 0.5 * (by["ngram", 2.0]["noisy"] + by["certainty", 2.0]["noisy"])
    assert by["ngram + certainty", 2.0]["noisy"] == pytest.approx(both)


def test_equal_pairs_against_counting_them():
    texts = [["a", "b", "a", "a"], ["x", "y"], ["x", "x"], ["", "x"], ["", "", "q", "q"]]
    np.testing.assert_allclose(similarity.equal_pairs(texts), [0.5, 0.0, 1.0, np.nan, 1.0])


def test_a_cut_probe_is_told():
    assert response.cut({"probes_cut": 0.0}) is None and response.cut({}) is None
    assert response.cut({"probes_cut": 0.25}).startswith("25% of the probes are longer than the encoder")
