"""The report of a reasoning study: complete, under way, not begun, and everything that may be missing or wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.report import build, command
from jaxpsn.report.reasoning.study import curves, look, plots, report, training, words
from jaxpsn.report.reasoning.study.scores import ALL

_FEW = ("grpo", "psn-no-tis", "psn", "psn-composite", "temperature")


def _results(folder):
    return build.results(folder)


def _some(module, names=_FEW):
    return {name: module.ARMS[name] for name in names}


@pytest.fixture(scope="module")
def whole(studies, reasoning_studies, tmp_path_factory):
    """A finished study of five arms on two tasks, built once."""
    folder = tmp_path_factory.mktemp("study") / "deep"
    reasoning_studies.simulate(folder, _some(reasoning_studies), ["countdown", "swaps"], seeds=3, problems=24, steps=20)
    return folder, studies.Page(build.build(folder))


def test_the_report_holds_everything_in_order(whole):
    folder, page = whole
    headings = ["The paper&#39;s pattern", "Final numbers", "pass@k", "Training", "Tuning", "Method",
                "How to read this", "Events"]  # fmt: skip
    places = [page.source.index(f"<h2>{name}</h2>") for name in headings]
    assert places == sorted(places)
    names = {path.stem for path in (folder / "plots").iterdir()}
    assert names == {
        "difference", "pass_at_k", "pass_at_k-countdown", "pass_at_k-swaps", "pattern", "seconds", "trajectories",
        "trajectories-countdown", "trajectories-swaps", "tuning",
    }  # fmt: skip
    assert page.source.count('<figure class="chart"') == len(names)
    for expected in ("Study deep", "Reasoning: 5 ways to explore on 2 tasks", "pass@256, mean of 2 tasks: base",
                     "Of the paper's 8 statements:", "Mean of countdown and swaps: 24 problems of each, 256 answers",
                     "3 seeds of an arm", "Intervals rest on 3 seeds", "python experiments/rlvr_compare.py",
                     "countdown (countdown,numbers=4)", "rollout.temperature 0.2", "jax 0.12.0.1",
                     "noise.structure = lowrank", "the same minus grpo, points", "any seed", "2000 bootstrap samples",
                     "mean pass@k over k = 1, 2, 4, ..., 64", "temperature tuned", "minus grpo at 1:",
                     "the numbers are in table.csv, contrasts.csv, hypotheses.csv and tidy.csv"):  # fmt: skip
        assert expected in page.text
    assert 'role="alert"' not in page.source
    assert all(path.stat().st_size < 200_000 for path in (folder / "plots").iterdir())


def test_the_tables_are_read_back(studies, whole):
    folder, _ = whole
    results = _results(folder)
    table = {(row["task"], row["arm"]): row for row in studies.read_csv(folder / "table.csv")}
    assert set(table) == {(task, arm) for task in ("all", "countdown", "swaps") for arm in ("base", *_FEW)}
    row, found = table["all", "psn"], results.passed(ALL, "psn", 64)
    cells = [float(row[f"pass_at_64{end}"]) for end in ("", "_low", "_high")]
    assert cells == pytest.approx(found[:3], rel=1e-6)
    assert (row["status"], row["seeds"], row["problems"], row["scale_field"], row["scale"]) == (
        "finished", "3", "48", "sigma.initial", "0.2")  # fmt: skip
    assert float(row["zero_advantage_difference_high"]) < 0 and float(row["entropy_first"]) > float(row["entropy_last"])
    assert float(row["seconds_step"]) == pytest.approx(0.534) and float(row["effective"]) == pytest.approx(0.94)
    assert table["all", "grpo"]["zero_advantage_difference"] == table["all", "base"]["entropy_last"] == ""
    counts = [int(table[task, "psn"]["base_never"]) for task in ("all", "countdown", "swaps")]
    assert counts[0] == counts[1] + counts[2]
    contrasts = studies.read_csv(folder / "contrasts.csv")
    assert len(contrasts) == 3 * 4 * 6 and {row["theirs"] for row in contrasts} == {"grpo"}
    hypotheses = studies.read_csv(folder / "hypotheses.csv")
    assert {row["hypothesis"] for row in hypotheses} == {
        "noise-alone", "correction", "noise", "adaptive-composite", "small-k", "large-k", "small-k-composite",
        "large-k-composite"}  # fmt: skip
    assert sum(row["hypothesis"] == "small-k" for row in hypotheses) == 9
    assert {row["verdict"] for row in hypotheses} <= {"supported", "contradicted", "undecided"}


def test_the_markdown_form_is_the_table_and_the_pattern(whole, capsys):
    folder, _ = whole
    assert command.main([str(folder), "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert shown == build.markdown([folder])
    table, note, pattern = shown.strip().split("\n\n")
    heads = table.splitlines()[0]
    assert heads.startswith("| arm | pass@1, % | pass@4, % | pass@16, % | pass@64, % | pass@256, % | pass@256 minus")
    assert len(table.splitlines()) == 2 + 6 and len(pattern.splitlines()) == 2 + 8
    assert "95 % bootstrap intervals over problems and seeds" in note


def test_a_study_that_has_not_begun_and_one_with_only_its_base(studies, reasoning_studies, tmp_path):
    folder = reasoning_studies.write_study(tmp_path, _FEW, ["countdown", "swaps"])
    page = studies.Page(build.build(folder))
    assert (
        "No arm is finished yet" in page.text
        and "none yet" in page.text
        and page.source.count('<figure class="chart"') == 0
    )
    assert "countdown: no results yet of any arm" in page.text
    assert build.markdown([folder]) == "No task has results yet.\n"
    reasoning_studies.write_base(folder, "swaps", [0, 3, 250])
    page = studies.Page(build.build(folder))
    assert "before training" in page.text and "No arm is finished yet" in page.text
    assert build.markdown([folder]).startswith("| arm |")


@pytest.fixture
def partial(reasoning_studies, tmp_path):
    """Two arms finished on one task, a third with one of two seeds, others failed or under way; one task not begun."""
    folder = tmp_path / "partial"
    reasoning_studies.simulate(folder, _some(reasoning_studies, ("grpo", "psn")), ["countdown"], seeds=2, problems=16,
                               n=32, steps=4)  # fmt: skip
    reasoning_studies.write_study(folder, _FEW, ["countdown", "swaps"], 2)
    reasoning_studies.write_run(folder, "countdown", "temperature", 1, [3] * 16, n=32, steps=4)
    reasoning_studies.write_run(folder, "countdown", "psn-no-tis", 0, None, steps=2, budget=60)
    failed = reasoning_studies.write_run(folder, "countdown", "psn-no-tis", 1, None, steps=3, budget=60)
    (failed / "failed.json").write_text('{"reason": "not finite at loss"}')
    (reasoning_studies.write_run(folder, "countdown", "psn-composite", 0, None) / "finished.json").write_text("{")
    return folder


def test_what_is_missing_is_said_and_what_is_there_is_shown(studies, partial):
    page = studies.Page(build.build(partial))
    for expected in ("countdown: no results yet of psn-no-tis and psn-composite", "swaps: no results yet of any arm",
                     "countdown: fewer than 2 seeds are complete of temperature (1)", "1 of 2 seeds",
                     "Stopped and left out: countdown/psn-no-tis/1 (not finite at loss)",
                     "Under way and left out: countdown/psn-no-tis/0 (2 of 60 steps)", "on 2 tasks",
                     "One seed of temperature: intervals are over problems alone", "finished.json: not valid JSON",
                     "countdown: arms with different seeds are not paired by seed: 0, 1 (grpo, psn); 1 (temperature)",
                     "The largest k is 32", "too few arms have results on swaps", "pass@32, countdown: base",
                     "not tested: no results of psn-no-tis"):  # fmt: skip
        assert expected in page.text, expected
    status = {row["arm"]: row["status"] for row in studies.read_csv(partial / "table.csv")}
    assert status == {"base": "finished", "grpo": "finished", "psn": "finished", "psn-no-tis": "unfinished",
                      "psn-composite": "unfinished", "temperature": "unfinished"}  # fmt: skip
    rows = {row["hypothesis"]: row for row in studies.read_csv(partial / "hypotheses.csv")}
    assert rows["noise-alone"]["whole"] == "not tested: no results of psn-no-tis"
    assert rows["noise-alone"]["difference"] == "" and rows["noise"]["difference"] != ""


def test_one_seed_says_so_and_keeps_its_intervals_over_problems(studies, reasoning_studies, tmp_path):
    arms = _some(reasoning_studies, ("grpo", "psn"))
    folder = reasoning_studies.simulate(tmp_path / "one", arms, ["countdown"], seeds=1, problems=16, n=16, steps=4)
    page = studies.Page(build.build(folder))
    assert "One seed of grpo and psn: intervals are over problems alone" in page.text
    assert "1 seed of an arm; in brackets 95 % bootstrap intervals over problems." in page.text
    assert "Intervals rest on" not in page.text
    (row,) = [row for row in studies.read_csv(folder / "table.csv") if row["arm"] == "psn"]
    assert row["pass_at_1_low"] != "" and row["zero_advantage"] != "" and row["zero_advantage_low"] == ""


def test_metrics_that_were_not_recorded_are_left_out(studies, reasoning_studies, tmp_path):
    arms = _some(reasoning_studies, ("grpo", "psn"))
    drop = ["entropy", "sigma", "groups_zero_advantage", "noise_kl_k1", "noise_kl_k3", "weight_ess", "eval_pass_at_1"]
    drop += ["seconds", *(f"seconds_{phase}" for phase in ("step", "probe", "sample", "verify", "update"))]
    folder = reasoning_studies.simulate(tmp_path, arms, ["countdown"], seeds=2, problems=16, n=16, steps=4, drop=drop,
                                        tuned=False, known=False)  # fmt: skip
    page = studies.Page(build.build(folder))
    assert "No scale was tuned" in page.text and "psn as given" in page.text
    assert {path.stem for path in (folder / "plots").iterdir()} == {"pass_at_k", "difference", "pattern"}
    (row,) = [row for row in studies.read_csv(folder / "table.csv") if row["arm"] == "psn"]
    assert row["entropy_last"] == row["seconds_step"] == row["distinct"] == "" and row["seconds"] == "40.5"


def test_a_base_that_is_missing_is_named(reasoning_studies, tmp_path):
    folder = reasoning_studies.write_study(tmp_path, ["grpo"], ["countdown"], 1)
    reasoning_studies.write_run(folder, "countdown", "grpo", 0, [1, 2], steps=2)
    with pytest.raises(UserError, match=r"tasks/countdown/base/evaluations/base\.json: missing, so that ") as caught:
        build.build(folder)
    assert "\n" not in str(caught.value) and "arms/grpo/0" in str(caught.value)


@pytest.mark.parametrize("what", ["others", "more", "prompts", "torn", "other text"])
def test_evaluations_that_are_not_of_the_task_are_named(reasoning_studies, tmp_path, what):
    folder = reasoning_studies.write_study(tmp_path, ["grpo"], ["countdown"], 1)
    reasoning_studies.write_base(folder, "countdown", [1, 2, 0])
    run = reasoning_studies.write_run(folder, "countdown", "grpo", 0, [1, 2, 0], steps=2)
    file = run / "evaluations" / "trained.json"
    if what == "others":
        reasoning_studies.write_evaluation(run, "trained", [1, 2, 0], task="swaps")
    elif what == "more":
        reasoning_studies.write_evaluation(run, "trained", [1, 2, 0, 4], task="countdown")
    elif what == "prompts":
        file.write_text(file.read_text().replace("problem 1", "another 1"))
    else:
        file.write_text("{" if what == "torn" else '{"step": 1}')
    with pytest.raises(UserError) as caught:
        build.build(folder)
    said = str(caught.value)
    assert said.startswith(f"{file}: ") and "\n" not in said and len(said) < 700
    if what in ("others", "more", "prompts"):
        assert "not the problems of its base" in said


def test_problems_in_another_order_are_matched_by_their_ids(reasoning_studies, tmp_path):
    folder = reasoning_studies.write_study(tmp_path, ["grpo"], ["countdown"], 1)
    reasoning_studies.write_base(folder, "countdown", [0, 2, 0])
    run = reasoning_studies.write_run(folder, "countdown", "grpo", 0, [5, 0, 0], steps=2)
    file = run / "evaluations" / "trained.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"problems": content["problems"][::-1]}))
    found = _results(folder).solved("countdown", "grpo")
    assert (found.new.value, found.lost.value) == (1, 1)


def test_a_run_without_its_evaluation_is_not_finished(reasoning_studies, tmp_path):
    folder = reasoning_studies.write_study(tmp_path, ["grpo"], ["countdown"], 1)
    run = reasoning_studies.write_run(folder, "countdown", "grpo", 0, [1], steps=2)
    (run / "evaluations" / "trained.json").unlink()
    (((seed, told),),) = [cell.others for cell in _results(folder).study.cells.values()]
    assert (seed, told.status, told.detail) == (0, "unfinished", "trained.json is missing")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (None, "metrics.csv"), ({"kind": ["x"]}, "a study of control or reasoning"),
        ({"tasks": {}}, "at least one task"), ({"format": 9}, "format"),
        ({"tasks": {"../x": {}}}, "task"), ({"arms": {"a": 1}}, "arms.a = 1: an object"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_reasoning_study_is_one_line(reasoning_studies, tmp_path, capsys, changes, says):
    if changes is not None:
        reasoning_studies.write_study(tmp_path, ["grpo"])
        file = tmp_path / "study.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    assert command.main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_a_saturated_base_other_versions_and_a_grid_s_end_are_told(reasoning_studies, tmp_path):
    arms = _some(reasoning_studies, ("grpo", "psn", "psn-half"))
    folder = reasoning_studies.write_study(tmp_path, arms, ["countdown"], 1)
    reasoning_studies.write_base(folder, "countdown", [9] * 39 + [0])
    reasoning_studies.write_run(folder, "countdown", "grpo", 0, [9] * 40, steps=2)
    reasoning_studies.write_run(folder, "countdown", "psn", 0, [9] * 40, steps=2,
                                versions=reasoning_studies.VERSIONS | {"jax": "0.10.2"})  # fmt: skip
    reasoning_studies.write_run(folder, "countdown", "psn-half", 0, [9] * 40, steps=2)
    reasoning_studies.write_choice(folder, "countdown", "psn", "sigma.initial", chosen=0.4)
    reasoning_studies.write_choice(folder, "countdown", "psn-half", "sigma.initial", values=[1])
    results = _results(folder)
    told = " ".join(words.warnings(results))
    assert "different versions of jax: 0.12.0.1 (grpo, psn-half) and 0.10.2 (psn)" in told
    assert "countdown: the base already solves 97.5 % at k = 256" in told
    assert "psn-half: its tuning cannot be read" in " ".join(results.study.notes)
    tuning = report._tuning(results, {})
    assert any("Chosen at an end of what was tried: countdown/psn (0.4)" in block.text for block in tuning[:2])
    assert list(report._scales(results)) == [
        "psn tuned: sigma.initial 0.2",
        "psn-half as tuned for psn, times 0.5: sigma.initial 0.1",
    ]


def test_fifteen_lines_are_told_apart(reasoning_studies):
    labels = tuple(reasoning_studies.ARMS)
    panels, looks = look.panels(labels), look.looks(labels)
    assert panels[0] == ("psn-no-tis", "psn", "psn-kl", "psn-composite", "psn-step") and len(panels) == 2
    assert sorted(sum(panels, ("grpo",))) == sorted(labels) and len(looks) == 15
    assert len(set(looks.values())) == len({one.color for one in looks.values()}) == 15
    for panel in panels:
        assert len({looks[label].color for label in ("base", "grpo", *panel)}) == len(panel) + 2
    many = look.panels([f"a{number}" for number in range(20)])
    assert [len(panel) for panel in many] == [8, 8, 4] and look.panels(["grpo"]) == [()]


def test_curves_are_means_over_seeds_and_tasks_at_shared_steps(whole):
    folder, _ = whole
    results = _results(folder)
    cells = results.cells(ALL, "psn")
    curve = training.curve(cells, "entropy")
    values = [one.run.series("entropy").values[0] for cell in cells for one in cell.finished]
    assert len(values) == 6 and curve.seeds == 3 and curve.steps.tolist() == list(range(1, 21))
    assert curve.band.value == pytest.approx(np.mean(values, axis=0))
    assert (curve.band.low <= curve.band.value).all() and (curve.band.value <= curve.band.high).all()
    assert training.curve(cells, "indicator") is None
    drawn = curves._curves(results, ALL, "grpo")
    assert "sigma" not in drawn and "kl" not in drawn and "entropy" in drawn


def test_the_pattern_s_plot_has_each_difference_once(whole):
    results = _results(whole[0])
    (panel,) = plots.pattern(results).panels
    labels = [name for _, name in panel.y.ticks]
    assert labels[:3] == ["psn-no-tis ≈ grpo, k = 256", "psn > psn-no-tis, k = 256", "psn > grpo, k = 256"]
    assert "psn < grpo, k = 4" in labels and len(labels) == len(set(labels)) == 13


def test_names_are_text_whatever_they_hold(studies, reasoning_studies, tmp_path):
    hostile = "<img src=x onerror=alert(1)>$x$_&|\u202e"
    folder = reasoning_studies.write_study(tmp_path, ["grpo"], ["t$_{"], 1, name=hostile, command=[hostile])
    content = json.loads((folder / "study.json").read_text())
    content["arms"]["a$_{"] = {"spec": hostile, "changes": {hostile: hostile}, "scale": {"field": hostile}}
    (folder / "study.json").write_text(json.dumps(content))
    reasoning_studies.write_base(folder, "t$_{", [1, 0], n=2)
    for arm in ("grpo", "a$_{"):
        reasoning_studies.write_run(folder, "t$_{", arm, 0, [2, 1], n=2, steps=2)
    page = studies.Page(build.build(folder))
    assert "onerror=alert(1)>$x$" in page.text and "<img src=x" not in page.source and "\u202e" not in page.source
    assert "\\|" in build.markdown([folder])


def test_the_module_needs_no_jax():
    code = "import sys; from jaxpsn.report.reasoning import study; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
