import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from jaxpsn.report import build, command, runs
from jaxpsn.report.charts import picture, scales
from jaxpsn.report.charts.spec import Line, keys
from jaxpsn.report.control import run_plots as plots
from tests.report.pages import read


def test_the_report_holds_plots_rollout_numbers_and_config(write_run, walker_rollout, tmp_path):
    folder = write_run(tmp_path / "run", 5, rollout=walker_rollout)
    event = {"time": "2026-01-01T00:00:00+00:00", "step": 300000, "event": "resume", "detail": "a <good> checkpoint"}
    (folder / "events.jsonl").write_text(json.dumps(event) + "\n")
    page = build.build(folder)
    assert page == folder / "report.html" and (folder / "rollout.html").is_file()
    assert sorted(path.name for path in (folder / "plots").iterdir()) == ["learning.svg", "losses.svg", "noise.svg"]
    checker, words = read(page)
    assert checker.charts == ["chart-learning", "chart-noise", "chart-losses"] and not checker.sources
    assert checker.iframes == [(folder / "rollout.html").read_text()]
    for expected in ("halfcheetah, TD3, parameter noise (flipout)", "over 5 seeds", "TPU v5e", "4 min 12 s", "5.9",
                     "a <good> checkpoint", "actor_hidden", "<b>bold</b> & co", "Final sigma"):  # fmt: skip
        assert expected in words


@pytest.mark.parametrize(
    ("config", "title"),
    [
        ({"explore": {"name": "parameter", "fields": {"structure": {"name": "lowrank", "fields": {"rank": 4}}}}},
         "walker, SAC, parameter noise (lowrank)"),
        ({"explore": {"sum": [{"name": "parameter", "fields": {"structure": {"name": "dense", "fields": {}}}},
                              {"name": "gaussian", "fields": {}}]}},
         "walker, SAC, parameter noise (dense) + gaussian action noise"),
        ({"explore": {"name": "parameter", "fields": {"structure": {"name": "flipout", "fields": {}},
                                                      "hold": {"name": "pink", "fields": {}}}}},
         "walker, SAC, parameter noise (flipout, pink)"),
        ({"explore": {"name": "parameter", "fields": {"hold": {"name": "episode", "fields": {}}}}},
         "walker, SAC, parameter noise"),
        ({"explore": {"sum": [1]}}, "walker, SAC"), ({"explore": 3}, "walker, SAC"), ({}, "walker, SAC"),
    ],
)  # fmt: skip
def test_a_run_is_called_by_its_components(tmp_path, config, title):
    (tmp_path / "metrics.csv").write_text("step,seed,eval_return\n0,0,1.5\n")
    whole = {"config": {"env": {"name": "walker"}, "agent": {"name": "sac", "fields": {"tau": 0.1}}} | config}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    assert f"<h1>{title}</h1>" in build.build(tmp_path).read_text()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"agent": {"name": "td3", "fields": {}}, "explore": {"name": "parameter", "fields": {}}}, "RMS of actions"),
        ({"agent": {"name": "ppo", "fields": {}}, "explore": {"name": "parameter", "fields": {"distance": "kl"}}},
         "nats"),
        ({"agent": {"name": "ppo", "fields": {}}, "explore": {"name": "natural", "fields": {}}}, "nats"),
        ({"agent": {"name": "dqn", "fields": {}},
          "explore": {"sum": [{"name": "parameter", "fields": {"distance": "action"}},
                              {"name": "epsilon_greedy", "fields": {}}]}}, "epsilon-greedy choices"),
    ],
)  # fmt: skip
def test_a_distance_has_the_unit_that_it_was_measured_in(write_run, tmp_path, config, said):
    folder = write_run(tmp_path / "run", 1)
    (folder / "config.json").write_text(json.dumps({"config": {"env": {"name": "walker"}} | config}))
    _, words = read(build.build(folder))
    assert said in words and ("RMS of actions" in words) == (config["agent"]["name"] == "td3")


def test_what_is_missing_is_said(write_run, tmp_path):
    folder = write_run(tmp_path / "run", 1, drop=("sigma", "distance", "target", "q"))
    (folder / "config.json").unlink()
    checker, words = read(build.build(folder))
    assert len(checker.charts) == 2 and not (folder / "plots" / "noise.svg").exists()
    for expected in ("No rollout was recorded", "No event was logged", "config.json is missing", "no interval"):
        assert expected in words
    assert "Final sigma" not in words and "over 1 seeds" not in words


def test_a_broken_rollout_costs_only_its_section(write_run, cartpole_rollout, tmp_path):
    folder = write_run(tmp_path / "run", rollout=cartpole_rollout | {"dt": 0})
    checker, words = read(build.build(folder))
    assert "The rollout cannot be shown: rollout.dt = 0" in words and len(checker.charts) == 3
    assert not checker.iframes and not (folder / "rollout.html").exists()


def test_the_command_line(write_run, tmp_path, capsys):
    assert command.main([str(write_run(tmp_path / "run"))]) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    assert command.main([str(tmp_path / "none")]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "none" in captured.err and not captured.out
    done = subprocess.run([sys.executable, "-m", "jaxpsn.report"], capture_output=True, text=True)
    assert done.returncode == 2 and "FOLDER" in done.stderr and "Traceback" not in done.stderr


def test_findings_tell_what_the_numbers_do(write_run, tmp_path):
    run = runs.read(write_run(tmp_path / "run"))
    returns = run.series("eval_return").values[0]
    finding = plots.learning(run).finding
    assert f"{returns[0]:.3g}" in finding and f"{returns[-1]:,.0f}" in finding and "1.5 M steps" in finding
    assert "0.200 → 0.0" in plots.noise(run).finding and "on its target" in plots.noise(run).finding
    run.columns["distance"][:] = 0.1
    assert "-50% off its target" in plots.noise(run).finding
    run.columns["eval_return"][np.isfinite(run.columns["eval_return"])] = np.arange(21) % 20
    assert "return 0 → 0 in 1.5 M steps (best 19.0 at 1.45 M)" in plots.learning(run).finding


def test_member_scales_have_lines_and_zeros_do_not_break_a_log_axis(write_run, tmp_path):
    run = runs.read(write_run(tmp_path / "run"))
    run.columns["sigma_max"] = run.columns["sigma"] * 3
    run.columns["distance"][:] = 0.0
    noise = plots.noise(run)
    (panel,) = noise.panels  # a distance of zero has no place on a log axis
    lines = [layer for layer in panel.layers if isinstance(layer, Line)]
    assert [line.label for line in lines] == ["sigma max", "noise scale sigma"] and panel.y.scale == "log"
    ((x, y),) = scales.scales(noise)
    assert y.log and not x.log and 0 < y.low < lines[1].y.min() and lines[0].y.max() < y.high


@pytest.mark.parametrize("rows", ["0,0,,\n", "0,0,1.5,\n10,0,,0.3\n", "10,0,nan,0.0\n"])
def test_a_run_that_has_barely_begun_has_a_report(tmp_path, rows):
    (tmp_path / "metrics.csv").write_text(f"step,seed,eval_return,sigma\n{rows}")
    _, words = read(build.build(tmp_path))
    assert "Environment steps" in words


def test_plots_are_files_that_need_no_page(write_run, tmp_path):
    """Each is XML with its finding, legend and panels, and brings the colours that it names, for light and dark."""
    written = picture.write(plots.charts(runs.read(write_run(tmp_path / "run", 2))), tmp_path / "plots")
    assert list(written) == ["learning", "noise", "losses"]
    for name, chart in written.items():
        source = (tmp_path / "plots" / f"{name}.svg").read_text()
        root = ElementTree.fromstring(source)
        said = "".join(root.itertext()).replace("\n", " ")
        for words in (*chart.finding.split(), *(keys(chart) if len(keys(chart)) > 1 else ())):
            assert words in said
        assert len(root.findall(".//{*}g[@class='panel']")) == len(chart.shown) and chart.caption
        style = root.find("{*}style").text
        day, _, night = style.partition("@media(prefers-color-scheme:dark)")
        for color in re.findall(r"var\(--(\w+)\)", source):
            assert f"--{color}:#" in day and f"--{color}:#" in night
        assert not re.search(r"(?:href|src|url)\W", source)
