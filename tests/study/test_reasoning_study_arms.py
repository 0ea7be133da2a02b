"""The words of a reasoning study: arms, tasks, grids, settings, and what of them is refused; no JAX."""

import json

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.study import record
from jaxpsn.study.kinds import reasoning as job
from jaxpsn.study.kinds.reasoning import ReasoningStudy
from jaxpsn.study.reasoning import arms
from jaxpsn.study.reasoning.config import ReasoningStudyConfig
from jaxpsn.study.units import Unit


def study(tmp_path, *argv):
    """The planned study of a command line, in no folder."""
    asked = job.command.parse(
        job.ReasoningStudyJob, job.PRESETS, argv, job.restore, "", ReasoningStudy.read, "study of reasoning"
    )
    chosen, tasks = ReasoningStudy.plan(asked.rlvr, asked.study)
    return ReasoningStudy(tmp_path, asked.rlvr, asked.study, chosen, tasks)


def test_every_named_arm_is_an_experiment_and_only_its_own_fields_differ():
    shared = RlvrConfig()
    for name, changes in arms.VARIANTS.items():
        config = arms.parse(name).config(shared)
        restored = arms.changed(config, {f: _at(shared, f) for f in changes})
        assert restored == shared, name
        assert all(_at(config, field) == value for field, value in changes.items())


def _at(config, name):
    section, _, field = name.partition(".")
    return getattr(getattr(config, section), field)


def test_arms_do_what_their_names_say():
    made = {name: arms.parse(name).config(RlvrConfig()) for name in arms.VARIANTS}
    noisy = {name for name, config in made.items() if config.noise.structure != "none"}
    assert noisy == {name for name in made if name.startswith("psn")} | {"qerl"}
    uncorrected = {name for name, config in made.items() if config.algorithm.correction == "none"}
    assert uncorrected == {"grpo", "temperature", "entropy", "psn-no-tis", "qerl", "pass-at-k"}
    assert made["psn"].members == made["psn"].rollout.samples and made["psn-step"].members == 1
    assert {n for n, c in made.items() if c.sigma.rule in ("kl", "composite")} == {"psn-kl", "psn-composite"}
    assert made["temperature"].rollout.temperature > 1.0 < 1.0 + made["entropy"].algorithm.entropy_coefficient
    assert {n for n, c in made.items() if c.algorithm.advantage == "pass_at_k"} == {"pass-at-k", "psn-pass-at-k"}


def test_an_arm_takes_settings_and_a_label():
    arm = arms.parse("wide:psn,noise.rank=4,noise.antithetic=true,algorithm.dual_clip=5")
    assert arm.label == "wide" and arm.scale.grid and arm.scale.like is None
    config = arm.config(RlvrConfig(), 0.3)
    assert (config.noise.rank, config.noise.antithetic, config.algorithm.dual_clip) == (4, True, 5.0)
    assert config.sigma.initial == 0.3 and config.sigma.rule == "fixed"
    assert arms.parse("psn,sigma.initial=0.1").scale is None, "set by hand, nothing is tuned"
    assert arms.Arm.restore("wide", arm.record()) == arm


def test_tasks_take_options():
    task = arms.parse_task("five:countdown,numbers=5,pretrain.steps=9")
    config = task.config(RlvrConfig())
    assert (config.task, config.task_options, config.pretrain.steps) == ("countdown", {"numbers": "5"}, 9)
    assert arms.TaskChoice("five", **task.record()) == task


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--arms", "psm"], "study.arms = 'psm': 'psm' is unknown; nearest: psn"),
        (["--arms", "psn,noise.rnk=1"], "'noise.rnk' is unknown; nearest: noise.rank"),
        (["--arms", "psn,noise.rank=x"], "noise.rank is a whole number"),
        (["--arms", "psn,noise.rank=0"], "arm psn-noise.rank-0: noise.rank = 0"),
        (["--arms", "psn,evaluation.samples=1"], "'evaluation.samples' is unknown"),
        (["--arms", "base:psn"], "another label"),
        (["--arms", "a:psn", "a:grpo"], "a label of its own"),
        (["--arms", "a:pass-at-k,algorithm.k=99"], "below the group"),
        (["--tasks", "countdwn"], "study.tasks = 'countdwn': 'countdwn' is unknown; nearest: countdown"),
        (["--tasks", "countdown,numbers=9"], "task.numbers = 9: a whole number from 3 to 6"),
        (["--tasks", "countdown,nummer=4"], "task.nummer"),
        (["--tasks", "grid,pretrain.step=1"], "'pretrain.step' is unknown; nearest: steps"),
        (["--tasks", "grid,pretrain.steps=-1"], "pretrain.steps = -1"),
        (["--task", "grid"], "task = 'grid': left to the tasks (--study.tasks)"),
        (["--study.grid", "grpo=0.1,0.2"], "grpo has no scale of its own to tune"),
        (["--study.grid", "psn=0.1"], "two values or more"),
        (["--study.grid", "other=0.1,0.2"], "the label of an arm"),
        (["--study.tune-seed", "3"], "seeds 3 to 3 must not meet the reported 0 to 4"),
        (["--study.saturation", "0"], "study.saturation"),
        (["--preset", "qick"], "preset = 'qick'"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path, argv, message):
    with pytest.raises(UserError) as caught:
        study(tmp_path, *argv)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_presets_are_whole(tmp_path):
    for name in job.PRESETS:
        made = study(tmp_path, "--preset", name)
        assert {"grpo", "psn"} <= {arm.label for arm in made.arms}
    default = study(tmp_path)
    assert len(default.tasks) == 3 and default.config.seeds == 5 and default.shared.evaluation.samples == 256
    assert {arm.label for arm in default.arms} == set(arms.VARIANTS)


def test_units_wait_for_the_tuning_that_they_use(tmp_path):
    made = study(tmp_path, "--arms", "grpo", "psn-half", "psn-kl", "--tasks", "grid")
    base, psn, kl = Unit("base", "grid"), Unit("tune", "grid", "psn"), Unit("tune", "grid", "psn-kl")
    assert made.units() == {
        base: (),
        psn: (base,),
        Unit("arm", "grid", "grpo"): (base,),
        Unit("arm", "grid", "psn-half"): (base, psn),
        kl: (base,),
        Unit("arm", "grid", "psn-kl"): (base, kl),
    }
    assert all(Unit.of(str(unit)) == unit for unit in made.units())
    two = study(tmp_path, "--arms", "grpo", "--tasks", "grid", "countdown")
    assert two.units()[Unit("arm", "grid", "grpo")] == (base, Unit("base", "countdown")), "a task may be refused"
    untuned = study(tmp_path, "--arms", "psn-half", "--study.no-tune", "--tasks", "grid")
    assert untuned.units() == {base: (), Unit("arm", "grid", "psn-half"): (base,)}
    assert untuned.choice("grid", untuned.arm("psn-half")) == 0.5 * untuned.shared.sigma.initial


def test_an_arm_takes_the_choice_of_the_study_s_own_psn(tmp_path):
    made = study(tmp_path, "--arms", "psn", "psn-double", "--study.grid", "psn=0.3,0.6")
    assert arms.chooser(made.arm("psn-double"), made.arms).scale.grid == (0.3, 0.6)
    path = made.tuning("grid", "psn")
    path.mkdir(parents=True)
    told = {"field": "sigma.initial", "values": [0.3, 0.6], "chosen": 0.6, "seeds": [1000], "scores": [[0.1], [0.2]]}
    (path / record.CHOICE).write_text(json.dumps(told))
    assert made.choice("grid", made.arm("psn-double")) == 1.2
    assert made.is_done(Unit("tune", "grid", "psn"))
    (path / record.CHOICE).write_text(json.dumps(told | {"values": [0.1, 0.2], "chosen": 0.2}))
    assert not made.is_done(Unit("tune", "grid", "psn")), "another grid was tried"


def test_a_study_goes_on_with_what_it_was_asked_for(tmp_path):
    asked = job.PRESETS["smoke"]
    place = {"out": str(tmp_path), "name": "s"}
    config = ReasoningStudyConfig(**(vars(asked.study) | place))
    chosen, tasks = ReasoningStudy.plan(asked.rlvr, config)
    with ReasoningStudy.claim(asked.rlvr, config, chosen, tasks) as made:
        with pytest.raises(UserError, match="exists"), ReasoningStudy.claim(asked.rlvr, config, chosen, tasks):
            pass
    again = ReasoningStudy.load(made.path)
    assert (again.arms, again.tasks, again.shared) == (made.arms, made.tasks, made.shared)
    more = study(tmp_path, "--resume", str(made.path), "--arms", "grpo", "entropy", "--tasks", "grid")
    assert [arm.label for arm in more.arms] == ["grpo", "psn", "entropy"]
    assert more.arm("psn").scale.grid == (0.1, 0.2)
    assert [task.label for task in more.tasks] == ["chain_sum", "grid"]
    with pytest.raises(UserError, match=r"resume = .* made with other settings: rollout.samples = 4 \(was 8\)"):
        study(tmp_path, "--resume", str(made.path), "--rollout.samples", "4")
    (made.path / record.STUDY).write_text('{"format": 1, "arms": {}}')
    with pytest.raises(UserError, match="a study of reasoning; this one is of control"):
        ReasoningStudy.read(made.path)
