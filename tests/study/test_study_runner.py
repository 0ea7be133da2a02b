"""Whole comparisons in this process, mostly of the fake program: their order, their cuts, their failures."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import time

import pytest

from jaxpsn.core.components import spec_of
from jaxpsn.core.errors import UserError
from jaxpsn.report import build as reports
from jaxpsn.run import folder, lock, status, sweep
from jaxpsn.run.loggers import sinks
from jaxpsn.study import record, stages
from jaxpsn.study.control import arms, making
from jaxpsn.study.control.config import StudyConfig
from jaxpsn.study.kinds import control as job
from jaxpsn.study.kinds.control import ControlStudy

UNTIMED = ("seconds", "steps_per_second")
SMALL = {
    "seeds": 2,
    "steps": 160,
    "chunk": 40,
    "eval_every": 80,
    "checkpoint_every": 40,
    "progress": "none",
    "launcher": "inline",
}
ARMS = ("gaussian", "none")
SMOKE = job.PRESETS["smoke"].control


def table(path):
    with (path / "metrics.csv").open() as file:
        return [{name: cell for name, cell in row.items() if name not in UNTIMED} for row in csv.DictReader(file)]


def contents(path):
    """Bytes and times of every file below, locks apart."""
    files = [file for file in path.rglob("*") if file.is_file() and file.name != lock.LOCK]
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def study_json(path):
    return json.loads((path / record.STUDY).read_text())


def labels(path):
    return [label for label in study_json(path)["arms"] if (path / "arms" / label / record.FINISHED).exists()]


@pytest.fixture
def real(tmp_path, monkeypatch):
    """``real(**study) -> (exit status, folder)`` of tiny networks on a probe, without the report."""
    built = []
    monkeypatch.setattr(reports, "build", lambda path: built.append(labels(path)) or path / "report.html")

    def run(name="study", control=SMOKE, resume=False, **fields):
        place = {"resume": str(tmp_path / name)} if resume else {"out": str(tmp_path), "name": name}
        if resume:
            old = job.restore(ControlStudy.read(tmp_path / name))
            kept = {"arms": tuple(old.study.arms), "hypotheses": old.study.hypotheses, "grid": ()}
            config = StudyConfig(**(folder.plain(old.study) | kept | fields | place))
        else:
            config = StudyConfig(**({"arms": ARMS} | SMALL | fields | place))
        return job.run(job.StudyJob(control, config)), tmp_path / name

    run.built = built
    return run


@pytest.fixture
def compare(real, fake, monkeypatch):
    """The same with the fake program; ``compare.nan`` names rules whose arm fails."""
    real.nan, real.made = {}, []

    def program(control, steps, env):
        rule = spec_of(control.explore)
        real.made.append(rule)
        return fake.Fake(nan_at=real.nan.get(rule, -1), nan_seed=1)

    monkeypatch.setattr(making, "program", program)
    monkeypatch.setattr(making, "environment", lambda control: None)
    monkeypatch.setattr(stages, "release", lambda: None)  # what is kept saves these tests half of their time
    return real


def at_write(monkeypatch, number, action):
    """Do ``action`` right after the rows of a run were written for the ``number``-th time."""
    write, count = sinks.Sinks.write, iter(range(1, 10_000))

    def counted(self, rows):
        write(self, rows)
        if next(count) == number:
            action()

    monkeypatch.setattr(sinks.Sinks, "write", counted)


def crash():
    raise KeyboardInterrupt


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.2)  # a thread takes it


def test_hypotheses_are_fixed_before_the_first_run(compare, tmp_path):
    asked = ("above(gaussian, none, final, margin=0.1)",)
    wrongs = {"nothing, final": "nearest: none", "none, pass@1": "allowed: area, final"}
    for wrong, told in wrongs.items():
        with pytest.raises(UserError, match=told):
            compare(hypotheses=(f"above(gaussian, {wrong})",))
    assert not (tmp_path / "study").exists() and not compare.made
    code, path = compare(hypotheses=asked)
    began = study_json(path)["sessions"][0]["started"]
    assert code == status.DONE and study_json(path)["study"]["hypotheses"] == list(asked)
    for others in (("above(gaussian, none, final, margin=0.0)",), ()):
        with pytest.raises(UserError, match=r"made with other settings: study\.hypotheses") as refused:
            compare(resume=True, hypotheses=others)
        assert "\n" not in str(refused.value)
    assert compare(resume=True, arms=("ou",))[0] == status.DONE
    assert study_json(path)["study"]["hypotheses"] == list(asked)
    assert study_json(path)["sessions"][0]["started"] == began


def test_a_study_leaves_what_its_format_says(compare, capsys):
    code, path = compare()
    assert code == status.DONE and capsys.readouterr().out.splitlines() == [str(path)]
    told = study_json(path)
    assert (told["format"], told["name"], told["threshold"]) == (1, "study", None)
    assert list(told["arms"]) == list(ARMS) and told["control"]["diagnose"] is True
    gaussian, none = told["arms"].values()
    assert gaussian["spec"] == "gaussian" and gaussian["explore"] == {"name": "gaussian", "fields": {"std": 0.2}}
    assert gaussian["agent"] == told["control"]["agent"] and none["scale"] is None
    scale = {"field": "explore.std", "value": 0.2, "tuned": False}
    assert gaussian["scale"] == scale | {"grid": [0.1, 0.3, 0.6, 1.0]}
    assert len(told["sessions"]) == 1 and told["versions"]["jax"] and told["study"]["seeds"] == 2
    for label in ARMS:
        arm = path / "arms" / label
        done = json.loads((arm / record.FINISHED).read_text())
        assert done["step"] == 160 and done["seconds"] > 0 and done["versions"] == told["versions"]
        rows = table(arm)
        assert [(row["step"], row["seed"]) for row in rows[:4]] == [("0", "0"), ("0", "1"), ("40", "0"), ("40", "1")]
        assert json.loads((arm / "config.json").read_text())["config"]["explore"]["name"] == label
        assert not (arm / "checkpoints").exists()
    assert compare.built == [["gaussian"], [*ARMS]]
    assert not (path / "tuning").exists()


def test_checkpoints_are_kept_if_asked(compare):
    _, path = compare(keep_checkpoints=True, arms=("none",))
    assert sorted(one.name for one in (path / "arms" / "none" / "checkpoints").iterdir()) == ["120", "160"]
    assert compare(resume=True, keep_checkpoints=False) == (status.DONE, path)
    assert not (path / "arms" / "none" / "checkpoints").exists()


def test_lines_of_the_display_name_the_arm(compare, capsys):
    compare(progress="plain", arms=("gaussian", "slow:ou"))
    said = capsys.readouterr().err
    assert "jaxpsn: arm 1/2 gaussian: " in said and "jaxpsn: arm 2/2 slow: 160/160 steps" in said
    assert "python experiments/compare.py --resume" in said


def test_a_study_that_is_cut_before_its_first_step_leaves_nothing(compare, monkeypatch, tmp_path):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        at_write(patch, 1, crash)  # the judgement of step 0
        compare("cut")
    assert not (tmp_path / "cut").exists() and compare("cut")[0] == status.DONE


@pytest.mark.parametrize("number", [2, 7])
def test_a_cut_study_goes_on_as_if_uncut_and_leaves_finished_arms_alone(compare, monkeypatch, number):
    _, whole = compare("whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        at_write(patch, number, crash)  # five writes an arm
        compare("cut")
    path = whole.parent / "cut"
    finished = labels(path)
    assert finished == (["gaussian"] if number > 5 else [])
    before = {label: contents(path / "arms" / label) for label in finished}
    assert compare("cut", resume=True) == (status.DONE, path)
    for label in ARMS:
        assert table(path / "arms" / label) == table(whole / "arms" / label)
    assert {label: contents(path / "arms" / label) for label in finished} == before
    assert len(study_json(path)["sessions"]) == 2


def test_a_cut_arm_of_real_learners_is_the_uncut_one_bit_for_bit(real):
    fields = {"steps": 480, "chunk": 80, "eval_every": 160, "checkpoint_every": 80, "keep_checkpoints": True}
    _, whole = real("whole", arms=("ou",), **fields)
    rows, cut = table(whole / "arms" / "ou"), whole.parent / "cut"
    shutil.copytree(whole, cut)
    # As SIGKILL leaves it after the rows of the last step, before their checkpoint.
    shutil.rmtree(cut / "arms" / "ou" / "checkpoints" / "480")
    (cut / "arms" / "ou" / record.FINISHED).unlink()
    assert real("cut", resume=True)[0] == status.DONE
    assert '"resume", "detail": "step 400"' in (cut / "arms" / "ou" / "events.jsonl").read_text()
    assert table(cut / "arms" / "ou") == rows and rows[-1]["coverage"] and rows[-1]["first_reward"]


@pytest.mark.parametrize("name", arms.names())
def test_every_arm_makes_a_program_whose_scale_can_be_swept(name):
    learner = {"followers": "ppo", "natural": "ppo", "bootstrap": "dqn", "epsilon_greedy": "dqn"}.get(name)
    control = SMOKE
    if learner == "dqn":
        task = dataclasses.replace(SMOKE.env, name="probe/choice")
        control = dataclasses.replace(SMOKE, env=task, agent="dqn", explore="none")
    arm = arms.parse(f"{name}, agent=ppo" if learner == "ppo" else name, control)
    program = making.program(arm.control, 1600, making.environment(control))
    if arm.scale is not None:
        swept = sweep.over(program, arm.scale.field, arm.scale.grid, 2)
        assert program.hyper[arm.scale.field] == pytest.approx(arm.scale.value)
        assert swept.hyper[arm.scale.field].shape == (8,)


def test_an_arm_cut_off_before_its_record_begins_anew(compare):
    _, path = compare(arms=("ou", "none"))
    arm = path / "arms" / "none"
    rows = table(arm)
    shutil.rmtree(arm)
    arm.mkdir()
    (arm / ".config.json.123").write_text("{")
    assert compare(resume=True)[0] == status.DONE
    assert table(arm) == rows and not (arm / ".config.json.123").exists()


def test_a_signal_stops_within_the_arm_and_says_how_to_go_on(compare, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        at_write(patch, 7, terminate)
        code, path = compare()
    assert code == status.TERMINATED and labels(path) == ["gaussian"]
    assert f"the study goes on with: python experiments/compare.py --resume {path}" in capsys.readouterr().err
    assert compare(resume=True)[0] == status.DONE and labels(path) == [*ARMS]


def test_a_signal_in_the_last_chunk_of_an_arm_stops_before_the_next(compare, monkeypatch):
    with monkeypatch.context() as patch:
        at_write(patch, 5, terminate)
        code, path = compare()
    assert code == status.TERMINATED and labels(path) == ["gaussian"] and not (path / "arms" / "none").exists()
    with monkeypatch.context() as patch:
        at_write(patch, 5, terminate)
        assert compare(resume=True)[0] == status.DONE, "nothing was left to stop"


def test_arms_are_added_and_the_others_stay(compare):
    _, path = compare(arms=("gaussian",))
    before = contents(path / "arms")
    assert compare(resume=True, arms=("slow:ou(dt=0.1)",))[0] == status.DONE
    assert labels(path) == ["gaussian", "slow"] and study_json(path)["study"]["arms"] == [
        "gaussian",
        "slow:ou(dt=0.1)",
    ]
    assert {name: kept for name, kept in contents(path / "arms").items() if name in before} == before
    with pytest.raises(UserError, match=r"a label of its own, label:slow:ou; 'slow:ou\(dt=0\.1\)' has it"):
        compare(resume=True, arms=("slow:ou",))


def test_an_arm_that_is_not_finite_is_recorded_and_the_others_go_on(compare, capsys):
    compare.nan = {"ou": 25}
    code, path = compare(arms=("ou", "none"))
    assert code == status.NOT_FINITE and labels(path) == ["none"]
    reason = json.loads((path / "arms" / "ou" / record.FAILED).read_text())["reason"]
    assert "step 104, seed 1: params" in reason and f"arm 1/2 ou: failed, {reason}" in capsys.readouterr().err
    before = contents(path / "arms")
    compare.nan = {}
    assert compare(resume=True)[0] == status.NOT_FINITE and contents(path / "arms") == before
    assert f"delete {path / 'arms' / 'ou'} to try again" in capsys.readouterr().err
    shutil.rmtree(path / "arms" / "ou")
    assert compare(resume=True)[0] == status.DONE


def test_other_settings_are_refused_by_name(compare):
    _, path = compare(arms=("none",))
    before = contents(path)
    with pytest.raises(UserError, match=r"study\.seeds = 3 \(was 2\), study\.steps = 320 \(was 160\)"):
        compare(resume=True, seeds=3, steps=320)
    with pytest.raises(UserError, match=r"study\.tune = True \(was False\)"):
        compare(resume=True, tune=True)
    other = dataclasses.replace(SMOKE, agent=dataclasses.replace(SMOKE.agent, warmup=8))
    with pytest.raises(UserError, match=r"warmup = 8 \(was 64\)"):
        compare(resume=True, control=other)
    assert contents(path) == before


def test_a_study_folder_is_not_taken_over(compare):
    _, path = compare(arms=("none",))
    with pytest.raises(UserError, match=r"--resume .*study goes on with it"):
        compare(arms=("none",))
    with lock.locked(path), pytest.raises(UserError, match="in use by this process"):
        compare(resume=True)
    assert compare(arms=("ou",), overwrite=True)[0] == status.DONE and labels(path) == ["ou"]
    (path.parent / "run").mkdir()
    (path.parent / "run" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="was not made here; it is left alone"):
        compare("run", overwrite=True)
    with pytest.raises(UserError, match=r"resume = .*run': a study folder; unknown; allowed: study"):
        ControlStudy.read(path.parent / "run")


def test_arms_of_other_versions_are_named_and_kept(compare, capsys):
    _, path = compare(arms=("none", "ou"))
    file = path / "arms" / "none" / record.FINISHED
    done = json.loads(file.read_text())
    done["versions"]["jax"] = "0.1"
    file.write_text(json.dumps(done))
    before = contents(path / "arms")
    compare(resume=True)
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(said) == 1 and "arm 1/2 none: made with other versions, and kept: jax = " in said[0]
    assert contents(path / "arms") == before


def test_a_report_that_fails_costs_no_arm(compare, monkeypatch, capsys):
    def fails(path):
        raise ValueError("no plot")

    monkeypatch.setattr(reports, "build", fails)
    with pytest.raises(ValueError, match="no plot"):
        compare(arms=("none", "ou"))
    assert "arm 1/2 none: no report yet (ValueError: no plot)" in capsys.readouterr().err


def test_one_seed_runs_and_says_that_there_will_be_no_interval(compare, capsys):
    code, path = compare(seeds=1, arms=("none",))
    assert code == status.DONE and {row["seed"] for row in table(path / "arms" / "none")} == {"0"}
    assert "one seed: there will be no intervals" in capsys.readouterr().err


def test_a_task_or_rule_that_cannot_be_is_refused_before_anything_is_written(real, tmp_path):
    unknown = dataclasses.replace(SMOKE, env=dataclasses.replace(SMOKE.env, name="probe/acton"))
    with pytest.raises(UserError, match=r"env\.name = 'probe/acton': unknown; nearest: probe/action"):
        real(control=unknown)
    with pytest.raises(UserError, match=r"ou\.dt = 50"):
        real(arms=("none", "wild:ou(dt=50)"))
    assert not list(tmp_path.iterdir())
