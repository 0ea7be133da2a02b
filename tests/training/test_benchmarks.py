import csv
import importlib.util
from pathlib import Path

import pytest

from jaxpsn.errors import UserError

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "benchmark.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_replay_writes_a_row_for_every_capacity(benchmark, tmp_path):
    benchmark.Replay(capacities=(64, 512), num_envs=8, inserts=3, rounds=2, out=tmp_path).run()
    table = _table(tmp_path / "replay.csv")
    assert [row["name"] for row in table] == ["64 transitions", "512 transitions"]
    assert all(float(row["seconds"]) > 0 for row in table)


def test_training_writes_steps_per_second_of_every_contender(benchmark, tmp_path):
    benchmark.Training("probe/action", num_envs=4, calls=2, rounds=2, out=tmp_path).run()
    table = _table(tmp_path / "training.csv")
    assert [row["name"] for row in table] == ["gaussian", "flipout"] and float(table[0]["ratio"]) == 1
    for row in table:
        assert float(row["steps_per_second"]) * float(row["seconds"]) == pytest.approx(8)


@pytest.mark.parametrize("command", ["Replay(rounds=0)", "Replay(capacities=(3,))", "Training(calls=0)"])
def test_bad_options_are_refused(benchmark, command):
    with pytest.raises(UserError, match="at least"):
        eval(f"benchmark.{command}").run()


def test_decoding_times_every_form_of_noise_against_the_clean_sampler(benchmark, tmp_path):
    tiny = {"hidden_size": 16, "layers": 1, "vocab": 11, "members": 2, "prompts": 3, "tokens": 2, "rounds": 2}
    benchmark.Decoding(**tiny, out=tmp_path).run()
    table = _table(tmp_path / "decoding-16.csv")
    assert [row["name"] for row in table][:2] == ["token: clean", "token: low rank 1, per sample"] and len(table) == 10
    for row in table:
        drawn = 6 if row["name"].startswith("token") else 12
        assert float(row["tokens_per_second"]) * float(row["seconds"]) == pytest.approx(drawn)


@pytest.mark.slow
def test_reasoning_times_steps_and_their_phases(benchmark, tmp_path):
    benchmark.Reasoning("smoke", rounds=3, out=tmp_path).run()
    table = {row["name"]: row for row in _table(tmp_path / "reasoning.csv")}
    assert float(table["grpo"]["ratio"]) == 1 and float(table["psn, composite, probes reused"]["share_probe"]) > 0
    for row in table.values():
        assert sum(float(row[name]) for name in row if name.startswith("share_")) == pytest.approx(1, abs=0.3)
