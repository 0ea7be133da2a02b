"""Whether a name is free, what a folder is, and starts that come to nothing: none is left, the right way is told."""

import json
from dataclasses import replace

import pytest

from jaxpsn.control.presets import PRESETS as CONTROLS
from jaxpsn.core.errors import UserError
from jaxpsn.run import command, folder, started, vacancy
from jaxpsn.run.config import RunConfig
from jaxpsn.run.jobs import control, rlvr
from jaxpsn.study.kinds import control as study_job

PARSERS = {
    "run of control": (control.ControlJob, control.PRESETS, control.restore, folder.read),
    "run of reasoning": (rlvr.RlvrJob, rlvr.PRESETS, rlvr.restore, folder.read),
    "study of control": (study_job.StudyJob, study_job.PRESETS, study_job.restore, study_job.STUDY.read),
}


def claimed(tmp_path, name="a", config=None, **run):
    asked = RunConfig(out=str(tmp_path), name=name, **run)
    with folder.claim(asked, config or CONTROLS["smoke"]) as made:
        return made.path


def checkpoint(path, step=8):
    (path / "checkpoints" / str(step)).mkdir(parents=True)
    (path / "checkpoints" / str(step) / "arrays").write_text("")
    return path


@pytest.mark.parametrize("error", [UserError("refused"), KeyboardInterrupt(), ValueError("ours")])
def test_a_start_that_fails_leaves_no_folder_and_the_name_is_free(error, tmp_path):
    run = RunConfig(out=str(tmp_path), name="a")
    with pytest.raises(type(error)), folder.claim(run, {}) as made:
        (made.path / "events.jsonl").write_text("{}\n")
        made.metrics.write_text("step,seed,eval_return\n0,0,1.5\n")
        raise error
    assert not list(tmp_path.iterdir())
    assert claimed(tmp_path).is_dir()


@pytest.mark.parametrize("work", ["checkpoint", "row"])
def test_what_was_trained_stays_whatever_ends_the_run(work, tmp_path):
    with pytest.raises(UserError), folder.claim(RunConfig(out=str(tmp_path), name="a"), {}) as made:
        if work == "checkpoint":
            checkpoint(made.path)
        else:
            made.metrics.write_text("step,seed,return\n0,0,\n160,0,1.0\n")
        raise UserError("later")
    assert made.config.is_file()


def test_a_resumed_folder_stays_even_without_a_checkpoint(tmp_path):
    path = claimed(tmp_path)
    run = RunConfig(out=str(tmp_path), resume=str(path))
    with pytest.raises(UserError), folder.claim(run, CONTROLS["smoke"]):
        raise UserError("later")
    assert (path / "config.json").is_file()


def test_checking_says_what_claiming_would_and_makes_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("")
    corpse, whole = claimed(tmp_path, "corpse"), checkpoint(claimed(tmp_path, "whole"))
    cases = [
        ({"name": "corpse"}, "without a checkpoint to go on from; --overwrite begins anew"),
        ({"name": "whole"}, f"--resume {whole} goes on with it"),
        ({"name": "papers"}, "is no run folder; choose another name"),
        ({"name": "papers", "overwrite": True}, "it is left alone"),
        ({"name": "file"}, "there is a file of that name"),
        ({"out": str(tmp_path / "file")}, "is a file"),
        ({"name": None, "resume": str(tmp_path / "wholl")}, "nearest"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for fields, said in cases:
        run = RunConfig(**({"out": str(tmp_path), "name": "b"} | fields))
        with pytest.raises(UserError) as caught:
            folder.check(run, CONTROLS["smoke"])
        assert said in str(caught.value) and "--resume" not in str(caught.value).replace(f"--resume {whole}", "")
    for fields in ({}, {"name": "corpse", "overwrite": True}, {"out": str(tmp_path / "x" / "y")}):
        folder.check(RunConfig(**({"out": str(tmp_path), "name": "b"} | fields)), CONTROLS["smoke"])
    assert sorted(tmp_path.rglob("*")) == before and corpse.is_dir()


@pytest.fixture
def homes(tmp_path):
    """One folder of each kind."""
    study = tmp_path / "study"
    (study / "arms" / "one").mkdir(parents=True)
    (study / "study.json").write_text(json.dumps({"format": 1, "arms": {}}))
    return {
        "run of control": checkpoint(claimed(tmp_path, "control")),
        "run of reasoning": checkpoint(claimed(tmp_path, "reasoning", rlvr.PRESETS["smoke"].rlvr)),
        "study of control": study,
    }


def resumed(kind, text):
    job, presets, restore, read = PARSERS[kind]
    with pytest.raises(UserError) as caught:
        command.parse(job, presets, ["--resume", str(text)], restore, "test", read, resumes=kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("made", PARSERS)
@pytest.mark.parametrize("asked", PARSERS)
def test_a_folder_of_another_script_is_told_with_the_right_command(asked, made, homes):
    path = homes[made]
    if asked == made:
        vacancy.refuse_other(str(path), asked)
        return
    right = f"{started.command(vacancy.SCRIPTS[made])} --resume {path}"
    assert resumed(asked, path) == f"resume = {str(path)!r}: a {made}; go on with: {right}"


def test_what_lies_within_a_folder_is_told_by_it(homes):
    run, study = homes["run of control"], homes["study of control"]
    for part in ("config.json", "checkpoints", "checkpoints/8", "checkpoints/8/arrays"):
        assert resumed("run of control", run / part).endswith(f"within a run of control; go on with: --resume {run}")
    right = f"python experiments/compare.py --resume {study}"
    assert resumed("run of control", study / "arms" / "one").endswith(f"within a study of control; go on with: {right}")
    assert "a run folder" in resumed("run of control", run.parent)


@pytest.mark.parametrize(
    ("changes", "steps", "said"),
    [
        ({"agent": {"warmup": 1600}}, 1600, "warmup = 1600: fewer than steps = 1600, or nothing is ever learnt"),
        ({"agent": {"update_every": 300}}, 1600, "agent.update_every = 300: small enough"),
        ({"agent": {"policy_delay": 1000}}, 1600, "agent.policy_delay = 1000: at most the 192 updates"),
        ({"agent": {"updates": 4096}}, 1 << 50, "updates, which are counted in 32 bits"),
    ],
)
def test_settings_that_train_nothing_are_refused(changes, steps, said):
    config = replace(CONTROLS["smoke"], agent=replace(CONTROLS["smoke"].agent, **changes["agent"]))
    with pytest.raises(UserError) as caught:
        config.refuse_idle(steps)
    assert said in str(caught.value)


def test_settings_that_train_are_taken():
    for name, preset in control.PRESETS.items():
        preset.control.refuse_idle(preset.run.steps), name
    smoke = CONTROLS["smoke"]
    assert replace(smoke.agent, warmup=0).updates_in(1600, smoke.steps_per_call) == 200
    for steps in (8, 64, 72, 80, 800):
        made = smoke.agent.updates_in(steps, smoke.steps_per_call)
        assert made == sum(clock > 8 for clock in range(1, steps // 8 + 1))
