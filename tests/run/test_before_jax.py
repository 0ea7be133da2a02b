"""What is wrong with the words of a command line is said before JAX loads; read off what a process has imported."""

import re
import subprocess
import sys

import pytest

from jaxpsn.core.lazily import Lazy
from jaxpsn.run import command, flag_names
from jaxpsn.run.jobs import control, rlvr
from jaxpsn.study.kinds import control as comparing
from jaxpsn.study.kinds import reasoning

PROBE = (
    "import sys\nfrom jaxpsn import cli\nstatus = cli.main(sys.argv[1:])\n"
    "heavy = {'jax', 'flax', 'brax', 'optax', 'matplotlib'} & set(sys.modules)\nprint(status, *sorted(heavy))"
)
WRONG = {
    "train --env.name halfchetah": "env.name = 'halfchetah': unknown; nearest: halfcheetah",
    "train --preset smok": "preset = 'smok': unknown; nearest: smoke",
    "train --agent td4": "--agent = 'td4': unknown; nearest: td3",
    "train --explore parameter+gausian(std=1)": "--explore = 'gausian': unknown; nearest: gaussian",
    "train --env.num-env 3": "--env.num-env: unknown; nearest: --env.num-envs",
    "reason --task countdow": "--task = 'countdow': unknown; nearest: countdown",
    "reason --rollout.sample 4": "--rollout.sample: unknown; nearest: --rollout.samples",
    "compare --env.name nowhere": "env.name = 'nowhere': unknown",
    "compare --study.seedz 3": "--study.seedz: unknown; nearest: --study.seed",
    "reason-compare --preset quik": "preset = 'quik': unknown; nearest: quick",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_misspelt_name_is_refused_before_jax_loads(line):
    made = subprocess.run([sys.executable, "-c", PROBE, *line.split()], capture_output=True, text=True, timeout=300)
    assert made.stdout.split() == ["2"], made.stderr
    assert f"error: {WRONG[line]}" in made.stderr and len(made.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("kind", "home"),
    [
        (control.ControlJob, control),
        (rlvr.RlvrJob, rlvr),
        (comparing.StudyJob, comparing),
        (reasoning.ReasoningStudyJob, reasoning),
    ],
)
def test_names_of_a_job_are_those_that_its_command_line_takes(kind, home, capsys):
    with pytest.raises(SystemExit):
        command.parse(kind, home.PRESETS, ["--help-all"], home.restore, "")
    told = set(re.findall(r"(?<![\w-])--([a-z][\w.-]*\w)", re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)))
    assert told - {"preset", "help", "describe"} == flag_names.of(kind).plain - {"preset", "help", "help-all"}


def test_values_are_made_once_when_they_are_asked_for():
    made = []
    values = Lazy({"one": lambda: made.append(1) or object(), "two": lambda: 1 / 0})
    assert list(values) == ["one", "two"] and "two" in values and len(values) == 2 and not made
    assert values["one"] is values["one"] and made == [1]
    with pytest.raises(KeyError):
        values["three"]
