"""The report of a study: known answers, censoring, and everything that may be missing from a folder."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.report import build, command
from jaxpsn.report.charts import look
from jaxpsn.report.charts.spec import Dots
from jaxpsn.report.control.study import curves, plots, words
from jaxpsn.report.runs import Series
from jaxpsn.report.series import thinned


def _results(folder):
    return build.results(folder)


def _row(folder, label):
    return next(row for row in _results(folder).rows if row.arm.label == label)


@pytest.fixture(scope="module")
def whole(studies, tmp_path_factory):
    """A whole study, built once."""
    folder = studies.realistic(tmp_path_factory.mktemp("study") / "sparse", points=41)
    return folder, studies.Page(build.build(folder))


def test_numbers_known_by_hand(studies, tmp_path):
    """Four seeds at 10, 20, 30, 100 from the second of four evaluations on; another arm at 0, 15, 25, 25."""
    folder = studies.simple(tmp_path / "s", {"a": [10, 20, 30, 100], "b": [0, 15, 25, 25]}, threshold=30)
    a, b = _row(folder, "a"), _row(folder, "b")
    assert a.final.value == 25 and b.final.value == 20  # the middle half
    assert a.area.value == pytest.approx(25 * 2.5 / 3)  # up to height at 1000, there until 3000, by trapezoids
    wins = (1 + 1 + 0 + 0 + 0) / 16 * 0 + sum(
        (x > y) + 0.5 * (x == y) for x in (10, 20, 30, 100) for y in (0, 15, 25, 25)
    )
    assert b.improvement.value == pytest.approx(wins / 16) and a.improvement is None
    assert (a.solved.value, a.solved.runs) == (0.5, 4) and a.threshold.value == 1000  # half of the seeds are there
    assert b.solved.value == 0 and math.isinf(b.threshold.value)
    assert a.scores.final.tolist() == [10, 20, 30, 100] and a.scores.end == 3000


def test_the_final_return_is_the_mean_of_the_last_three(studies, tmp_path):
    folder = studies.write_study(tmp_path, {"a": None})
    curves = {0: {"eval_return": [1, 2, 3, 7, None]}, 1: {"eval_return": [5, None, None, None, None]},
              2: {"eval_return": [None] * 5}}  # fmt: skip
    studies.finish(studies.write_arm(folder / "arms" / "a", curves, [0, 10, 20, 40, 50]), 50)
    scores = _row(folder, "a").scores
    assert scores.final[:2] == pytest.approx([4, 5]) and math.isnan(scores.final[2])
    assert scores.area[:2] == pytest.approx([(1.5 * 10 + 2.5 * 10 + 5 * 20) / 40, 5])
    assert _row(folder, "a").final.runs == 2 and scores.solved.tolist() == [math.inf] * 3


def test_times_are_censored_at_the_end_of_what_was_watched(studies, tmp_path):
    folder = studies.write_study(tmp_path, {"a": None, "b": None, "c": None})
    steps, first = list(range(0, 1001, 100)), {"a": (300, 500, None), "b": (300, None, None), "c": (None,) * 3}
    for label, times in first.items():
        curves = {
            seed: {"eval_return": [0] * 11, "first_reward": [time if time and step >= time else None for step in steps]}
            for seed, time in enumerate(times)
        }
        studies.finish(studies.write_arm(folder / "arms" / label, curves, steps), 1000)
    a, b, c = (_row(folder, label) for label in "abc")
    assert a.first_reward.value == 500 and math.isinf(a.first_reward.high) and a.rewarded.value == pytest.approx(2 / 3)
    assert math.isinf(b.first_reward.value) and b.first_reward.low == 300
    assert c.rewarded.value == 0 and c.scores.first_reward.tolist() == [math.inf] * 3
    shown = build.markdown([folder])
    assert "500 [300, ≥ 1 k], 2/3 ever" in shown
    assert "≥ 1 k [300, ≥ 1 k], 1/3 ever" in shown and "never 0/3 ever" in shown
    pair = _results(folder).pair("a", "b", "first reward")
    wins = [0.5, 1, 1, 0, 1, 1, 0, 0.5, 0.5]  # 300, 500 and never, each against 300, never and never
    assert pair.value == pytest.approx(sum(wins) / 9)


def test_the_tables_are_read_back(studies, whole):
    folder, _ = whole
    table = studies.read_csv(folder / "table.csv")
    assert [row["arm"] for row in table] == ["parameter", "gaussian", "ou", "pink", "none"]
    row = table[0]
    assert row["scale_field"] == "target" and row["tuned"] == "True" and row["seeds"] == "10"
    assert float(row["final_low"]) <= float(row["final"]) <= float(row["final_high"])
    assert table[4]["first_reward"] == "inf" and table[0]["improvement"] == "" and row["seconds"] == "80"
    pairs = studies.read_csv(folder / "pairs.csv")
    assert len(pairs) == 5 * 4 * 4 and {pair["of"] for pair in pairs} == {
        "final return", "area", "first reward", "threshold",
    }  # fmt: skip
    both = {(p["ours"], p["theirs"]): float(p["probability"]) for p in pairs if p["of"] == "final return"}
    assert both["parameter", "ou"] + both["ou", "parameter"] == pytest.approx(1)


def test_the_report_holds_everything_in_order(whole):
    folder, page = whole
    headings = ["Final numbers", "Learning curves", "Exploration", "Arms against each other", "Tuning", "Method",
                "How to read this", "Events", "Config"]  # fmt: skip
    places = [page.source.index(f"<h2>{name}</h2>") for name in headings[:-1]]
    assert places == sorted(places)
    names = sorted(path.name for path in (folder / "plots").iterdir())
    assert names == [f"{name}.svg" for name in (
        "behaviour", "coverage", "distance", "events", "finals", "improvement", "learning", "noise", "profile", "seeds",
        "tuning")]  # fmt: skip
    assert page.source.count('<figure class="chart"') == len(names)
    for expected in ("Study sparse", "sparse_cartpole_swingup: 5 ways to explore, TD3",
                     "Highest IQM of the final return", "python experiments/compare.py --study.seeds 10",
                     "0 to 9 in every arm", "on seeds 1000 to 1017",
                     "jax 0.12.0.1", "The first 5 k steps are random", "none has no scale",
                     "table.csv, pairs.csv and tidy.csv",
                     "/10 ever", "tuned", "parameter over none", "pink over none"):  # fmt: skip
        assert expected in page.text
    assert 'role="alert"' not in page.source and "none over" not in page.text  # each pair once
    assert all(path.stat().st_size < 150_000 for path in (folder / "plots").iterdir())


def test_the_lede_says_whether_intervals_are_apart(studies, tmp_path):
    apart = studies.simple(tmp_path / "apart", {"a": range(10), "b": range(200, 210), "c": range(50, 60)})
    said = words.lede(_results(apart))
    assert said.startswith("Highest IQM of the final return: b, 204 [")
    assert "apart from that of every other arm; next is c, 54.5" in said and "b 10 of 10 seeds, c 0 and a 0" in said
    near = studies.simple(tmp_path / "near", {"a": range(10), "b": range(1, 11), "c": range(-90, -80)}, threshold=None)
    said = words.lede(_results(near))
    assert "overlaps that of a (4.50 [" in said and "the other arm lies below it" in said
    assert "b ends above one of a with probability 0.59" in said and "includes one half" in said
    assert "olve" not in said
    equal = studies.simple(tmp_path / "equal", {"a": [0, 0], "b": [0, 0]}, threshold=0.5)
    said = words.lede(_results(equal))
    assert "All 2 arms end at the same IQM of the final return, 0 [0, 0]" in said
    assert "No seed of any arm reaches the threshold of 0.5" in said


def test_one_seed_has_no_interval_and_says_so(studies, tmp_path):
    folder = studies.simple(tmp_path / "one", {"a": [120.0], "b": [20.0]})
    page = studies.Page(build.build(folder))
    assert "It is one seed, which gives no interval" in page.text and "1 seed an arm" in page.text
    assert "120 one seed" in page.text and "1/1 one seed" in page.text and "[" not in words.lede(_results(folder))
    assert not (folder / "plots" / "seeds.svg").exists()
    (row, _) = studies.read_csv(folder / "table.csv")
    assert row["final"] == "120" and row["final_low"] == row["solved_low"] == ""


def test_a_threshold_never_met_and_none_at_all(studies, tmp_path):
    never = studies.simple(tmp_path / "never", {"a": [1, 2, 3], "b": [2, 3, 4]}, threshold=1e6)
    page = studies.Page(build.build(never))
    assert "never in 3 k" in page.text and "0/3 [0.00, 0.56]" in page.text
    assert curves.events(_results(never)).finding == "No seed of any arm solves the task"
    dense = studies.simple(tmp_path / "dense", {"a": [1, 2, 3], "b": [2, 3, 4]}, threshold=None)
    page = studies.Page(build.build(dense))
    assert "steps to solve" not in page.text and "No return was named that counts as solved" in page.text
    assert not (dense / "plots" / "events.svg").exists()


def test_rewards_that_all_see_at_once_are_no_matter_of_exploration(studies, tmp_path):
    folder = studies.write_study(tmp_path, {"a": None}, threshold=None)
    metrics = {"eval_return": [1, 2, 3], "first_reward": [None, 64, 64]}
    studies.finish(studies.write_arm(folder / "arms" / "a", {0: metrics, 1: metrics}, [0, 5000, 10_000]), 10_000)
    page = studies.Page(build.build(folder))
    assert "steps to first reward" not in page.text and "Rewards are dense here" in page.text


@pytest.fixture
def partial(studies, tmp_path):
    """Two finished arms, one under way, one stopped by NaN, one not started, one whose rows are no numbers."""
    folder = studies.simple(tmp_path / "partial", {"a": [120.0, 130, 100], "b": [20.0, 10, 30]})
    studies.write_study(folder, dict.fromkeys(["a", "b", "half", "bad", "none", "torn"]))
    curves = {seed: {"eval_return": [0, 900.0 + seed]} for seed in range(3)}
    studies.write_arm(folder / "arms" / "half", curves, [0, 1000], 3000)
    bad = studies.write_arm(folder / "arms" / "bad", curves, [0, 1000], 3000)
    event = {"event": "stop", "step": 1000, "detail": "not finite at critic_loss, seed 2; last good checkpoint: 900"}
    (bad / "events.jsonl").write_text(json.dumps(event) + "\n")
    studies.write_arm(folder / "arms" / "torn", curves, [0, 1000])
    (folder / "arms" / "torn" / "metrics.csv").write_text("step,seed,eval_return\n0,0,many\n")
    return folder


def test_arms_without_an_end_are_shown_and_not_compared(studies, partial):
    page = studies.Page(build.build(partial))
    for expected in ("Highest IQM of the final return: a", "4 of 6 arms are left out", "half (1 k of 3 k steps)",
                     "bad (not finite at critic_loss, seed 2)", "none (not started)", "many",
                     "half* unfinished: 1 k of 3 k steps", "bad* failed", "bad: stop"):  # fmt: skip
        assert expected in page.text
    statuses = {row["arm"]: row["status"] for row in studies.read_csv(partial / "table.csv")}
    assert statuses == {"a": "finished", "b": "finished", "half": "unfinished", "bad": "failed", "none": "missing",
                        "torn": "missing"}  # fmt: skip
    assert {pair["ours"] for pair in studies.read_csv(partial / "pairs.csv")} == {"a", "b"}
    assert page.source.count('role="alert"') == 3


def test_what_compare_writes_of_a_failed_arm_counts(partial):
    (partial / "arms" / "half" / "failed.json").write_text('{"reason": "not finite at q, seed 0"}')
    arm = next(arm for arm in build.results(partial).study.arms if arm.label == "half")
    assert arm.told.status == "failed" and arm.told.detail == "not finite at q, seed 0"


def test_a_study_that_has_not_begun_has_a_report(studies, tmp_path):
    page = studies.Page(build.build(studies.write_study(tmp_path, {"a": None, "b": None})))
    assert "No arm is finished yet" in page.text and "none yet" in page.text
    assert page.source.count('<figure class="chart"') == 0


def test_arms_of_other_versions_warn_at_the_top(studies, tmp_path):
    folder = studies.simple(tmp_path / "mixed", {"a": [1, 2], "b": [1, 2], "c": [1, 2]})
    studies.finish(folder / "arms" / "b", 3000, versions=studies.VERSIONS | {"jax": "0.10.2"})
    page = studies.Page(build.build(folder))
    warning = "Arms were made with different versions of jax: 0.12.0.1 (a, b, c) and 0.10.2 (b)."
    assert warning in page.text and page.source.index('role="alert"') < page.source.index("Final numbers")
    assert "different versions of numpy" not in page.text


def test_other_evaluation_grids_and_lengths(studies, tmp_path):
    folder = studies.simple(tmp_path / "grids", {"a": [100.0, 110, 120]})
    studies.write_study(folder, {"a": None, "b": None}, threshold=None)
    curves = {seed: {"eval_return": [0, None, 50, None, 50, 50.0 + seed]} for seed in range(2)}
    studies.finish(studies.write_arm(folder / "arms" / "b", curves, [0, 300, 700, 1500, 2900, 6000]), 6000)
    page = studies.Page(build.build(folder))
    assert "different numbers of steps (3 k and 6 k)" in page.text and "Arms were run with different seeds" in page.text
    assert "0 to 2 in a; 0, 1 in b" in page.text


def test_tuning_that_is_unfair_is_told(studies, tmp_path):
    scale = {"field": "exploration.target", "value": 0.3, "tuned": True}
    folder = studies.simple(tmp_path / "tuned", {"a": [1, 2], "b": [1, 2]})
    studies.write_study(folder, {"a": {"scale": scale}, "b": {"scale": scale | {"tuned": False}}})
    studies.write_choice(
        folder / "tuning" / "a", field="exploration.target", values=[0.1, 0.3, 0.6], seeds=[[0, 1], [2, 3], [4, 5]],
        final=[[1, 2], [3, 4], [5, None]], first_reward=[[10, None], [None, None], [7, 8]],
        coverage=[[1, 1], [2, 2], [3, 3]], chosen=0.6, by="first reward",
    )  # fmt: skip
    page = studies.Page(build.build(folder))
    for expected in ("a: its scale was tuned on seeds that are reported too", "ran at 0.3, while its tuning chose 0.6",
                     "Tuned on other seeds: a; run at a given scale: b", "Chosen at an end of what was tried: a",
                     "more than half never", "0 of 2", "target 0.6 by first reward, of 0.1, 0.3, 0.6"):  # fmt: skip
        assert expected in page.text
    (panel,) = plots.tuning(_results(folder)).panels
    assert panel.y.label == "first reward"
    hollow = [layer for layer in panel.layers if isinstance(layer, Dots) and layer.shape == "ring"]
    assert sum(len(layer.x) for layer in hollow) == 3  # the nulls among the times: never


def test_a_broken_choice_costs_only_its_arm(studies, tmp_path):
    folder = studies.simple(tmp_path / "s", {"a": [1, 2], "b": [1, 2]})
    studies.write_choice(folder / "tuning" / "a", values=[0.1], seeds=[[1, 2]], final=[["x"]])
    studies.write_choice(folder / "tuning" / "b")
    (folder / "tuning" / "b" / "choice.json").write_text("{")
    page = studies.Page(build.build(folder))
    assert "a/choice.json: field = None: a text" in page.text and "choice.json: not valid JSON" in page.text
    assert "No scale was tuned" in page.text


def test_every_session_s_command_is_told_once(studies, tmp_path):
    folder = studies.simple(tmp_path / "s", {"a": [1, 2]})
    commands = (["experiments/compare.py", "--name", "a b"], ["experiments/compare.py", "--resume", "s"], None)
    sessions = [{"command": command} for command in (*commands, commands[1])]
    studies.write_study(folder, {"a": None}, sessions=sessions)
    page = studies.Page(build.build(folder))
    assert "python experiments/compare.py --name 'a b' python experiments/compare.py --resume s How" in page.text


def test_names_are_text_whatever_they_hold(studies, tmp_path):
    hostile = "<img src=x onerror=alert(1)>$x$_&\u202e"
    folder = studies.simple(tmp_path / "s", {"a": [1, 2], "b$_{": [1, 2]})
    studies.write_study(folder, {"a": {"spec": hostile}, "b$_{": {"scale": {"field": hostile, "value": hostile}}},
                        name=hostile, command=[hostile])  # fmt: skip
    page = studies.Page(build.build(folder))
    assert "onerror=alert(1)>$x$" in page.text and "<img src=x" not in page.source and "\u202e" not in page.source
    assert "\\u202e" in page.text
    assert build.markdown([folder]).count("\n| ") == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "metrics.csv"),
        ("{", "not valid JSON"),
        ("[]", "a JSON object"),
        ('{"format": 2}', "format"),
        ('{"format": 1, "arms": {}}', "at least one arm"),
        ('{"format": 1, "arms": {"../x": {}}}', "name of a folder"),
        ('{"format": 1, "arms": {"a": {}}, "threshold": "high"}', "threshold"),
    ],
)
def test_a_malformed_study_is_one_line(tmp_path, content, says):
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    with pytest.raises(UserError, match=says) as caught:
        build.build(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_command_line(studies, tmp_path, capsys):
    folder = studies.simple(tmp_path / "s", {"a": [1, 2], "b": [1, 2]})
    assert command.main([str(folder), "--markdown"]) == 0
    assert capsys.readouterr().out == build.markdown([folder])
    assert command.main([str(tmp_path / "none")]) == 2 and command.main([]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 2 and not captured.out


def test_the_module_needs_no_jax():
    code = "import sys; from jaxpsn.report import build; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_thinning_keeps_the_means():
    values = np.arange(12.0).reshape(1, 12)
    values[0, 2] = np.nan
    thin = thinned(Series(np.arange(1.0, 13), values), 4)
    assert thin.steps.tolist() == [3, 6, 9, 12] and thin.values.tolist() == [[0.5, 4, 7, 10]]
    assert thinned(thin, 4) is thin


def test_sixteen_arms_have_colours_of_their_own_and_more_differ_in_their_dashes():
    looks = look.looks([f"arm{number}" for number in range(64)])
    assert len({one.color for one in list(looks.values())[:16]}) == 16
    assert len(set(looks.values())) == 64


def test_tasks_are_combined_by_returns_over_the_best(studies, tmp_path, capsys):
    one = studies.simple(tmp_path / "one", {"a": [10.0] * 4, "b": [5.0] * 4})
    two = studies.simple(tmp_path / "two", {"a": [300.0] * 4, "b": [600.0] * 5, "c": [1.0] * 4})
    three = studies.simple(tmp_path / "three", {"a": [0.0] * 4, "b": [-1.0] * 4})
    shown = build.markdown([one, two, three])
    rows = {line.split(" | ")[0].strip("| "): line for line in shown.splitlines() if line.startswith("|")}
    # a stands at 1 on the first task and at 0.5 on the second, b the other way round; in pairs each wins one task.
    assert rows["a"].endswith("| 0 [0, 0], 0/4 solve | 0.75 [0.75, 0.75] | - |")
    assert "| 5.00 [5.00, 5.00], 0/4 solve | 600 [600, 600], 5/5 solve | -1.00" in rows["b"]
    assert rows["b"].endswith("| 0.75 [0.75, 0.75] | 0.50 [0.50, 0.50] |") and rows["c"].endswith("| - | - |")
    assert "no arm's return is above zero: sparse_cartpole_swingup (three)" in shown
    assert "not finished on every task: c." in shown and "the first 4 of each" in shown
    assert command.main([str(one), str(two), str(three), "--markdown"]) == 0 and capsys.readouterr().out == shown


def test_what_was_to_be_found_comes_first_with_its_verdict(studies, tmp_path):
    """Of 4 x 4 pairs a wins all: P less one half is 0.5; none of c, which has not finished, is tested."""
    asked = [
        'above(a, b, final, margin=0.3, stop="none early", says="a ends higher")', "equal(a, b, area, margin=0.1)",
        "below(a, c, final)",
    ]  # fmt: skip
    config = {"seeds": 4, "steps": 3000, "hypotheses": asked}
    folder = studies.simple(tmp_path / "s", {"a": [30, 31, 32, 33], "b": [1, 2, 3, 4]}, study=config)
    content = json.loads((folder / "study.json").read_text())
    content["arms"]["c"] = content["arms"]["a"] | {"spec": "c"}
    (folder / "study.json").write_text(json.dumps(content))
    text = studies.Page(build.build(folder)).text
    first, then = text.index("What was to be found"), text.index("Final numbers")
    for told in ("Fixed at 2026-01-02 03:04 UTC, before the first run", "a ends higher", "none early",
                 "above, margin 0.3", "+0.5 [+0.5, +0.5] supported",
                 "judged once, when all 4 seeds of both arms have made all 3000 steps", "a is equal to b",
                 "contradicted", "a is below c", "not tested: not every seed of both arms has finished"):  # fmt: skip
        assert first < text.index(told) < then, told
