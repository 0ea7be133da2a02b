"""The command line: presets, resumed configs, and refusals in one line."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from jaxpsn.core import spec_of
from jaxpsn.core.errors import UserError
from jaxpsn.run import command, folder
from jaxpsn.run.jobs import control

ROOT = Path(__file__).resolve().parents[2]


def parse(*argv):
    return command.parse(control.ControlJob, control.PRESETS, argv, control.restore, "test")


def test_the_default_and_overrides():
    assert parse() == control.PRESETS["default"]
    job = parse("--preset", "gpu", "--env.num-envs", "128", "--agent.actor-hidden", "32x16", "--seed", "3")
    gpu = control.PRESETS["gpu"]
    assert job.control.env == dataclasses.replace(gpu.control.env, num_envs=128)
    assert job.control.agent.actor_hidden == (32, 16)
    assert (job.run.seed, job.run.steps) == (3, gpu.run.steps)


@pytest.mark.parametrize("name", control.PRESETS)
def test_presets_survive_their_own_record(name):
    job = control.PRESETS[name]
    assert control.restore({"config": folder.plain(job.control), "run": folder.plain(job.run)}) == job


def test_a_run_from_before_components_is_refused_by_name():
    old = {
        "config": {"env": {}, "agent": {}, "exploration": {"rule": "ou"}},
        "run": {},
        "versions": {"jaxpsn": "0.1.0"},
    }
    with pytest.raises(UserError, match=r"version = '0\.1\.0': a newer one: this run was made before"):
        control.restore(old)


def test_dotted_flags_change_what_a_text_or_a_preset_chose():
    job = parse("--preset", "sparse", "--explore.target=0.3", "--explore.structure", "lowrank", "--explore.rank", "4")
    assert spec_of(job.control.explore) == (
        "parameter(structure=lowrank(rank=4), scale=multiplicative(target=0.3), sigma=0.6)"
    )
    job = parse("--explore", "gaussian + pink(std=1)", "--explore.gaussian.std", "0.5", "--agent", "ddpg")
    assert spec_of(job.control.explore) == "gaussian(std=0.5) + pink(std=1)" and spec_of(job.control.agent) == "ddpg"


def test_describe_tells_of_a_component_and_ends(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--describe", "parameter")
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert "parameter (explore): Parameter-space noise" in told and "sigma = 0.05  [traced]" in told


def test_resume_starts_from_the_recorded_config(tmp_path):
    job = parse("--preset", "sparse", "--seed", "7", "--out", str(tmp_path), "--name", "one")
    with folder.claim(job.run, job.control) as claimed:
        pass
    again = parse("--resume", str(claimed.path), "--steps", "999999")
    assert again.control == job.control
    assert (again.run.seed, again.run.steps, again.run.resume) == (7, 999999, str(claimed.path))


def test_the_paper_column_is_the_papers():
    paper = control.PRESETS["paper"].control
    assert (paper.agent.actor_hidden, paper.agent.action_layer) == ((64, 64), 1)
    assert (paper.agent.actor_lr, paper.agent.critic_lr, paper.agent.tau) == (1e-4, 1e-3, 1e-3)
    assert (paper.agent.batch_size, paper.agent.replay_capacity, paper.agent.critic_l2) == (128, 100_000, 1e-2)
    assert (paper.explore.scale.rate, paper.explore.scale.target) == (1.01, 0.2)
    # 50 updates in 100 environment steps, one adaptation in 50 updates.
    assert paper.agent.updates / paper.agent.update_every == 0.5
    assert paper.explore.adapt_every == paper.agent.update_every
    # One perturbed copy sees the batch that is learnt from.
    for column in (paper, control.PRESETS["release-2017"].control):
        assert column.explore.probes == 1 and column.explore.probe_states == column.agent.batch_size


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--preset", "gpux"], "preset = 'gpux': unknown; nearest: gpu"),
        (["--preset"], "--preset: expected one argument"),
        (["--env.num-envs", "0"], "env.num_envs = 0: a whole number from 1"),
        (["--env.num-envs", "many"], "--env.num-envs"),
        (["--env.num-envss", "3"], "--env.num-envss: unknown; nearest: --env.num-envs, "),
        (["--explore.structure", "flipoutt"], "nearest: flipout"),
        (["--explore.groups", "7"], "0 or a divisor of env.num_envs = 64"),
        (["--explore.probe-states", "1000000"], "= 8000000: at most 4,194,304 in all"),
        (["--explore", "parameter+parameter"], "parameter once only"),
        (["--explore.sigma", "-0.1"], "explore.sigma = -0.1: a number at least 0"),
        (["--explore.sigma"], "--explore.sigma = None: a value"),
        (["--explore.std", "1"], "explore.std = '1': unknown; nearest: "),
        (["--explore", "gaussian + parameter", "--explore.low", "20"], "scale.low = 20.0: at most high = 10"),
        (["--explore", "gaussian + pink", "--explore.std", "1"], "a whole path: gaussian.std, pink.std"),
        (["--agent", "td33"], "--agent = 'td33': unknown; nearest: td3"),
        (["--agent", "es", "--agent.gamma", "0.9"], "agent.gamma = '0.9': unknown"),
        (["--agent.gamma", "nan"], "agent.gamma = nan"),
        (["--agent.precision", "float16"], "agent.precision = 'float16': unknown"),
        (["--plugin", "nowhere.py"], "--plugin = 'nowhere.py': a module's name or an existing .py file"),
        (["--describe", "parametr"], "nearest: parameter"),
        (["--resume", "nowhere"], "resume = 'nowhere': a run folder"),
        (["--resume", "nowhere", "--preset", "gpu"], "not together with --resume"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refusals_are_one_line(argv, said):
    with pytest.raises(UserError) as caught:
        parse(*argv)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_script_refuses_with_status_2_and_no_traceback():
    command_line = [sys.executable, ROOT / "experiments" / "control.py", "--env.num-envs", "0"]
    done = subprocess.run(command_line, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    said = done.stderr.strip().splitlines()
    assert said[-1] == "error: env.num_envs = 0: a whole number from 1 to 1048576"
    assert len(said) == 2  # the greeting and the refusal
