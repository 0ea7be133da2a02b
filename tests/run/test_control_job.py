"""The control script as a user runs it: trains, survives kills bit for bit, refuses bad values, opens offline."""

import csv
import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxpsn.control import program as programs
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.core import paths_of
from jaxpsn.core.errors import UserError
from jaxpsn.run import command
from jaxpsn.run.config import RunConfig
from jaxpsn.run.jobs import control

pytestmark = pytest.mark.usefixtures("optimised")

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "control.py"
STEPS = 8000
TIMING = ("seconds", "steps_per_second")


def argv(out, *flags):
    return [sys.executable, str(SCRIPT), "--out", str(out), "--progress", "plain", *flags]


def smoke(out, name, *flags):
    return argv(out, "--preset", "smoke", "--name", name, "--steps", str(STEPS), *flags)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run, and the folder it lies in."""
    out = tmp_path_factory.mktemp("runs")
    done = subprocess.run(smoke(out, "whole"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / "whole", done


def rows(run):
    with (run / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if name not in TIMING} for row in csv.DictReader(file)]


def digests(run, step=STEPS):
    """SHA-256 of every array of the checkpoint at ``step``."""
    listed = json.loads((run / "checkpoints" / str(step) / "shards-0.json").read_text())
    return {name: shard["sha256"] for name, (shard,) in listed["shards"].items()}


def test_a_run_leaves_all_that_the_readme_names(whole):
    run, done = whole
    for name in ("config.json", "metrics.csv", "metrics.jsonl", "events.jsonl", "rollout.html", "report.html"):
        assert (run / name).stat().st_size > 0, name
    assert sorted(path.name for path in (run / "plots").iterdir()) == ["learning.svg", "losses.svg", "noise.svg"]
    assert done.stdout.splitlines() == [str(run)]
    assert "compiling the training step" in done.stderr
    last = rows(run)[-1]
    assert int(last["step"]) == STEPS
    assert float(last["eval_return"]) > 0.9  # the probe's best is 1
    assert 0 < float(last["sigma"]) < 10 and float(last["distance"]) > 0


def test_a_finished_folder_is_refused_and_kept(whole):
    run, _ = whole
    before = (run / "metrics.csv").read_bytes()
    with pytest.raises(UserError, match="exists"):
        control.main(smoke(run.parent, "whole")[2:])
    assert (run / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize("seed", range(3))
def test_killed_and_resumed_equals_uninterrupted(whole, seed):
    run, _ = whole
    chance, name = random.Random(seed), f"killed{seed}"
    killed = run.parent / name
    process = subprocess.Popen(smoke(run.parent, name), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    target = chance.randrange(160, STEPS - 1600)
    while process.poll() is None and not _reached(killed, target):
        time.sleep(0.005)
    time.sleep(chance.random() * 0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = int(rows(killed)[-1]["step"])
    assert target <= last < STEPS, "it was killed under way"
    done = subprocess.run(argv(run.parent, "--resume", str(killed)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert digests(killed) == digests(run)
    assert rows(killed) == rows(run)
    assert (killed / "report.html").exists()


def _reached(run, step):
    try:
        return any(int(row["step"] or 0) >= step for row in rows(run))
    except (OSError, ValueError):
        return False


def test_another_config_is_refused_by_field(whole, tmp_path):
    run, _ = whole
    copy = shutil.copytree(run, tmp_path / "copy")
    with pytest.raises(UserError, match=r"agent\.gamma = 0\.5 \(was 0\.99\)"):
        control.main(["--resume", str(copy), "--agent.gamma", "0.5"])


def test_an_annealed_run_cannot_be_extended(whole, tmp_path):
    copy = shutil.copytree(whole[0], tmp_path / "copy")
    record = json.loads((copy / "config.json").read_text())
    record["config"]["explore"]["fields"]["scale"] = {"name": "linear", "fields": {"final": 0.01}}
    (copy / "config.json").write_text(json.dumps(record))
    job = command.parse(
        control.ControlJob, control.PRESETS, ["--resume", str(copy), "--steps", "9999"], control.restore, ""
    )
    with pytest.raises(UserError, match="steps = 9999: 8000 as recorded"):
        control.run(job)


VALUES = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([0, -1, 2**31, 10**12]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.booleans(),
    st.text("abcxyz+-/. ", max_size=8),
    st.none(),
    st.sampled_from(["none", "gaussian", "ou+pink", "parameter+gaussian", "dense", "lowrank", "zeta", "first-order"]),
    st.sampled_from(["probe/action", "probe/observation_action", "sparse_cartpole_swingup_light", "swimmer", "fast"]),
)
FIELDS = [
    (section, field.name)
    for section, kind in {"env": EnvConfig, "": ControlConfig, "run": RunConfig}.items()
    for field in dataclasses.fields(kind)
    if not dataclasses.is_dataclass(field.default_factory)
] + [(section, path) for section in ("agent", "explore") for path in paths_of(getattr(ControlConfig(), section))]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(FIELDS), VALUES), min_size=1, max_size=3))
def test_fuzzed_flags_build_or_are_refused_in_one_line(changes):
    flags = []
    for (section, name), value in changes:
        prefix = f"{section}." if section in ("env", "agent", "explore") else ""
        flag = f"--{prefix}{name}".replace("_", "-")
        flags += [flag, str(value)] if not isinstance(value, bool) else [flag]
    try:
        job = command.parse(control.ControlJob, control.PRESETS, ["--preset", "smoke", *flags], control.restore, "fuzz")
        if job.control.env.num_envs > 4096 or job.control.agent.batch_size > 1 << 16:
            return  # allowed, but not here
        program = programs.make(job.control, 10)
        state = jax.eval_shape(lambda: program.init(jax.random.key(0), program.hyper))
        jax.eval_shape(program.step, state)
    except UserError as error:
        assert str(error) and "\n" not in str(error)
