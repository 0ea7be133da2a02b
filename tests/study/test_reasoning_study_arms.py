"""The words of a reasoning study: arms, tasks, grids, settings, and what of them is refused; no JAX."""

import dataclasses
import json

import pytest

from jaxpsn.core.components import Component, spec_of
from jaxpsn.core.errors import UserError
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.exploration.rules import Fixed, Kl
from jaxpsn.study import record
from jaxpsn.study.kinds import reasoning as job
from jaxpsn.study.kinds.reasoning import ReasoningStudy
from jaxpsn.study.reasoning import arms
from jaxpsn.study.reasoning.config import ARMS, ReasoningStudyConfig
from jaxpsn.study.units import Unit
from jaxpsn.tasks.countdown import Countdown


def study(tmp_path, *argv):
    """The planned study of a command line, in no folder."""
    asked = job.command.parse(
        job.ReasoningStudyJob, job.PRESETS, argv, job.restore, "", ReasoningStudy.read, "study of reasoning", job.SHORT
    )
    chosen, tasks = ReasoningStudy.plan(asked.rlvr, asked.study)
    return ReasoningStudy(tmp_path, asked.rlvr, asked.study, chosen, tasks)


def test_every_named_arm_is_an_experiment_and_only_its_own_fields_differ():
    shared = RlvrConfig()
    for name, changes in arms.VARIANTS.items():
        config = arms.parse(name).config(shared)
        own = {arms.whole(path).split(".")[0] for path in changes}
        differ = {
            one.name for one in dataclasses.fields(shared) if getattr(config, one.name) != getattr(shared, one.name)
        }
        assert differ <= own and (differ or name == "psn"), name
        for path, value in changes.items():
            head, _, field = path.partition(".")
            found = getattr(config, head) if not field else _at(getattr(config, head), field)
            wanted = type(found).family.make(value) if isinstance(found, Component) else _plain(value)
            assert found == wanted, (name, path)


def _at(value, path):
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _plain(value):
    return {"false": False}.get(value, value)


def test_arms_do_what_their_names_say():
    made = {name: arms.parse(name).config(RlvrConfig()) for name in arms.VARIANTS}
    noisy = {name for name, config in made.items() if isinstance(config.noise, Psn)}
    assert noisy == {name for name in made if name.startswith("psn")} | {"qerl", "evolution"}
    uncorrected = {name for name, config in made.items() if spec_of(config.algorithm.correction) == "none"}
    at_draws = {name for name, config in made.items() if config.algorithm.estimator != "clean"}
    assert at_draws == {"psn-smoothed", "psn-pooled", "evolution", "ivon"}
    assert uncorrected == set(made) - noisy - {"grpo-tis"} | at_draws | {"psn-no-tis", "qerl"}
    assert made["psn"].members == made["psn"].rollout.samples and made["psn-step"].members == 1
    assert {n for n, c in made.items() if c.sigma.bounds is not None} == {"psn-kl", "psn-composite"}
    assert made["temperature"].rollout.temperature > 1.0 < 1.0 + made["entropy"].algorithm.entropy_coefficient
    assert {n for n, c in made.items() if spec_of(c.algorithm.advantage) == "pass_at_k"} == {
        "pass-at-k",
        "psn-pass-at-k",
    }


def test_an_arm_takes_settings_and_a_label():
    arm = arms.parse("wide:psn(structure=lowrank(rank=4)), noise.antithetic=true, algorithm.loss.dual_clip=5")
    assert arm.label == "wide" and arm.scale.grid and arm.scale.like is None
    config = arm.config(RlvrConfig(), 0.3)
    assert (config.noise.structure.rank, config.noise.structure.antithetic) == (4, True)
    assert config.algorithm.loss.dual_clip == 5.0 and config.sigma == Fixed(0.3)
    for spec in ("psn,sigma.value=0.1", "psn(sigma=kl)", "psn, noise=psn(per=step)"):
        assert arms.parse(spec).scale is None, "set by hand, nothing is tuned"
    assert arms.Arm.restore("wide", json.loads(json.dumps(arm.record()))) == arm
    assert arms.parse("mine: psn(sigma=kl(target=0.02)), sigma.rate=1.5").config(RlvrConfig()).sigma == Kl(
        0.02, rate=1.5
    )


def test_tasks_take_options():
    task = arms.parse_task("five:countdown(numbers=5), pretrain.steps=9")
    config = task.config(RlvrConfig())
    assert (config.task, config.pretrain.steps) == (Countdown(5), 9)
    assert arms.TaskChoice("five", **json.loads(json.dumps(task.record()))) == task


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--arms", "psm"], "study.arms = 'psm': 'psm' is unknown; nearest: psn"),
        (["--arms", "psn,noise.structure.rnk=1"], "arm psn-noise.structure.rnk-1: noise.structure.rnk = '1': unknown"),
        (["--arms", "psn(structure=lowrank(rank=0))"], "lowrank.rank = 0: a whole number of at least 1"),
        (["--arms", "psn(structure=dense(rank=1))"], "dense.rank = '1': unknown; allowed: antithetic, store"),
        (["--arms", "grpo(per=step)"], "noise.per = 'step': nothing, as none has no fields"),
        (["--arms", "psn,sigma.target=1"], "noise.sigma.target = '1': unknown"),
        (["--arms", "psn,rollout.temperature=x"], "rollout.temperature is a number"),
        (["--arms", "psn,evaluation.samples=1"], "'evaluation.samples' is unknown"),
        (["--arms", "base:psn"], "another label"),
        (["--arms", "a:psn", "a:grpo"], "a label of its own"),
        (["--arms", "a:pass-at-k,algorithm.advantage.k=99"], "below the group"),
        (["--tasks", "countdwn"], "study.tasks = 'countdwn': unknown; nearest: countdown"),
        (["--tasks", "countdown(numbers=9)"], "countdown.numbers = 9: a whole number from 3 to 6"),
        (["--tasks", "countdown(nummer=4)"], "countdown.nummer"),
        (["--tasks", "grid,pretrain.step=1"], "'pretrain.step' is unknown; nearest: pretrain.steps"),
        (["--tasks", "grid,pretrain.steps=-1"], "pretrain.steps = -1"),
        (["--task", "grid"], "left to the tasks (--study.tasks)"),
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


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--sigma", "kl(target=0.01)"], "noise.sigma.target = 0.01: left to the arms, each of which sets its own"),
        (["--sigma.target", "0.01"], "noise.sigma.target = 0.01: left to the arms"),
        (["--noise.structure", "flipout"], None),
        (["--noise.per", "step"], None),
    ],
)
def test_noise_that_no_arm_keeps_is_refused(tmp_path, argv, said):
    flags = ("--preset", "smoke", "--arms", "grpo", "psn", "psn-kl", *argv)
    if said is None:
        assert study(tmp_path, *flags)
        return
    with pytest.raises(UserError) as caught:
        study(tmp_path, *flags)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_the_presets_are_whole(tmp_path):
    for name in job.PRESETS:
        made = study(tmp_path, "--preset", name)
        assert {"grpo", "psn"} <= {arm.label for arm in made.arms}
    default = study(tmp_path)
    assert len(default.tasks) == 3 and default.config.seeds == 5 and default.shared.evaluation.samples == 256
    assert [arm.label for arm in default.arms] == list(ARMS), "the published study's"


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
    assert untuned.choice("grid", untuned.arm("psn-half")) == 0.5 * 0.3


def test_an_arm_takes_the_choice_of_the_study_s_own_psn(tmp_path):
    made = study(tmp_path, "--arms", "psn", "psn-double", "--study.grid", "psn=0.3,0.6")
    assert arms.chooser(made.arm("psn-double"), made.arms).scale.grid == (0.3, 0.6)
    path = made.tuning("grid", "psn")
    path.mkdir(parents=True)
    told = {"field": "sigma.value", "values": [0.3, 0.6], "chosen": 0.6, "seeds": [1000], "scores": [[0.1], [0.2]]}
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
