"""Studies of deep exploration: when a run counts as solved, and what is kept of it."""

import json

import numpy as np
import pytest
from benchmarks import command, deep, deep_plot
from benchmarks.deep_options import Chain


def test_a_run_is_solved_by_what_it_did():
    good = np.r_[np.zeros(7), np.ones(99), 0, np.ones(120)].astype(bool)
    assert deep.streak(good) == 107 and deep.streak(good[:206]) is None and deep.streak(good, 99) == 7
    found = np.zeros(300, bool)
    found[[90, *range(100, 140)]] = True
    # 12 of 111 are more than a tenth; 11 of 110 are not.
    assert deep.tenth(found) == 111 and deep.tenth(found[:110]) is None and deep.tenth(np.ones(9, bool)) is None


def test_intervals_and_seeds_that_never_come_there():
    told = deep.summary([3, None, 5, 7, 9])
    assert told["seeds"] == 5 and told["solved"] == 4 and told["median"] == 7
    assert told["share_low"] == pytest.approx(0.3755, abs=1e-3) and told["median_high"] is None
    assert deep.summary([None, None, 4])["median"] is None


def test_arms_are_compared_by_who_is_sooner():
    times = {"parameter": (30, 40, 50, 45), "epsilon": (None, 45, None, 60), "noisynet": (None, None, None, None)}
    place = {"size": 5, "mapping": "fixed"}
    runs = [place | {"arm": arm, "solved": one} for arm, of in times.items() for one in of]
    found = {(row["ours"], row["theirs"]): row for row in deep.pairs(Chain(), runs)}
    assert list(found) == [("parameter", "epsilon"), ("parameter", "noisynet"), ("epsilon", "noisynet")]
    assert found["parameter", "epsilon"]["sooner"] == (4 + 2.5 + 4 + 4) / 16
    assert found["epsilon", "noisynet"]["sooner"] == 0.5 + 2 * 4 / 16 / 2
    assert all(row["low"] <= row["sooner"] <= row["high"] and row.items() > place.items() for row in found.values())


def test_a_study_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    asked = []

    def cell(options, cell, seeds, good, solved):
        asked.append((cell["size"], cell["arm"], tuple(seeds)))
        yield from ({"seed": seed, "solved": 10 + seed, "first": 3, "episodes": 125, "seconds": 1.0} for seed in seeds)

    monkeypatch.setattr(deep, "_cell", cell)
    flags = ["--mappings", "fixed", "--arms", "parameter", "epsilon", "--out", str(tmp_path)]
    command.main(["chain", "--sizes", "5", "--seeds", "2", *flags])
    command.main(["chain", "--sizes", "4", "5", "--seeds", "3", *flags])
    new = [(4, arm, (0, 1, 2)) for arm in ("parameter", "epsilon")]
    old = [(5, arm, (0, 1)) for arm in ("parameter", "epsilon")]
    assert asked == [*old, *new, *((5, arm, (2,)) for arm in ("parameter", "epsilon"))]
    told = json.loads((tmp_path / "chain.json").read_text())
    assert (
        told["plan"] == Chain.plan and len(told["runs"]) == 12 and [row["size"] for row in told["rows"]] == [4, 4, 5, 5]
    )
    assert "12 of 12 seeds" in deep_plot.solving(told).finding and "5" in capsys.readouterr().out
    # Other settings begin anew.
    command.main(["chain", "--sizes", "5", "--seeds", "1", "--episodes", "150", *flags])
    assert len(json.loads((tmp_path / "chain.json").read_text())["runs"]) == 2


def test_untrained_nets_are_told_apart_by_the_mapping():
    shares = (("fixed", 300), ("random", 3))
    rows = [
        {"task": "chain", "noise": "sigma 0.1", "mapping": name, "reached": count, "name": name}
        | {"share": count / 1000, "share_low": count / 2000, "share_high": count / 500}
        for name, count in shares
    ]
    assert "chain 100 times" in deep_plot.untrained({"rows": rows}).finding
