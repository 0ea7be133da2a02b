"""The numbers of a reasoning study: a bootstrap that covers and pairs, and verdicts on effects that were planted."""

import math

import numpy as np
import pytest

from jaxpsn.report import build
from jaxpsn.report.reasoning.study import draws, hypotheses
from jaxpsn.report.reasoning.study.scores import ALL
from jaxpsn.stats.hypotheses import verdict as judge
from jaxpsn.stats.statistics import Estimate


def _results(folder):
    return build.results(folder)


def _solved(*right, problems=40):
    """Right answers to each problem, from (how many problems, right answers to each); none to the rest."""
    counts = [count for some, count in right for _ in range(some)]
    return counts + [0] * (problems - len(counts))


@pytest.fixture
def by_hand(reasoning_studies, tmp_path):
    """``by_hand(arms, seeds=2, base=..., task=...)``: a study of arms whose seeds have right answers as given."""

    def write(arms, *, base, seeds=2, n=64, tasks=("t",), **more):
        reasoning_studies.write_study(tmp_path, arms, tasks, seeds)
        for task in tasks:
            reasoning_studies.write_base(tmp_path, task, base, n=n)
            for arm, correct in arms.items():
                for seed in range(seeds):
                    each = correct[seed] if isinstance(correct[0], list) else correct
                    reasoning_studies.write_run(tmp_path, task, arm, seed, each, n=n, steps=4, **more)
        return tmp_path

    return write


def test_the_bootstrap_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=(3, 7, 2))
    by_problem, by_seed = draws.problems("t", 7, 5), draws.seeds("t", (0, 1, 2), 5)
    found = draws.sample(scores, by_problem, by_seed)
    for b in range(5):
        expected = sum(by_problem[b, p] * by_seed[b, s] * scores[s, p] for s in range(3) for p in range(7))
        assert found.draws[b] == pytest.approx(expected, abs=1e-12)
    assert found.value == pytest.approx(scores.mean(axis=(0, 1))) and found.seeds == 3


def test_problems_are_drawn_anew_and_seeds_one_fewer_than_there_are():
    by_problem, by_seed = draws.problems("t", 12), draws.seeds("t", (4, 5, 9))
    assert by_problem.sum(axis=1) == pytest.approx(1) and by_seed.sum(axis=1) == pytest.approx(1)
    assert set(np.unique(np.round(12 * by_problem, 9))) >= {0, 1, 2, 3}
    assert set(np.unique(by_seed)) == {0.0, 0.5, 1.0}  # two of three
    assert np.array_equal(by_seed, draws.seeds("t", (4, 5, 9))) and (draws.seeds("t", (7,)) == 1).all()
    assert not np.array_equal(by_seed, draws.seeds("u", (4, 5, 9)))
    assert not np.array_equal(by_seed, draws.seeds("t", (4, 5, 8)))
    values = np.random.default_rng(1).normal(size=5)
    spread = (draws.seeds("t", tuple(range(5)), 40_000) @ values).var()
    assert spread == pytest.approx(values.var(ddof=1) / 5, rel=0.03)  # unbiased, where five of five would give 4/5


def test_intervals_cover_what_they_are_intervals_of():
    """Studies drawn from a known truth: seeds and problems both vary, and an arm shifts all of them alike."""
    rng, hits, rounds = np.random.default_rng(2), np.zeros(2), 300
    for index in range(rounds):
        problems = rng.normal(size=(1, 40, 1))
        sides = []
        for shift in (0.0, 0.4):
            luck = 0.1 * rng.normal(size=(5, 1, 1))
            scores = shift + (1 + shift) * problems + luck + 0.3 * rng.normal(size=(5, 40, 1))
            name = str(index)
            sides.append(draws.sample(scores, draws.problems(name, 40, 400), draws.seeds(name, range(5), 400)))
        for place, (found, truth) in enumerate(((sides[1], 0.4), (sides[1] - sides[0], 0.4))):
            estimate = found.estimate(0)
            hits[place] += estimate.low <= truth <= estimate.high
    assert ((hits / rounds > 0.87) & (hits / rounds < 0.985)).all(), hits / rounds


def test_pass_at_k_is_the_unbiased_one_averaged_over_seeds_and_problems(by_hand):
    correct = [_solved((10, 3), (5, 60), problems=20), _solved((10, 7), problems=20)]
    results = _results(by_hand({"grpo": correct}, base=_solved((20, 5), problems=20)))
    assert results.ks == (1, 2, 4, 8, 16, 32, 64) and results.tasks == ("t",) and results.chief == "t"
    for k in (1, 4, 32):
        expected = np.mean([1 - math.comb(64 - c, k) / math.comb(64, k) for seed in correct for c in seed])
        found = results.passed("t", "grpo", k)
        assert found.value == pytest.approx(expected, abs=1e-12) and found.low < expected < found.high
        assert found.runs == 2
    base = results.passed("t", "base", 1)
    assert base.value == pytest.approx(5 / 64) and base.low == pytest.approx(5 / 64)  # all problems alike


def test_a_difference_is_paired_by_problem_and_by_seed(reasoning_studies, tmp_path):
    """grpo-tis answers as grpo does, seed by seed; psn does a little better on every problem."""
    effect = reasoning_studies.Effect
    arms = {"grpo": effect(0.5), "grpo-tis": effect(0.5), "psn": effect(1.1)}
    reasoning_studies.simulate(tmp_path, arms, ["countdown"], seeds=3, problems=40, steps=2)
    results = _results(tmp_path)
    same = results.contrast("countdown", "grpo-tis", "grpo", 16)
    assert same.estimate == Estimate(0.0, 0.0, 0.0, 3) and same.probability == 0.5
    better = results.contrast("countdown", "psn", "grpo", 4)
    sides = [results.passed("countdown", arm, 4) for arm in ("psn", "grpo")]
    assert better.estimate.value == pytest.approx(sides[0].value - sides[1].value)
    assert better.estimate.low > 0 and better.probability > 0.99
    widths = [one.high - one.low for one in (better.estimate, *sides)]
    assert widths[0] < 0.6 * min(widths[1:]) and sides[1].high > sides[0].low  # though the two overlap


def test_a_mean_over_tasks_is_that_of_the_tasks(reasoning_studies, tmp_path):
    effect = reasoning_studies.Effect
    reasoning_studies.simulate(tmp_path, {"grpo": effect(0.5), "psn": effect(0.9)}, ["countdown", "swaps"], seeds=2,
                               problems=24, n=32, steps=2)  # fmt: skip
    results = _results(tmp_path)
    assert results.tasks == (ALL, "countdown", "swaps") and results.chief == ALL
    both = [results.passed(task, "psn", 8) for task in ("countdown", "swaps")]
    whole = results.passed(ALL, "psn", 8)
    assert whole.value == pytest.approx(np.mean([one.value for one in both]))
    assert whole.high - whole.low < 0.85 * np.mean([one.high - one.low for one in both])  # two tasks, drawn apart
    found = [one for one in results.contrasts() if one.task == ALL]
    assert [one.k for one in found] == [1, 2, 4, 16] and {one.ours for one in found} == {"psn"}


def test_new_and_lost_problems_are_counted_against_the_base(by_hand):
    """The base solves problems 0 to 9; one seed solves 5 to 14, the other 10 to 19."""
    first, second = ([0] * 5 + [9] * 10 + [0] * 15, [0] * 10 + [9] * 10 + [0] * 10)
    results = _results(by_hand({"grpo": [first, second]}, base=_solved((10, 8), problems=30)))
    found = results.solved("t", "grpo")
    assert found.new.value == 7.5 and found.lost.value == 7.5  # 5 and 10, 5 and 10
    assert found.new.low < 7.5 < found.new.high
    assert (found.new_by_any, found.lost_by_all, found.hard) == (10, 5, 20)
    assert results.estimate("t", "base", "distinct").value == pytest.approx(10 * 2 / 30)
    assert results.solved("t", "base") is None


def test_sums_over_tasks_and_unlike_numbers_of_answers(by_hand, reasoning_studies):
    folder = by_hand({"grpo": _solved((12, 5)), "psn": _solved((15, 5))}, base=_solved((10, 8)), tasks=("a", "b"))
    assert _results(folder).solved(ALL, "psn").new.value == 10 and _results(folder).solved(ALL, "psn").hard == 60
    run = folder / "tasks" / "b" / "arms" / "psn" / "1"
    reasoning_studies.write_evaluation(run, "trained", _solved((15, 2)), n=16, task="b")
    results = _results(folder)
    assert results.ks[-1] == 16 and results.solved(ALL, "psn") is None and results.solved("a", "psn") is not None
    assert results.passed(ALL, "psn", 16) is not None and results.estimate("b", "psn", "distinct") is None
    assert "b, psn: Unlike numbers of answers (trained and base: 16 and 64): " in " ".join(results.study.notes)


# Of 40 problems: grpo solves 16 often; psn 34, each seldom; psn-kl fewer than psn; the adaptive ones as they are named.
PLANTED = {
    "grpo": _solved((16, 40)), "grpo-tis": _solved((16, 40)), "psn-no-tis": _solved((16, 40)), "psn": _solved((34, 4)),
    "psn-kl": _solved((20, 4)), "psn-composite": _solved((34, 4), (2, 1)), "temperature": _solved((18, 40)),
    "entropy": _solved((36, 40)),
}  # fmt: skip


def test_verdicts_on_planted_effects(by_hand):
    found = {
        answer.hypothesis.name: answer
        for answer in hypotheses.answers(_results(by_hand(PLANTED, base=_solved((8, 8)))), "t")
    }
    verdicts = {name: answer.verdict for name, answer in found.items()}
    assert verdicts == {
        "noise-alone": "supported", "correction": "supported", "noise": "supported", "adaptive-kl": "contradicted",
        "adaptive-composite": "undecided", "small-k": "supported", "large-k": "supported",
        "small-k-composite": "supported", "large-k-composite": "supported", "correction-alone": "supported",
        "rivals": "undecided",
    }  # fmt: skip
    small = found["small-k"]
    assert [part.contrast.k for part in small.parts] == [1, 2, 4] and "k = 1, 2, 4" in small.sentence
    assert found["large-k"].sentence.endswith("(k = 64).")  # the largest of 64 answers stands for 256
    rivals = {part.contrast.theirs: part.verdict for part in found["rivals"].parts}
    assert rivals == {"temperature": "supported", "entropy": "undecided"}
    (part,) = found["adaptive-composite"].parts
    high = 100 * part.contrast.estimate.high
    assert found["adaptive-composite"].said == f"undecided within ±{high:.1f} points" and 5 < high < 20


@pytest.mark.parametrize(
    ("expects", "low", "high", "verdict"),
    [
        ("above", 0.001, 0.2, "supported"), ("above", -0.1, 0.1, "undecided"), ("above", -0.2, -0.001, "contradicted"),
        ("below", -0.2, -0.001, "supported"), ("below", -0.1, 0.1, "undecided"), ("below", 0.001, 0.2, "contradicted"),
        ("equal", -0.019, 0.019, "supported"), ("equal", -0.019, 0.021, "undecided"),
        ("equal", 0.005, 0.019, "supported"), ("equal", 0.021, 0.1, "contradicted"),
        ("equal", -0.1, -0.021, "contradicted"), ("equal", 0.0, 0.0, "supported"), ("above", 0.0, 0.0, "undecided"),
    ],
)  # fmt: skip
def test_what_an_interval_says(expects, low, high, verdict):
    found = Estimate((low + high) / 2, low, high, 5)
    assert judge(expects, found, hypotheses.MARGIN if expects == "equal" else 0.0) == verdict
    assert hypotheses.told("undecided", [found, Estimate(0.0, -0.3, 0.01, 5)]).endswith("±30.0 points")


def test_one_part_that_is_contradicted_contradicts_the_whole(by_hand):
    folder = by_hand({"grpo": _solved((16, 40)), "psn": _solved((4, 40))}, base=_solved((8, 8)))
    answers = {one.hypothesis.name: one for one in hypotheses.answers(_results(folder), "t")}
    assert set(answers) == {"noise", "small-k", "large-k"}  # those of whose arms the study has none are left out
    assert answers["large-k"].verdict == "contradicted" and answers["small-k"].verdict == "supported"


def test_groups_are_rescued_against_the_reference_at_the_same_seed_and_step(by_hand):
    folder = by_hand({"grpo": _solved((16, 40)), "psn": _solved((16, 40))}, base=_solved((8, 8)), seeds=2)
    for arm, shares in (("grpo", [[0.5, 0.6, 0.7], [0.9, 0.8]]), ("psn", [[0.4, 0.4, 0.7], [0.6, 0.6]])):
        for seed, values in enumerate(shares):
            file = folder / "tasks" / "t" / "arms" / arm / str(seed) / "metrics.csv"
            first = 2 if (arm, seed) == ("psn", 1) else 1  # its steps 2 and 3; the reference has 1 and 2
            rows = [f"{first + index},{seed},{value}" for index, value in enumerate(values)]
            file.write_text("\n".join(["step,seed,groups_zero_advantage", *rows, ""]))
    results = _results(folder)
    assert results.trained("t", "psn", "zero advantage").value == pytest.approx((0.5 + 0.6) / 2)
    found = results.trained("t", "psn", "zero advantage difference")
    assert found.value == pytest.approx((-0.1 - 0.2) / 2) and found.low == pytest.approx(-0.2)
    assert results.trained("t", "grpo", "zero advantage difference") is None
    assert results.trained("t", "psn", "entropy last") is None  # not recorded


def test_an_average_leaves_out_what_has_only_begun(reasoning_studies, tmp_path):
    """Two tasks with all four arms; the third has only the reference: the mean is over the two."""
    arms = {"grpo": reasoning_studies.Effect(), **{f"a{number}": reasoning_studies.Effect() for number in range(3)}}
    reasoning_studies.simulate(tmp_path, arms, ["countdown", "target"], seeds=2, problems=8, n=4, steps=2)
    reasoning_studies.write_study(tmp_path, arms, ["countdown", "target", "swaps"], 2)
    reasoning_studies.write_base(tmp_path, "swaps", [1] * 8, n=4)
    for seed in range(2):
        reasoning_studies.write_run(tmp_path, "swaps", "grpo", seed, [2] * 8, n=4, steps=2)
    results = _results(tmp_path)
    assert results.averaged == ("countdown", "target") and results.arms(ALL) == ("base", "grpo", "a0", "a1", "a2")
    assert results.arms("swaps") == ("base", "grpo")
