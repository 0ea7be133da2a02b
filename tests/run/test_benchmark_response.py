"""The table of which measures respond to the scale of the noise: its command, its files, its plot."""

import csv
import json
import sys

import pytest
from benchmarks import command, response, response_plot

from jaxpsn.core.errors import UserError
from jaxpsn.tasks.swaps import Swaps


def test_a_table_is_measured_printed_and_written(tmp_path, monkeypatch, capsys):
    line = f"response --preset smoke --sigmas 0 1.5 --looks 2 --out {tmp_path}".split()
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *line])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command.main(line)
    with (tmp_path / "response.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["sigma"] for row in rows} == {"0.0", "1.5"} and {"ngram", "certainty"} <= {row["name"] for row in rows}
    still = {row["name"]: row for row in rows if row["sigma"] == "0.0"}
    assert all(abs(float(row["drop"])) < 1e-3 for row in still.values())
    assert json.loads((tmp_path / "response.json").read_text())["options"]["looks"] == 2
    assert (tmp_path / "response.svg").read_text().startswith("<svg ")
    shown = capsys.readouterr().out
    assert "drop below clean" in shown and "ngram + certainty" in shown


@pytest.mark.parametrize(
    "line, says",
    [
        ("response --preset psm", "preset = 'psm'"),
        ("response --sigmas 1 1", "sigmas = (1.0, 1.0): one or more numbers, all different"),
        ("response --probes 1", "probes = 1"),
        ("response --bert nowhere", "bert = 'nowhere': a Hugging Face folder"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path, line, says):
    with pytest.raises(UserError) as caught:
        command.run(command.parse([*line.split(), "--out", str(tmp_path)]))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_it_probes_the_noisy_policy_of_any_preset():
    for preset in ("default", "grpo", "composite"):
        if preset == "grpo":
            with pytest.raises(UserError, match="preset = 'grpo': one with noise"):
                response.config(command.parse(["response", "--preset", preset]))
            continue
        config = response.config(command.parse(["response", "--preset", preset, "--probes", "3", "--task", "swaps"]))
        assert (config.probes, config.probe_members, config.sigma.relative, config.task) == (3, 3, True, Swaps())


def test_the_plot_says_from_where_on_a_step_sees_a_drop():
    def row(name, sigma, drop):
        return {"name": name, "sigma": sigma, "drop": drop, "spread": 0.1}

    rows = [row("ngram", 0.5, 0.1), row("ngram", 2.0, 0.3), row("certainty", 0.5, 0.3), row("certainty", 2.0, 0.9)]
    finding = response_plot.response(rows).finding
    assert finding.endswith("similarity of texts from sigma 2 on, in certainty from sigma 0.5 on")
