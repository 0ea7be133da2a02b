"""Arms as they are written on a command line, and the settings of a comparison."""

import dataclasses

import pytest

from jaxpsn.core import at
from jaxpsn.core.errors import UserError
from jaxpsn.run import command, folder
from jaxpsn.study.control import arms
from jaxpsn.study.control.config import StudyConfig
from jaxpsn.study.kinds import control as job
from jaxpsn.study.kinds.control import ControlStudy

BASE = job.PRESETS["default"].control


def parse(*argv):
    return command.parse(job.StudyJob, job.PRESETS, argv, job.restore, "test", ControlStudy.read)


def plan(*argv):
    asked = parse(*argv)
    return ControlStudy.plan(asked.control, asked.study)[0]


@pytest.mark.parametrize(
    ("spec", "label", "explore"),
    [
        ("gaussian", "gaussian", "gaussian"),
        ("gaussian( std = 0.1)", "gaussian-std-0.1", "gaussian(std=0.1)"),
        ("slow:parameter(hold=steps(50))", "slow", "parameter(hold=steps(n=50))"),
        ("parameter-lowrank(rank=4)", "parameter-lowrank-rank-4", "parameter(structure=lowrank(rank=4))"),
        (
            "parameter-members(structure.antithetic=true)",
            None,
            "parameter(member_sigma=true, structure=flipout(antithetic=true))",
        ),
        ("both:parameter(target=0.1)+gaussian", "both", "parameter(scale=multiplicative(target=0.1)) + gaussian"),
        ("parameter+gaussian", "parameter-gaussian", "parameter + gaussian"),
        ("none", "none", "none"),
        ("parameter-ladder(ladder=8)", None, "parameter(member_sigma=true, ladder=8)"),
        ("parameter-novelty", None, "parameter(member_sigma=true, ladder=16, select=novelty)"),
    ],
)
def test_an_arm_is_what_its_words_say(spec, label, explore):
    arm = arms.parse(spec, BASE)
    assert label is None or arm.label == label
    assert arm.control == dataclasses.replace(BASE, explore=explore)


def test_an_arm_may_change_its_learner():
    arm = arms.parse("gaussian, agent.layer_norm=false, agent.actor_hidden=32x16, agent.activation=tanh", BASE)
    agent = dataclasses.replace(BASE.agent, layer_norm=False, actor_hidden=(32, 16), activation="tanh")
    assert arm.control.agent == agent and arm.control.explore == dataclasses.replace(BASE, explore="gaussian").explore


def test_an_arm_may_change_its_task_but_for_the_name():
    arm = arms.parse("wide: gaussian, env.num_envs=4, env.reset=cached, agent.updates=3", BASE)
    assert arm.control.env == dataclasses.replace(BASE.env, num_envs=4, reset="cached")
    assert arm.control.agent.updates == 3 and arms.Arm.restore("wide", arm.record(), BASE) == arm
    for spec, said in (
        ("gaussian, env.name=hopper", "env.name = 'hopper': env.name is one for all arms"),
        ("gaussian, env.num_env=4", "env.num_env = '4': unknown; nearest: num_envs"),
        ("gaussian, env.num_envs=many", "env.num_envs is a whole number"),
        ("gaussian, env.num_envs=0", "env.num_envs = 0"),
        ("gaussian, env.reset=never", "env.reset = 'never'"),
    ):
        with pytest.raises(UserError) as caught:
            arms.parse(spec, BASE)
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_arms_take_a_bonus_beside_their_rule():
    arm = arms.parse("both: pink, bonus=rnd(beta=0.5), bonus.lr=0.001", BASE)
    assert arm.control == dataclasses.replace(BASE, explore="pink", bonus="rnd(beta=0.5, lr=0.001)")
    record = folder.plain(arm.record())
    assert arms.Arm.restore("both", record, BASE) == arm
    del record["bonus"]  # of a study that was made before there were bonuses
    assert arms.Arm.restore("both", record, BASE).control == dataclasses.replace(BASE, explore="pink")


@pytest.mark.parametrize(("name", "structure"), [("es", "dense"), ("es-lowrank", "lowrank"), ("es-flipout", "flipout")])
def test_evolution_strategies_are_arms(name, structure):
    arm = arms.parse(f"{name}(sigma=0.1), agent.actor_lr=0.03", BASE)
    explore = f"parameter(structure={structure}(antithetic=true), scale=constant, sigma=0.1)"
    agent = "es(actor_hidden=64x64, actor_lr=0.03)"
    assert arm.control == dataclasses.replace(BASE, explore=explore, agent=agent), "what learners share stays"
    assert (arm.scale.path, arm.scale.grid) == ("sigma", (0.02, 0.05, 0.1, 0.2))


@pytest.mark.parametrize("name", arms.names())
def test_every_name_makes_an_arm_with_a_scale_of_its_own(name):
    agents = dict.fromkeys(("followers", "natural"), ", agent=ppo")
    arm = arms.parse(name + agents.get(name, ""), BASE)
    fields = {
        "natural": "delta",
        "followers": "scale.target",
        "none": None,
        "mixed": None,
        "bootstrap": None,
        "noisynet": "sigma",
        "ivon": "precision",
        "adam_sgld": "noise",
        "epsilon_greedy": "epsilon",
    } | dict.fromkeys(("es", "es-lowrank", "es-flipout"), "sigma")
    field = fields.get(name, "scale.target" if name.startswith("parameter") else "std")
    assert (arm.scale and arm.scale.path) == field
    if field:
        assert arm.scale.value == at(arm.control.explore, field) and len(arm.scale.grid) == 4
        scaled = arm.scaled(0.125)
        assert at(scaled.control.explore, field) == 0.125 and scaled.scale.tuned and not arm.scale.tuned
    assert arms.Arm.restore(arm.label, folder.plain(arm.record()), BASE) == arm


def test_the_scale_of_noise_that_is_not_adapted_is_its_sigma():
    assert arms.parse("parameter(scale=constant)", BASE).scale.path == "sigma"
    assert arms.parse("parameter(scale=bisection)", BASE).scale.path == "scale.target"
    assert arms.parse("parameter + gaussian", BASE).scale.path == "parameter.scale.target"


@pytest.mark.parametrize("name", job.PRESETS)
def test_the_arms_of_a_preset_share_all_but_exploration(name):
    preset = job.PRESETS[name]
    for arm in ControlStudy.plan(preset.control, dataclasses.replace(preset.study, tune=True))[0]:
        expected = dataclasses.replace(preset.control, explore=arm.control.explore)
        if name.startswith("published"):  # learners are what it compares
            expected = dataclasses.replace(expected, agent=arm.control.agent)
        if arm.spec.startswith("es"):  # another learner on the same networks, task and steps
            shared = ("actor_hidden", "activation", "layer_norm", "head_scale", "weight_decay")
            assert all(getattr(arm.control.agent, field) == getattr(preset.control.agent, field) for field in shared)
            expected = dataclasses.replace(expected, agent=arm.control.agent)
        assert arm.control == expected
    again = ControlStudy.restore({"control": folder.plain(preset.control), "study": folder.plain(preset.study)})
    assert job.StudyJob(*again) == preset


def test_structures_are_compared_at_equal_distance():
    structures = {"sparse": ["dense", "flipout", "factorised"], "dense": ["dense", "flipout", "lowrank", "factorised"]}
    for reward, names in structures.items():
        preset = job.PRESETS[f"structures-{reward}"]
        found = [arm.control.explore for arm in ControlStudy.plan(preset.control, preset.study)[0]]
        assert [one.structure.family.name_of(one.structure) for one in found] == names
        assert len({(one.scale, one.hold, one.sigma) for one in found}) == 1


def test_flags_are_those_of_a_run_and_of_a_study():
    asked = parse("--preset", "smoke", "--steps", "320", "--study.seeds", "3", "--tune", "--study.arms", "ou", "a:pink")
    assert (asked.study.steps, asked.study.seeds, asked.study.tune) == (320, 3, True)
    assert [arm.label for arm in ControlStudy.plan(asked.control, asked.study)[0]] == ["ou", "a"]


def test_grids_replace_those_of_their_arms():
    found = plan("--study.arms", "ou", "a:pink", "--study.grid", "a=0.1,0.5")
    assert [arm.scale.grid for arm in found] == [(0.1, 0.3, 0.6, 1.0), (0.1, 0.5)]


def test_thresholds():
    assert StudyConfig().solved("SparseMountainCar") == StudyConfig().solved("sparse_mountain_car") == 0.9
    assert StudyConfig().solved("SparseMountainCarLight") == 0.9
    assert StudyConfig().solved("halfcheetah") is None
    assert StudyConfig(threshold=3.0).solved("halfcheetah") == 3.0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--study.arms", "gausian"], "study.arms = 'gausian': 'gausian' is unknown; nearest: gaussian"),
        (["--study.arms", "parameter+gausian"], "unknown; nearest"),
        (["--study.arms", "ou(st=1)"], "ou.st = '1': unknown; nearest: std"),
        (["--study.arms", "ou, agent.gama=1"], "agent.gama = '1': unknown; nearest: gamma"),
        (
            ["--study.arms", "ou, std=1"],
            "agent=..., agent.FIELD=..., bonus=..., env.FIELD=..., or the fields of ou(...)",
        ),
        (["--study.arms", "es(hold=steps)"], "parameter.hold = 'steps': episode, as agent is es"),
        (["--study.arms", "parameter(ladder=4)"], "parameter.ladder = 4.0: 1 unless member_sigma"),
        (["--study.arms", "parameter-members(select=return)"], "parameter.select = 'return': none unless"),
        (["--study.arms", "ou(std=big)"], "ou.std = 'big': a number"),
        (["--study.arms", "ou(std=-1)"], "ou.std = -1: a number at least 0"),
        (["--study.arms", "parameter-lowrank(rank=1.5)"], "structure.rank = '1.5': a whole number"),
        (["--study.arms", "parameter(rank=2)"], "parameter.rank = '2': unknown"),
        (["--study.arms", "parameter(relative=yes)"], "parameter.relative = 'yes': true or false"),
        (["--study.arms", "ou, agent.actor_hidden=a"], "agent.actor_hidden = 'a'"),
        (["--study.arms", "../x:ou"], "study.arms = '../x:ou'"),
        (["--study.arms", ", hold=steps"], "a name or a value is expected"),
        (["--study.arms", "a:ou", "A:pink"], "a label of its own"),
        (["--study.arms"], "at least one arm"),
        (["--study.grid", "x=1,2"], "the label of an arm; 'x' is unknown"),
        (["--study.grid", "ou=1"], "two values or more"),
        (["--study.grid", "ou=1,1"], "all different"),
        (["--study.grid", "ou=1,b"], "LABEL=0.1,0.2,0.4"),
        (["--study.grid", "none=1,2"], "none has no scale of its own to tune"),
        (["--tune", "--study.tune-seed", "2"], "seeds 2 to 13 of parameter must not meet the reported 0 to 4"),
        (["--tune", "--seed", "1011"], "seeds 1000 to 1011 of parameter must not meet the reported 1011 to 1015"),
        (["--tune", "--study.tune-seeds", "2000"], "study.tune_seeds = 2000: at most 4096 runs"),
        (["--study.tune-steps", "0"], "study.tune_steps = 0"),
        (["--study.threshold", "nan"], "study.threshold = nan"),
        (["--eval-every", "0"], "eval_every = 0: a whole number from 1"),
        (["--seeds", "0"], "seeds = 0"),
        (["--preset", "mountain"], "preset = 'mountain': unknown; nearest: mountain-car"),
        (["--no-diagnose"], "diagnose = False: True"),
        (["--explore", "ou"], "explore = 'ou': left to the arms"),
        (["--resume", "nowhere"], "resume = 'nowhere': a study folder"),
        (["--launcher", "lokal"], "launcher = 'lokal': unknown; nearest: local"),
        (["--launcher", "local(worker=1)"], "local.worker = '1': unknown; nearest: workers"),
        (["--launcher", "local(workers=-1)"], "local.workers = -1: a whole number"),
        (["--name", "a/b"], "name = 'a/b': a folder name without slashes"),
    ],
)
def test_refusals_are_one_line(argv, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        plan(*argv)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
