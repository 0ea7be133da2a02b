"""The reasoning script as a user runs it: finishes, survives a kill bit for bit, refuses bad values in one line."""

import csv
import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxpsn.core.components import to_json
from jaxpsn.core.errors import UserError
from jaxpsn.rlvr import base as bases
from jaxpsn.rlvr.config import (
    AlgorithmConfig,
    DecoderSize,
    EvaluationConfig,
    PretrainConfig,
    RlvrConfig,
    RolloutConfig,
)
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.exploration.rules import Composite, Staged
from jaxpsn.run import command, folder
from jaxpsn.run.checkpoints.store import Store
from jaxpsn.run.config import RunConfig
from jaxpsn.run.jobs import rlvr
from jaxpsn.run.reasoning.job import SHORT
from jaxpsn.stats import evaluations

pytestmark = pytest.mark.usefixtures("optimised")

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "rlvr.py"
STEPS = 40
TIMING = ("seconds", "steps_per_second", "tokens_per_second", "sampled_per_second")
# Everything that a step remembers: probes and their range, refills, several updates, a reference, moving sigma; and
# pieces by a token budget.
FLAGS = (
    "--preset", "smoke", "--steps", str(STEPS), "--eval-every", "20", "--checkpoint-every", "5", "--progress", "plain",
    "--sigma", "composite(initial=1, rate=1.1, high=8)", "--rollout.refills", "1", "--algorithm.mini-batches", "2",
    "--algorithm.kl-coefficient", "0.01", "--algorithm.learning-rate", "0.01", "--noise.antithetic",
    "--rollout.prompts", "4", "--rollout.samples", "4", "--algorithm.token-budget", "128",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder of the runs, and the environment in which bases are kept beside them."""
    out = tmp_path_factory.mktemp("runs")
    return out, os.environ | {"XDG_CACHE_HOME": str(out / "cache")}


def argv(out, *flags):
    return [sys.executable, str(SCRIPT), "--out", str(out), *flags]


@pytest.fixture(scope="module")
def whole(place):
    """An uninterrupted run, and how it ended."""
    out, env = place
    done = subprocess.run(argv(out, *FLAGS, "--name", "whole"), capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return out / "whole", done


def rows(run):
    with (run / "metrics.csv").open() as file:
        return [
            {name: value for name, value in row.items() if not name.startswith(TIMING)} for row in csv.DictReader(file)
        ]


def digests(run):
    """SHA-256 of every array of the last checkpoint, and of what the run wrote besides."""
    listed = json.loads((run / "checkpoints" / str(STEPS) / "shards-0.json").read_text())
    arrays = {name: shard["sha256"] for name, (shard,) in listed["shards"].items()}
    written = ("samples.jsonl", "evaluations/base.json", "evaluations/trained.json", "model/model.safetensors")
    return arrays | {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in written}


def test_a_run_leaves_a_judged_exported_policy_and_a_report(whole, place):
    run, done = whole
    assert done.stdout.splitlines() == [str(run)] and "Traceback" not in done.stderr
    for name in ("config.json", "metrics.csv", "metrics.jsonl", "events.jsonl", "samples.jsonl", "report.html"):
        assert (run / name).stat().st_size > 0, name
    found, problems = evaluations.read_all(run)
    assert [one.label for one in found] == ["base", "trained"] and not problems
    assert [one.step for one in found] == [0, STEPS] and found[0].ids == found[1].ids
    last = rows(run)[-1]
    assert (int(last["step"]), int(last["updates"])) == (STEPS, 2 * STEPS)
    for name in ("loss", "sigma", "reward", "indicator", "eval_pass_at_1", "noise_kl_k3", "reference_kl"):
        assert np.isfinite(float(last[name])), name
    logged = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert len(logged) == 16 * STEPS and [row["step"] for row in logged] == sorted(row["step"] for row in logged)
    (base,) = (place[0] / "cache" / "jaxpsn" / "bases").iterdir()
    assert base.name.startswith("modular-")


def test_the_smoke_preset_learns_and_its_noise_is_of_low_rank(place):
    out, environment = place
    command = argv(out, "--preset", "smoke", "--name", "smoke", "--progress", "plain")
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "perturbations a step" in done.stderr and "too small for" not in done.stderr
    made = rows(out / "smoke")
    judged = [float(row["eval_pass_at_1"]) for row in made if row["eval_pass_at_1"]]
    reward = [float(row["reward"]) for row in made if row["reward"]]
    assert len(reward) == 40 and np.mean(reward[-10:]) > np.mean(reward[:10]) + 0.05
    taught = [float(row["grad_norm"]) > 0 for row in made if row["grad_norm"]]
    assert max(judged[1:]) > judged[0] and np.mean(taught) > 0.75
    events = [json.loads(line) for line in (out / "smoke" / "events.jsonl").read_text().splitlines()]
    timed = [event["detail"] for event in events if event["event"] == "phase"]
    assert timed == ["pre-training", "judging the base", "judging the trained policy"]
    assert all(event["seconds"] > 0 for event in events if event["event"] in ("phase", "compile"))


def test_the_exported_model_has_the_last_weights(whole):
    run, _ = whole
    found = bases.read(run / "model")
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), found.params)
    listed = json.loads((run / "checkpoints" / str(STEPS) / "shards-0.json").read_text())
    arrays = listed["shards"]
    flat = jax.tree_util.tree_flatten_with_path(found.params)[0]
    assert len(flat) == len(jax.tree.leaves(template)) > 5
    for path, leaf in flat:
        name = "params." + jax.tree_util.keystr(path, simple=True, separator=".")
        host = np.asarray(leaf)
        sha = hashlib.sha256(f"{host.dtype.name}{host.shape}".encode() + host.tobytes()).hexdigest()
        assert sha == arrays[name][0]["sha256"], name


def test_state_of_sigma_and_position_are_in_the_checkpoint(whole):
    listed = json.loads((whole[0] / "checkpoints" / str(STEPS) / "shards-0.json").read_text())
    names = set(listed["shards"])
    assert {"clock", "updates", "position", "key", "sigma.sigma", "sigma.low", "sigma.high", "sigma.indicator"} <= names


def test_killed_and_resumed_equals_uninterrupted(whole, place):
    run, _ = whole
    out, env = place
    chance, killed = random.Random(0), out / "killed"
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(argv(out, *FLAGS, "--name", "killed"), env=env, **quiet)
    target = chance.randrange(1, STEPS - 8)
    while process.poll() is None and not _reached(killed, target):
        time.sleep(0.005)
    time.sleep(chance.random() * 0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = int(rows(killed)[-1]["step"])
    assert target <= last < STEPS, "it was killed under way"
    done = subprocess.run(argv(out, "--resume", str(killed)), capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert digests(killed) == digests(run), f"killed at step {last}"
    assert rows(killed) == rows(run)
    assert (killed / "report.html").exists()


def _reached(run, step):
    try:
        return any(int(row["step"] or 0) >= step for row in rows(run))
    except (OSError, ValueError):
        return False


@pytest.fixture
def inside(place, monkeypatch):
    """``inside(*flags) -> status`` in this process, with the runs' own cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", place[1]["XDG_CACHE_HOME"])
    return lambda *flags: rlvr.main([*flags, "--progress", "none"])


def test_a_run_killed_while_it_finished_is_finished(whole, inside, tmp_path):
    """Cut off between the last step and the report: a half-written export, no judgement, no page."""
    run = shutil.copytree(whole[0], tmp_path / "copy")
    before = digests(run)
    (run / "report.html").unlink()
    (run / "evaluations" / "trained.json").unlink()
    shutil.move(run / "model", run / ".model.1234.new")
    assert inside("--resume", str(run)) == 0
    assert digests(run) == before and (run / "report.html").exists()
    assert inside("--resume", str(run)) == 0, "a finished run may be asked for once more"


def test_another_config_is_refused_by_field(whole, inside, tmp_path):
    run = shutil.copytree(whole[0], tmp_path / "copy")
    with pytest.raises(UserError, match=r"algorithm\.loss\.clip_high = 0\.5 \(was 0\.2\)"):
        inside("--resume", str(run), "--algorithm.loss.clip-high", "0.5")


def test_a_staged_run_cannot_be_extended(whole, inside, tmp_path):
    run = shutil.copytree(whole[0], tmp_path / "copy")
    record = json.loads((run / "config.json").read_text())
    record["config"]["noise"]["fields"]["sigma"] = to_json(Staged())
    (run / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"steps = 99: 40 as recorded; noise\.sigma depends on it"):
        inside("--resume", str(run), "--steps", "99")


def test_files_of_problems_are_recorded_by_their_content(tmp_path):
    data = tmp_path / "train.jsonl"
    data.write_text('{"problem": "1+1=", "answer": "2"}\n{"problem": "1+2=", "answer": "3"}\n')
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    config = RlvrConfig(model=str(model), data=str(data))
    content = rlvr._content(rlvr.RlvrJob(config))
    assert content["hashes"]["data"] == hashlib.sha256(data.read_bytes()).hexdigest()
    record = {"config": content, "run": folder.plain(RunConfig())}
    assert rlvr.restore(json.loads(json.dumps(record))).rlvr == config
    assert "hashes" not in rlvr._content(rlvr.RlvrJob(RlvrConfig()))


def _line(done):
    """The one line that says what was wrong."""
    said = [line for line in done.stderr.splitlines() if line != "jaxpsn: starting"]
    assert done.returncode == 2 and len(said) == 1 and not done.stdout, done.stderr
    assert said[0].startswith("error: ")
    return said[0]


BAD = {
    ("--preset", "smokey"): "preset = 'smokey': unknown; nearest: smoke",
    ("--task", "countdwn"): "task = 'countdwn': unknown; nearest: countdown",
    ("--task.numbers", "9"): "task.numbers = 9",
    ("--task.digits", "2"): "task.digits = '2': unknown",
    ("--algorithm.correction", "none", "--algorithm.correction.cap", "2"): "algorithm.correction.cap = '2': unknown",
    ("--sigma", "fixed", "--sigma.target", "1"): "noise.sigma.target = '1': unknown; allowed: value",
    ("--noise", "none", "--noise.rank", "2"): "noise.rank = '2': nothing, as none has no fields",
    ("--plugin", "nowhere.py"): "--plugin = 'nowhere.py': a module's name or an existing .py file",
    ("--seeds", "2"): "seeds = 2: 1; runs of several seeds are made one after the other",
    ("--rollout.samples", "1"): "samples = 1: at least 2",
    (
        "--algorithm.advantage",
        "pass_at_k",
        "--rollout.samples",
        "8",
        "--algorithm.advantage.k",
        "8",
    ): "k = 8: below the group's 8 samples",
    ("--data", "x.jsonl"): "data = 'x.jsonl': only together with model",
    ("--model", "nowhere"): "model = 'nowhere': a Hugging Face folder; there is no config.json in it",
    ("--sigma", "composite(similarity=bert(nowhere))"): "noise.sigma.similarity.folder = 'nowhere': a Hugging Face",
    ("--resume", "nowhere"): "resume = 'nowhere': a run folder",
    ("--sigma.rate", "0.9"): "noise.sigma.rate = 0.9: a number above 1",
    ("--verifier", "sympy"): "verifier",
    ("--data-kind", "gsm"): "invalid choice 'gsm' for argument '--data-kind'. Expected one of ('auto', 'gsm8k',",
    ("--data-kind", "math"): "data_kind = 'math': only together with data",
    ("--preset", "paper-kl"): "rollout.max_prompt = 1024: fewer than the model's 1024 positions",
}


@pytest.mark.parametrize("flags, said", BAD.items(), ids=[" ".join(flags) for flags in BAD])
def test_bad_values_are_refused_before_anything_is_written(flags, said, tmp_path, monkeypatch):
    monkeypatch.setattr(rlvr.stages, "prepared", lambda *_: pytest.fail("it was not refused"))
    with pytest.raises(UserError) as caught:
        rlvr.main(["--out", str(tmp_path / "runs"), "--progress", "none", *flags])
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


FILES = {
    "": "no problems; one JSON object a line is needed",
    "\n\n": "no problems",
    '{"problem": "1+1=", "answer": "2"}\n{"problem": ': "train.jsonl, line 2: not JSON",
    '{"problem": "1+1="}\n': "train.jsonl, line 1",
    '["1+1=", 2]\n': "train.jsonl, line 1: list where an object",
    '{"problem": "1+1=", "answer": "two"}\n': "'two': a number, for the verifier 'integer'",
}


@pytest.mark.parametrize("content, said", FILES.items())
def test_bad_files_of_problems_are_refused_by_line(content, said, tmp_path):
    data = tmp_path / "train.jsonl"
    data.write_text(content)
    flags = ["--model", str(tmp_path), "--data", str(data), "--verifier", "integer", "--out", str(tmp_path / "runs")]
    with pytest.raises(UserError) as caught:
        rlvr.main(flags)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("flags", [("--task", "countdwn"), ("--model", "nowhere"), ("--rollout.samples", "one")])
def test_the_script_says_it_in_one_line_with_status_2(flags, tmp_path):
    done = subprocess.run(argv(tmp_path / "runs", *flags), capture_output=True, text=True, cwd=tmp_path)
    assert flags[1] in _line(done)
    assert not (tmp_path / "runs").exists()


VALUES = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([0, -1, 2**31, 10**12]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.booleans(),
    st.text("abcxyz+-/. ", max_size=8),
    st.none(),
    st.sampled_from(
        ["none", "dense", "lowrank", "step", "replica", "composite", "staged", "pass_at_k", "gspo", "re:("]
    ),
)
SECTIONS = {
    "decoder": DecoderSize, "pretrain": PretrainConfig, "rollout": RolloutConfig, "noise": Psn, "sigma": Composite,
    "algorithm": AlgorithmConfig, "evaluation": EvaluationConfig, "": RlvrConfig, "run": RunConfig,
}  # fmt: skip
FIELDS = [
    (section, field.name)
    for section, kind in SECTIONS.items()
    for field in dataclasses.fields(kind)
    if not dataclasses.is_dataclass(field.default_factory)
]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(FIELDS), VALUES), min_size=1, max_size=3))
def test_fuzzed_flags_are_a_config_or_refused_in_one_line(changes):
    flags = []
    for (section, name), value in changes:
        prefix = "" if section in ("", "run") else f"{section}."
        flag = f"--{prefix}{name}".replace("_", "-")
        flags += [flag, str(value)] if not isinstance(value, bool) else [flag]
    try:
        job = command.parse(
            rlvr.RlvrJob, rlvr.PRESETS, ["--preset", "smoke", *flags], rlvr.restore, "fuzz", short=SHORT
        )
        assert job.rlvr.rollout.samples >= 2
    except UserError as error:
        assert str(error) and "\n" not in str(error)


def test_checkpoints_hold_what_the_program_asks_for(whole):
    """The newest one is whole, and the folder keeps two."""
    assert len(Store(whole[0] / "checkpoints", 2).steps()) == 2
