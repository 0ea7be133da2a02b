"""Folders side by side: their configs first, their numbers as they are, nothing written where it does not belong."""

import json

import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.report import build, command, compare, runs
from jaxpsn.stats import comparison, evaluations, statistics


@pytest.fixture
def pair(write_run, tmp_path):
    """Two runs of control that differ in two settings."""
    a, b = write_run(tmp_path / "a", 3), write_run(tmp_path / "b", 1)
    config = json.loads((b / "config.json").read_text())
    config["exploration"]["target"], config["agent"]["tau"] = 0.3, 0.01
    config["sessions"] = []
    (b / "config.json").write_text(json.dumps(config))
    return a, b


def test_two_runs_are_compared_their_settings_first(studies, pair, tmp_path, capsys):
    out = tmp_path / "out"
    assert command.main([str(pair[0]), str(pair[1]), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    rows = {row["setting"]: (row["a"], row["b"]) for row in studies.read_csv(out / "config.csv")}
    assert rows == {"exploration.target": ("0.2", "0.3"), "agent.tau": ("-", "0.01")}
    page = studies.Page(out / "report.html")
    order = [page.source.index(f"<h2>{name}</h2>") for name in ("What differs in their settings", "Numbers at the end",
             "Curves")]  # fmt: skip
    assert order == sorted(order) and "a and b, side by side" in page.text and "2 settings differ." in page.text
    assert "Sigma of the weight noise at the end" not in page.text, "titles compare no unlike units"
    table = {(row["entry"], row["metric"]): row for row in studies.read_csv(out / "table.csv")}
    values = runs.read(pair[0]).series("eval_return").values[:, -3:].mean(axis=1)
    found = statistics.bootstrap(values)
    row = table["a", "eval_return"]
    assert [float(row[name]) for name in ("value", "low", "high")] == pytest.approx(found[:3]) and row["seeds"] == "3"
    assert table["b", "eval_return"]["low"] == ""
    tidy = studies.read_csv(out / "tidy.csv")
    assert {row["arm"] for row in tidy} == {"a", "b"} and {row["task"] for row in tidy} == {"halfcheetah"}
    told = [float(row["value"]) for row in tidy if (row["arm"], row["metric"], row["seed"]) == ("a", "sigma", "1")]
    assert told == runs.read(pair[0]).series("sigma").values[1].tolist()
    assert (out / "plots" / "eval_return.svg").is_file() and not (pair[0] / "report.html").exists()


def test_runs_of_reasoning_are_paired_by_problem(studies, write_reasoning, tmp_path):
    folders = [write_reasoning(tmp_path / name, 20) for name in ("one", "two")]
    page = studies.Page(compare.compare(folders, tmp_path / "out"))
    ours, theirs = (evaluations.read(folder / "evaluations" / "trained.json") for folder in folders[::-1])
    row = comparison.compare(ours, theirs).rows()[0]
    assert "two minus one, paired by problem" in page.text and f"{row['theirs']:.3f} [" in page.text
    assert "No settings differ." in page.text and 'id="chart-pass_at_k"' in page.source


def test_a_study_has_an_entry_for_every_arm_and_unlike_tasks_are_not_ranked(studies, write_run, tmp_path):
    study = studies.simple(tmp_path / "s", {"x": [10.0, 20.0], "y": [30.0, 40.0]})
    run = write_run(tmp_path / "run")
    page = studies.Page(compare.compare([study, run], tmp_path / "out"))
    assert "s/x, s/y and run, side by side" in page.text
    assert (
        "Unlike tasks (sparse_cartpole_swingup and halfcheetah)" in page.text and " at the end: from" not in page.text
    )
    table = {(row["entry"], row["metric"]): row["value"] for row in studies.read_csv(tmp_path / "out" / "table.csv")}
    assert float(table["s/x", "eval_return"]) == 15


def test_a_study_of_reasoning_has_one_for_every_arm_and_task(studies, reasoning_studies, tmp_path):
    arms = {name: reasoning_studies.ARMS[name] for name in ("grpo", "psn")}
    folder = reasoning_studies.simulate(tmp_path / "r", arms, ["countdown", "swaps"], seeds=2, problems=8, n=8, steps=4)
    other = reasoning_studies.simulate(tmp_path / "q", arms, ["countdown"], seeds=1, problems=8, n=8, steps=4)
    compare.compare([folder, other], tmp_path / "out")
    rows = studies.read_csv(tmp_path / "out" / "table.csv")
    assert {row["entry"] for row in rows} == {
        "r/countdown/grpo", "r/countdown/psn", "r/swaps/grpo", "r/swaps/psn", "q/grpo", "q/psn"}  # fmt: skip
    assert {row["seeds"] for row in rows if row["entry"].startswith("r/") and row["metric"] == "entropy"} == {"2"}


def test_settings_have_the_names_of_their_flags(studies, write_run, tmp_path):
    """Of components that are runs' own, of sums, and of the arms of a study, whatever all of them share."""
    flipout = {"name": "flipout", "fields": {"base": "sign"}}
    noise = {"name": "parameter", "fields": {"structure": flipout, "sigma": 0.1}}
    both = {"sum": [noise, {"name": "gaussian", "fields": {"std": 0.2}}]}
    for name, explore, steps in (("one", noise, 10), ("two", both, 20)):
        path = write_run(tmp_path / name) / "config.json"
        agent = {"name": "td3", "fields": {"gamma": 0.9}}
        path.write_text(json.dumps({"config": {"agent": agent, "explore": explore}, "run": {"steps": steps}}))
    compare.compare([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    rows = {row["setting"]: (row["one"], row["two"]) for row in studies.read_csv(tmp_path / "out" / "config.csv")}
    assert rows == {
        "explore": ("parameter", "parameter + gaussian"), "explore.structure": ("flipout", "-"),
        "explore.structure.base": ("sign", "-"), "explore.sigma": ("0.1", "-"),
        "explore.parameter.structure": ("-", "flipout"), "explore.parameter.structure.base": ("-", "sign"),
        "explore.parameter.sigma": ("-", "0.1"), "explore.gaussian.std": ("-", "0.2"), "steps": ("10", "20"),
    }  # fmt: skip
    page = studies.Page(build.build(tmp_path / "one"))
    assert "agent.gamma 0.9" in page.text and "fields" not in page.text


def test_folders_of_one_name_are_told_apart(write_run, tmp_path):
    folders = [write_run(tmp_path / parent / "run") for parent in ("one", "two")]
    compare.compare(folders, tmp_path / "out")
    assert (tmp_path / "out" / "config.csv").read_text() == "setting,one/run,two/run\n"


def test_nothing_is_written_where_it_does_not_belong(pair, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a, b = map(str, pair)
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "mine").mkdir()
    for arguments, says in (
        ([a, a], "each folder once"), ([a, str(tmp_path / "none")], "none"),
        ([a, b, "--out", f"{a}/report"], "outside"),
        ([a, b, "--out", "mine"], "not there yet"), ([a, b, "--out", "mine", "--overwrite"], "comparison.json"),
        ([a, "--out", "x"], "two or more"), ([a, "--overwrite"], "two or more"),
        ([a, b, "--otu", "x"], "--otu"),
        ([a, b, "--markdown"], "study.json"),
    ):  # fmt: skip
        assert command.main(arguments) == 2
        said = capsys.readouterr()
        assert says in said.err and said.err.count("\n") == 1 and not said.out, arguments
    (tmp_path / "mine").rmdir()
    assert sorted(tmp_path.rglob("*")) == before
    assert command.main([a, b]) == 0 and (tmp_path / "report-a-b" / "report.html").is_file()
    assert command.main([a, b]) == 2 and command.main([a, b, "--overwrite"]) == 0


def test_a_broken_config_is_refused_before_anything_is_written(pair, tmp_path):
    (pair[1] / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json"):
        compare.compare(pair, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parquet_is_written_where_pyarrow_is_there(pair, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    compare.compare(pair, tmp_path / "out")
    table = parquet.read_table(tmp_path / "out" / "tidy.parquet").to_pydict()
    assert list(table) == ["arm", "task", "seed", "step", "metric", "value"] and np.isfinite(table["value"]).all()
