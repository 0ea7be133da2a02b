"""The choice of a scale: its rules, its records, and that it leaves the reported seeds alone."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.report import build as reports
from jaxpsn.run import status
from jaxpsn.run.loggers import sinks
from jaxpsn.study import record, stages
from jaxpsn.study.control import making
from jaxpsn.study.control.config import StudyConfig
from jaxpsn.study.kinds import control as job

ROOT = Path(__file__).resolve().parents[2]
NEVER = np.nan


def trials(final, first=None, coverage=None):
    final = np.array(final, float)
    unknown = np.full(final.shape, np.nan)
    return making.Trials(final, *(unknown if given is None else np.array(given, float) for given in (first, coverage)))


@pytest.mark.parametrize(
    ("told", "index", "by"),
    [
        (trials([[1, 2, 3], [2, 3, 4], [0, 8, 0]]), 1, "final return"),
        (trials([[0, 0, 0, 100], [1, 1, 1, 1]]), 1, "final return"),  # the middle half decides
        (trials([[np.nan, 5.0], [1.0, 1.0]]), 1, "final return"),
        (trials([[0, 0], [0, 0]], [[NEVER, NEVER], [900, NEVER]], [[9, 9], [1, 1]]), 1, "first reward"),
        (trials([[0, 0], [0, 0], [0, 0]], [[300, 500], [NEVER, 100], [200, 400]]), 2, "first reward"),
        (trials([[0, 0], [0, 0]], [[NEVER, NEVER]] * 2, [[3, 4], [4, 4]]), 1, "coverage"),
        (trials([[0, 0], [0, 0]]), 0, "order"),
        (trials([[2, 2], [1, 1], [2, 2]], [[50, 50], [1, 1], [40, 40]]), 2, "first reward"),  # of the best alone
    ],
)
def test_what_is_chosen_and_by_what(told, index, by):
    assert making.choose(told, 1000) == (index, by)


@pytest.fixture
def compare(fake, tmp_path, monkeypatch):
    """A study of a fake learner whose return is best at the scale 0.3; ``compare(**study)``."""

    class Tunable(fake.Fake):
        def __init__(self, explore):
            super().__init__(nan_at=self.spoilt, nan_seed=1001)
            self.hyper = {"explore.std": jnp.float32(getattr(explore, "std", 0.2)), "explore.other": jnp.float32(0.2)}

        def init(self, key, hyper):
            return super().init(key, {"rate": hyper["explore.std"]})

        def evaluate(self, key, state):
            return {"eval_return": -((state.params["rate"] - 0.3) ** 2) + 1e-4 * jax.random.normal(key)}

    Tunable.spoilt = -1
    monkeypatch.setattr(making, "program", lambda control, steps, env: Tunable(control.explore))
    monkeypatch.setattr(making, "environment", lambda control: None)
    monkeypatch.setattr(stages, "release", lambda: None)
    monkeypatch.setattr(reports, "build", lambda path: path)

    def run(**fields):
        fixed = {"arms": ("gaussian", "none"), "seeds": 2, "steps": 80, "chunk": 40, "eval_every": 40, "tune": True}
        fixed |= {
            "grid": ("gaussian=0.1,0.35,0.9",),
            "tune_seeds": 2,
            "progress": "none",
            "launcher": "inline",
            "out": str(tmp_path),
        }
        resumed = "resume" in fields
        fields = {"name": None if resumed else "study"} | fields
        return job.run(job.StudyJob(job.PRESETS["smoke"].control, StudyConfig(**(fixed | fields)))), tmp_path / "study"

    run.kind = Tunable
    return run


def rows(path):
    with (path / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def choice(path, label="gaussian"):
    return json.loads((path / "tuning" / label / record.CHOICE).read_text())


def test_the_best_scale_is_found_on_other_seeds_and_used_on_the_reported_ones(compare, capsys):
    code, path = compare()
    told = choice(path)
    assert code == status.DONE and (told["chosen"], told["by"]) == (0.35, "final return")
    assert (told["field"], told["values"]) == ("explore.std", [0.1, 0.35, 0.9])
    assert told["seeds"] == [[1000, 1001], [1002, 1003], [1004, 1005]]
    np.testing.assert_allclose(told["final"], [[-0.04] * 2, [-0.0025] * 2, [-0.36] * 2], atol=1e-3)
    assert told["first_reward"] == told["coverage"] == [[None, None]] * 3
    tried, reported = (rows(path / place / "gaussian") for place in ("tuning", "arms"))
    assert {row["seed"] for row in tried} == {str(seed) for seed in range(1000, 1006)}
    assert {row["seed"] for row in reported} == {"0", "1"}
    judged = np.array([[float(row["eval_return"]) for row in tried if row["seed"] == str(seed) and row["step"] != "0"]
                       for seed in range(1000, 1006)])  # fmt: skip
    np.testing.assert_allclose(np.ravel(told["final"]), judged[:, -3:].mean(axis=1), rtol=1e-6)
    assert float(reported[-1]["eval_return"]) == pytest.approx(-0.0025, abs=1e-3), "the arm runs with it"
    arm = json.loads((path / record.STUDY).read_text())["arms"]["gaussian"]
    assert arm["scale"] == {"field": told["field"], "value": 0.35, "grid": told["values"], "tuned": True}
    assert arm["explore"]["fields"]["std"] == 0.35
    config = json.loads((path / "arms" / "gaussian" / "config.json").read_text())["config"]
    assert config["explore"]["fields"]["std"] == 0.35
    assert not (path / "tuning" / "none").exists() and not (path / "tuning" / "gaussian" / "checkpoints").exists()
    assert "explore.std = 0.35 by final return (0.1: -0.0" in capsys.readouterr().err


def test_a_tuning_that_was_cut_off_goes_on_and_a_choice_stands(compare, tmp_path, monkeypatch):
    write, seen = sinks.Sinks.write, []

    def crash(self, told):
        write(self, told)
        seen.append(told)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sinks.Sinks, "write", crash)
        compare(arms=("gaussian",), checkpoint_every=40)
    path = tmp_path / "study"
    assert not (path / "arms").exists() and not (path / "tuning" / "gaussian" / record.CHOICE).exists()
    assert compare(arms=("gaussian",), resume=str(path))[0] == status.DONE
    assert '"resume"' in (path / "tuning" / "gaussian" / "events.jsonl").read_text()
    files = [path / "tuning" / "gaussian" / name for name in (record.CHOICE, "metrics.csv")]
    before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]
    told = choice(path)
    # Cut off between the choice and the arm: study.json does not know of it yet.
    content = json.loads((path / record.STUDY).read_text())
    content["arms"]["gaussian"]["scale"] |= {"value": 0.2, "tuned": False}
    (path / record.STUDY).write_text(json.dumps(content))
    shutil.rmtree(path / "arms" / "gaussian")
    assert compare(arms=("gaussian",), resume=str(path))[0] == status.DONE
    assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in files] == before
    scale = json.loads((path / record.STUDY).read_text())["arms"]["gaussian"]["scale"]
    assert scale["tuned"] and scale["value"] == told["chosen"]
    with pytest.raises(UserError, match=r"gaussian was tuned over 0\.1,0\.35,0\.9"):
        compare(arms=("gaussian",), resume=str(path), grid=("gaussian=0.1,0.2",))


def test_an_added_arm_is_tuned_and_the_others_are_not_again(compare):
    _, path = compare(arms=("gaussian",))
    before = (path / "tuning" / "gaussian" / record.CHOICE).stat().st_mtime_ns
    assert compare(arms=("slow:ou",), resume=str(path), grid=("slow=0.2,0.4",))[0] == status.DONE
    assert choice(path, "slow")["values"] == [0.2, 0.4] and choice(path)["values"] == [0.1, 0.35, 0.9]
    assert (path / "tuning" / "gaussian" / record.CHOICE).stat().st_mtime_ns == before


def test_a_tuning_that_is_not_finite_fails_its_arm_alone(compare, capsys):
    compare.kind.spoilt = 12
    code, path = compare()
    assert code == status.NOT_FINITE and (path / "arms" / "none" / record.FINISHED).exists()
    assert not (path / "arms" / "gaussian").exists()
    assert "arm 1/2 gaussian, tuning: failed, not finite at step 52, seed 1001" in capsys.readouterr().err


def test_the_script_tunes_runs_and_reports(tmp_path):
    """In one process: worker processes, and that they make the same rows, are for the tests of launchers."""
    flags = ["--preset", "smoke", "--arms", "gaussian", "--tune", "--study.grid", "gaussian=0.1,0.4", "--steps", "480"]
    flags += ["--launcher", "inline"]
    script = [sys.executable, str(ROOT / "experiments" / "compare.py"), *flags, "--study.tune-seeds", "1"]
    done = subprocess.run([*script, "--out", str(tmp_path), "--name", "s"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "s"
    assert done.stdout.splitlines() == [str(path)] and "warning" not in done.stderr.lower()
    for name in ("study.json", "table.csv", "report.html"):
        assert (path / name).stat().st_size > 0, name
    told = choice(path)
    assert told["seeds"] == [[1000], [1001]] and all(row[0] > 0 for row in told["coverage"] + told["first_reward"])
    with pytest.raises(UserError, match=r"study\.seeds = 3 \(was 2\)"):
        job.main(["--resume", str(path), "--seeds", "3"])
