import csv
import json
import re

import numpy as np
import pytest

from jaxpsn.core import text
from jaxpsn.core.errors import UserError
from jaxpsn.report import build, page, runs
from jaxpsn.report.charts import picture, scales
from jaxpsn.report.charts.spec import Line
from jaxpsn.report.reasoning import evaluation_plot, samples
from jaxpsn.report.reasoning import folder as reasoning
from jaxpsn.report.reasoning import run_plots as plots
from jaxpsn.report.series import smooth
from jaxpsn.stats import comparison
from tests.report.pages import read

PLOTS = ["answers", "correction", "groups", "learning", "noise", "pass_at_k", "time"]


def test_the_report_holds_evaluations_plots_samples_and_config(write_reasoning, tmp_path):
    folder = write_reasoning(tmp_path / "run")
    page = build.build(folder)
    assert page == folder / "report.html" and sorted(p.stem for p in (folder / "plots").iterdir()) == PLOTS
    checker, words = read(page)
    assert sorted(checker.charts) == [f"chart-{name}" for name in PLOTS] and not checker.sources and not checker.iframes
    row = reasoning.judged(folder).comparison.rows()[0]
    gain = f"+{row['difference']:.3f} [+{row['difference_low']:.3f}, +{row['difference_high']:.3f}], paired"
    for expected in ("countdown, PSN-GRPO, lowrank noise per sample, sigma by indicator", "pass@256, base → trained",
                     f"{row['theirs']:.3f} → {row['ours']:.3f}", gain, "Share of all solutions", "step-000060",
                     "trained-noisy", "Every k, with intervals", "Step 1: ", "Step 120: ", "14*15+22",
                     "120 gradient updates", "2 min 18 s", "noise.structure", "Variant II"):  # fmt: skip
        assert expected in words, expected
    assert "Rollout" not in words and "Step 2: " not in words


def test_a_reasoning_run_is_known_by_what_it_wrote_or_by_its_config(write_reasoning, write_run, tmp_path):
    assert not reasoning.recognises(runs.read(write_run(tmp_path / "control")))
    folder = write_reasoning(tmp_path / "run", 4, labels=False)
    (folder / "samples.jsonl").unlink()
    assert reasoning.recognises(runs.read(folder)), "its config tells"
    (folder / "config.json").unlink()
    assert not reasoning.recognises(runs.read(folder))
    (folder / "evaluations").mkdir()
    assert reasoning.recognises(runs.read(folder))


def test_what_is_missing_is_said(write_reasoning, tmp_path):
    folder = write_reasoning(tmp_path / "run", 30, labels=False)
    for name in ("samples.jsonl", "config.json"):
        (folder / name).unlink()
    (folder / "evaluations").mkdir()
    checker, words = read(build.build(folder))
    assert len(checker.charts) == 6
    for expected in ("No evaluation was recorded", "No answers were logged", "config.json is missing"):
        assert expected in words


def test_evaluations_alone_have_a_report(write_reasoning, tmp_path):
    folder = write_reasoning(tmp_path / "run", 4, n=100)
    for name in ("metrics.csv", "config.json", "samples.jsonl"):
        (folder / name).unlink()
    checker, words = read(build.build(folder))
    assert len(checker.charts) == 1 and "pass@64, base → trained" in words and "Final sigma" not in words
    assert "nothing is known of the training" in words and "k = 128, 256 left out: a problem has only 100" in words


def test_a_run_that_was_judged_but_has_no_step_yet_has_a_report(write_reasoning, tmp_path):
    folder = write_reasoning(tmp_path / "run", 4)
    (folder / "metrics.csv").write_text("step,seed,reward\n")
    for label in ("trained", "step-000060", "trained-noisy"):
        (folder / "evaluations" / f"{label}.json").unlink()
    _, words = read(build.build(folder))
    assert (
        "pass@1, base" in words and "Base policy: pass@1 0." in words and "difference" not in words.split("How to")[0]
    )


def test_a_folder_without_anything_is_refused(tmp_path):
    (tmp_path / "evaluations").mkdir()
    with pytest.raises(UserError, match=r"metrics\.csv"):
        build.build(tmp_path)


def test_a_broken_evaluation_costs_only_its_place(write_reasoning, tmp_path):
    folder = write_reasoning(tmp_path / "run", 4)
    (folder / "metrics.csv").unlink()
    (folder / "evaluations" / "step-000002.json").write_text("{")
    _, words = read(build.build(folder))
    assert "step-000002.json: not valid JSON" in words and "pass@256, base → trained" in words
    content = json.loads((folder / "evaluations" / "trained.json").read_text())
    content["problems"] = content["problems"][:60]
    (folder / "evaluations" / "trained.json").write_text(json.dumps(content))
    _, words = read(build.build(folder))
    assert "No paired comparison: trained has 60 problems, base 64, 60 of them shared; only in base:" in words
    assert "pass@1, base" in words and "pass@1, trained" in words


def _shown(steps):
    blocks = [block for step in steps for block in samples.blocks(step)]
    return page.templates().get_template("blocks.html").module.blocks(blocks)


HOSTILE = "<script>alert(1)</script>\x00\ud800 \u202eabc\u2066 \x1b[31m \x85 '\"&$x ${y} ]]> <!-- </pre></article>"


def _log(folder, rows):
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _row(step=1, answer="1+1", reward=1.0, **more):
    return {"step": step, "problem": "p0", "prompt": "1 1 = 2", "text": answer, "reward": reward} | more


def test_hostile_text_is_shown_and_does_nothing(write_reasoning, tmp_path):
    folder = write_reasoning(tmp_path / "run", 4)
    content = json.loads((folder / "evaluations" / "base.json").read_text())
    for problem in content["problems"]:
        problem |= {"id": problem["id"] + HOSTILE, "prompt": HOSTILE, "correct": 0, "distinct": 0}
    for label in ("base", "trained", "step-000060"):
        (folder / "evaluations" / f"{label}.json").write_text(json.dumps(content | {"task": HOSTILE}))
    content["problems"][0] |= {"correct": 256, "distinct": 1}
    (folder / "evaluations" / "trained.json").write_text(json.dumps(content | {"task": HOSTILE}))
    (folder / "config.json").unlink()
    _log(
        folder,
        [_row(answer=HOSTILE, problem=HOSTILE, prompt=HOSTILE, member=HOSTILE), _row(reward=0.0, answer="(" * 10**6)],
    )
    page = build.build(folder)
    content = page.read_text(encoding="utf-8")
    checker, words = read(page)
    assert content.count("<script>") == 1 and checker.tags.count(("script",)) == 1
    assert words.count("<script>alert(1)</script>␀\\ud800 \\u202eabc\\u2066 ␛[31m \\u0085") >= 4
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", content)
    assert "[... 998,800 characters left out ...]" in words and len(content) < 6_000_000


def test_the_first_and_last_step_are_shown_right_beside_wrong(tmp_path):
    rows = [_row(3, f"{i}", float(i % 4 == 0), problem=f"p{i // 4}") for i in range(16)]
    rows += [_row(9, "fined", -0.5, score=1.0), _row(5, "between"), _row(9, "no", 0.0)]
    _log(tmp_path, rows)
    (first, last), problems = samples.read(tmp_path / "samples.jsonl")
    assert (first.step, last.step) == (3, 9) and not problems and first.counts == (4, 12)
    assert [row["text"] for row in first.right] == ["0", "4", "8"]
    assert [row["text"] for row in first.wrong] == ["1", "5", "9"], "of unlike problems"
    assert [row["text"] for row in last.right] == ["fined"], "the verifier's score tells, where it was logged"
    shown = _shown([last])
    assert "fined" in shown and "Step 9: 1 right of 2 answers read" in shown


def test_a_log_of_one_step_or_one_kind_is_shown(tmp_path):
    _log(tmp_path, [_row(7, "", 1.0, ended=False, member=-1, sigma=0.0, length=12, weight=0.51234)])
    found, _ = samples.read(tmp_path / "samples.jsonl")
    assert len(found) == 1
    shown = _shown(found)
    for expected in ("(empty)", "No wrong answer", "cut off", "policy <b>clean</b>", "weight <b>0.512</b>"):
        assert expected in shown
    assert "sigma" not in shown


@pytest.mark.parametrize(
    "line",
    ["[1]", "{", "[" * 100_000, '{"step": 1}', "\udcff", '{"step": "1", "text": "a", "reward": 1}',
     '{"step": 1, "text": 7, "reward": 1}', '{"step": 1, "text": "a", "reward": NaN}',
     '{"step": 1, "text": "a", "reward": true}', '{"step": -1, "text": "", "reward": 1}'],
)  # fmt: skip
def test_lines_that_are_no_answers_are_counted(tmp_path, line):
    good = json.dumps(_row())
    (tmp_path / "samples.jsonl").write_bytes(
        f"{good}\n{line}\n{good}\n\n{good[:20]}".encode("utf-8", "surrogateescape")
    )
    (only,), problems = samples.read(tmp_path / "samples.jsonl")
    assert only.counts == (2, 0) and problems == ["samples.jsonl: 1 lines cannot be read and are left out."]


def test_both_ends_of_a_long_log_are_read_and_no_row_twice(tmp_path, monkeypatch):
    rows = [_row(step, f"{step}/{index}") for step in range(1, 51) for index in range(4)]
    _log(tmp_path, rows)
    whole, _ = samples.read(tmp_path / "samples.jsonl")
    for window in (400, 401, 402, 1000, 9_000, 10_000, 15_000):
        monkeypatch.setattr(samples, "_WINDOW", window)
        found, problems = samples.read(tmp_path / "samples.jsonl")
        assert [one.step for one in found] == [1, 50] and found[1].right[-1]["text"].startswith("50/") and not problems
        assert window < 1000 or found == whole
    monkeypatch.setattr(samples, "_WINDOW", 10)
    assert samples.read(tmp_path / "samples.jsonl")[1][-1] == "samples.jsonl holds no answers."


def test_facts_of_any_size_are_shown(tmp_path):
    _log(tmp_path, [_row(advantage=10**400, weight=float("nan"), length=True, member=[1], problem=7)])
    found, problems = samples.read(tmp_path / "samples.jsonl")
    assert not problems and "problem <b>7</b>" in _shown(found)
    assert samples.read(tmp_path / "none.jsonl")[1] == ["none.jsonl: cannot be read (No such file or directory)"]


def _run(write_reasoning, folder, **more):
    return runs.read(write_reasoning(folder, 60, labels=False, **more))


def _labels(panel):
    return [layer.label for layer in panel.layers]


MAKERS = ("learning", "noise", "correction", "answers", "groups", "time")


@pytest.mark.parametrize("name", MAKERS)
def test_each_plot_needs_only_one_of_its_columns(write_reasoning, tmp_path, name):
    run = _run(write_reasoning, tmp_path)
    columns = {
        "learning": ("reward", "eval_pass_at_1", "eval_pass_at_8"), "noise": ("sigma", "noise_kl_k1", "noise_kl_k3"),
        "correction": ("ratio_min", "ratio_mean", "ratio_max", "truncated_share", "weight_ess"),
        "answers": ("length", "clipped_length", "entropy"),
        "groups": ("groups_all_correct", "groups_all_wrong", "groups_rescued", "groups_lost"),
        "time": ("seconds_sample", "seconds_verify", "seconds_probe", "tokens_per_second"),
    }[name]  # fmt: skip
    make = getattr(plots, name)
    for column in columns:
        alone = runs.Run(run.path, {}, {key: run.columns[key] for key in ("step", "seed", column)})
        plot = make(alone)
        assert plot.finding and len(plot.finding) < 130 and plot.shown
    assert make(runs.Run(run.path, {}, {key: run.columns[key] for key in ("step", "seed")})) is None


@pytest.mark.parametrize(
    "rows", ["1,0,,,\n", "1,0,0.5,0,0\n", "1,0,nan,0.1,-0.2\n2,0,0.1,0.1,0.3\n", "1,0,0,0,0\n1,4,1,0.1,1\n"]
)
def test_a_run_that_has_barely_begun_has_a_report(write_reasoning, tmp_path, rows):
    folder = write_reasoning(tmp_path, 4, labels=False)
    names = ("reward", "sigma", "noise_kl_k1", *(f"{a}_{b}" for a, b in (("ratio", "max"), ("groups", "all_wrong"))))
    filled = "".join(line + ",0,0,0\n" for line in rows.splitlines())
    (folder / "metrics.csv").write_text(f"step,seed,{','.join(names)},seconds_sample\n{filled}")
    _, words = read(build.build(folder))
    assert "Training steps" in words


def test_plots_say_what_the_numbers_do(write_reasoning, tmp_path):
    run = _run(write_reasoning, tmp_path)
    columns = run.columns
    first, last = (columns["eval_pass_at_1"][index] for index in (0, -1))
    assert f"Pass@1 {first:.3f} → {last:.3f}" in plots.learning(run).finding
    assert f"Sigma 0.100 → {columns['sigma'][-1]:.4f}; indicator" in plots.noise(run).finding
    assert "target 0.550" in plots.noise(run).finding
    assert f"{columns['ratio_max'].max():.1f};" in plots.correction(run).finding
    columns["groups_all_wrong"][:], columns["groups_all_correct"][:] = 0.25, 1 / 3
    assert "all wrong at 25 %, all correct at 33 %" in plots.groups(run).finding
    for name, value in (("sample", 0.7), ("update", 0.2), ("probe", 0.099), ("verify", 0.001)):
        columns[f"seconds_{name}"][:] = value
    assert "A step takes 1 s: sample 70 %, update 20 %, probe 9.9 %, verify 0.1 %" in plots.time(run).finding


def test_an_estimate_of_kl_that_is_negative_has_a_linear_axis_and_the_kl_its_target(write_reasoning, tmp_path):
    run = _run(write_reasoning, tmp_path, drop=("indicator", "similarity", "certainty"))
    _, kl = plots.noise(run).panels
    assert kl.y.scale == "log" and "target" in _labels(kl)
    run.columns["noise_kl_k1"][4] = -1e-3
    assert plots.noise(run).panels[1].y.scale == "linear"


def test_the_target_of_variant_two_belongs_to_the_indicator(write_reasoning, tmp_path):
    _, kl, indicator = plots.noise(_run(write_reasoning, tmp_path)).panels
    assert "target" not in _labels(kl) and "target" in _labels(indicator)


def test_the_plot_of_pass_at_k_draws_the_numbers(write_reasoning, tmp_path):
    judged = reasoning.judged(write_reasoning(tmp_path, 4))
    plot = evaluation_plot.pass_at_k(judged)
    top, bottom = plot.panels
    lines = {line.label: line.y for line in top.layers}
    assert list(lines) == ["base", "step-000060", "trained", "trained-noisy"]
    for one in judged.evaluations:
        assert lines[one.label] == pytest.approx(one.curve.band.value)
    (difference,) = (line for line in bottom.layers if isinstance(line, Line))
    assert difference.y == pytest.approx(lines["trained"] - lines["base"])
    assert [name for _, name in scales.scales(plot)[1][0].ticks] == [str(2**i) for i in range(9)]
    assert top.x.scale == "log" and evaluation_plot.pass_at_k(reasoning.Judged((), None, ())) is None


@pytest.mark.parametrize(("problems", "n"), [(1, 1), (1, 256), (3, 1), (3, 5)])
def test_few_problems_and_few_answers_have_a_plot(write_reasoning, tmp_path, problems, n):
    folder = write_reasoning(tmp_path, 4, problems=problems, n=n)
    judged = reasoning.judged(folder)
    picture.write([evaluation_plot.pass_at_k(judged)], folder)
    assert len(judged.comparison.rows()) == 1 + (n > 1) * 2 + (n > 5) * 6


def test_one_answer_to_one_problem_has_a_report_without_intervals(write_reasoning, tmp_path):
    folder = write_reasoning(tmp_path, 4, problems=1, n=1)
    (folder / "metrics.csv").unlink()
    _, words = read(build.build(folder))
    assert "pass@1, base" in words and "(no interval)" in words and "a problem has only 1 answer." in words


def test_the_comparison_of_a_run_is_of_its_clean_ends(write_reasoning, tmp_path):
    folder = write_reasoning(tmp_path, 4)
    found = reasoning.judged(folder).comparison
    assert (found.theirs.label, found.ours.label) == ("base", "trained")
    assert found.table() == comparison.compare(found.ours, found.theirs).table()
    (folder / "evaluations" / "trained.json").unlink()
    assert reasoning.judged(folder).comparison.ours.label == "step-000060"


def test_a_running_mean_is_the_mean_of_what_is_there():
    values = np.random.default_rng(0).normal(size=(2, 100))
    values[1, 40:43] = np.nan
    found = smooth(runs.Series(np.arange(100.0), values)).values
    for row in range(2):
        for t in range(100):
            near = values[row, max(0, t - 2) : t + 3]
            wanted = np.nan if np.isnan(values[row, t]) else np.nanmean(near)
            assert found[row, t] == pytest.approx(wanted, nan_ok=True)


def test_text_that_cannot_be_seen_is_named():
    assert text.visible("a\tb\nc\r\x00\x7f\ufeff") == "a\tb\nc␍␀\\u007f\\ufeff"
    assert text.visible("x" * 10, 10) == "x" * 10
    assert text.visible("abcdefghijkl\x00", 6) == "abcd\n[... 7 characters left out ...]\nl␀"


def test_every_column_that_is_plotted_is_in_the_table(write_reasoning, tmp_path):
    with (write_reasoning(tmp_path, 4) / "metrics.csv").open() as file:
        (header, *_) = csv.reader(file)
    known = {name for names in reasoning.COLUMNS.values() for name in names}
    assert set(header) - known == {"step", "seed", "updates", "seconds", "eval_pass_at_1", "eval_pass_at_8"}
