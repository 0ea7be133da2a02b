"""The ladder of like choices: its formula, its measures on made-up log-probs, and its verdicts."""

import numpy as np
import pytest
from benchmarks import ladder, ladder_plot


def test_the_formula_crosses_one_between_four_and_eight():
    ratio = dict(zip(ladder.LENGTHS, 10 ** np.array(ladder.predicted(0.2, 0.05)), strict=True))
    assert [round(ratio[length], 2) for length in (1, 2, 4)] == [0.68, 0.61, 0.87]
    assert ladder.predicted(0.2, 0.05, 0.0)[5] == pytest.approx(32 * ladder.predicted(0.2, 0.05, 0.0)[0])
    assert ratio[8] == pytest.approx(5.9, abs=0.05) and ratio[16] == pytest.approx(1.8e3, rel=0.05)


def test_success_and_coherence_of_known_members():
    """Two members that take the branch with 1/2 and 1/4 at each choice; fillers go wrong half of the time."""
    scored = np.log(np.array([[[0.5, 0.5] * 32], [[0.25, 0.5] * 32]]))
    told = ladder._success(scored, 2)
    assert told["log10"] == pytest.approx([np.log10((0.5**n + 0.25**n) / 2) for n in ladder.LENGTHS])
    assert told["log10_whole"] == pytest.approx([np.log10((0.25**n + 0.125**n) / 2) for n in ladder.LENGTHS])
    assert told["members"][0] == pytest.approx(0.75**2 / 0.3125) and told["members"][-1] == pytest.approx(1.0)
    assert ladder._coherence(scored[..., ::2]) == pytest.approx(1.0)
    flipped = np.log(np.array([[[0.5, 0.25] * 16], [[0.25, 0.5] * 16]]))
    assert ladder._coherence(flipped) == pytest.approx(0.0, abs=1e-12)


def _seed(ratios, off=0.0):
    """A base on which held noise is so many powers of ten above temperature, and twice as far above redrawn noise."""
    zero = [0.0] * len(ratios)
    formula = [value - off for value in ratios]
    base = {"rare": 0.2}
    arms = {"held": list(ratios), "temperature": zero, "redrawn": [-value for value in ratios]}
    return {arm: {"log10": of, "log10_whole": of, "members": [9.0] * 6, "kl": 0.05, "coherence": 1.0}
            for arm, of in arms.items()} | {"formula": {"log10": formula}, "base": base}  # fmt: skip


def test_verdicts_and_chart():
    ratios = (-0.2, -0.1, -0.05, 0.5, 2.0, 5.0)
    seeds = {str(seed): _seed([value + 0.01 * seed for value in ratios], off=0.1) for seed in range(5)}
    verdicts = [claim["verdict"] for claim in ladder.judged(seeds)]
    assert verdicts == ["supported", "supported", "contradicted", "supported"]  # at 2 choices redrawn noise is above
    row = ladder.summary(seeds)[3]
    assert row["over_temperature"] == pytest.approx(10**0.52) and row["over_temperature_low"] < 10**0.52
    assert row["formula"] == pytest.approx(10**0.42) and row["over_redrawn"] == pytest.approx(10**1.04)
    assert row["formula_coherent"] == pytest.approx(5.9, abs=0.05)
    chart = ladder_plot.ladder({"rows": ladder.summary(seeds), "options": {"kl": 0.05}})
    assert chart.finding == "Held noise over temperature: 0.93 at 4 choices, 3.3 at 8"
    assert {claim["verdict"] for claim in ladder.judged({"0": seeds["0"]})} == {"not tested"}
    alone = ladder.summary({"0": seeds["0"]})
    assert alone[0]["over_temperature_low"] is None and ladder_plot.ladder({"rows": alone, "options": {"kl": 0.05}})
