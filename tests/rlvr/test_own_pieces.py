"""A task, a reward, an advantage, a loss, a correction, a rule for sigma and a family of models, one new file each."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxpsn.core import errors, families, plugins
from jaxpsn.lm import config as decoders
from jaxpsn.lm import model
from jaxpsn.lm.folders import hf_config
from jaxpsn.lm.tokenizer import CharTokenizer
from jaxpsn.rlvr import base as bases
from jaxpsn.rlvr.base import Base
from jaxpsn.rlvr.config import AlgorithmConfig, EvaluationConfig, RlvrConfig, RolloutConfig
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.run.config import RunConfig
from jaxpsn.run.jobs import rlvr
from jaxpsn.run.reasoning.job import RlvrJob
from jaxpsn.tasks import rewards
from jaxpsn.tasks.problem import TASKS, Problem
from tests.rlvr import pieces

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
NAMES = {
    "task": "reverse", "reward": "brevity", "advantage": "signs", "loss": "leaning", "correction": "tempered",
    "sigma": "decay", "model": "plainest",
}  # fmt: skip
STEPS = 3
SIZES = (
    "--rollout.prompts", "4", "--rollout.samples", "4", "--evaluation.problems", "4", "--evaluation.samples", "4",
    "--evaluation.monitor-problems", "2", "--evaluation.monitor-samples", "2", "--eval-every", "0",
    "--checkpoint-every", "1", "--chunk", "1", "--progress", "none",
)  # fmt: skip
CHOSEN = (
    "--task", "reverse(digits=3)", "--reward", "verifier(weight=0.5) + brevity", "--reward.brevity.limit", "2",
    "--sigma", "decay(initial=0.5)", "--algorithm.advantage", "signs", "--algorithm.loss", "leaning(share=0.25)",
    "--algorithm.correction", "tempered",
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of all pieces, loaded here; what they registered is forgotten in the end."""
    before = {name: family.snapshot() for name, family in families.ALL.items()}
    found = pieces.write(tmp_path_factory.mktemp("pieces"))
    for file in found.values():
        plugins.load_plugin(str(file))
    yield found
    for file in found.values():
        plugins._LOADED.pop(str(file), None)
    for name, snapshot in before.items():
        families.ALL[name].restore(snapshot)


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    """A folder of the family of one's own, with random weights."""
    words = CharTokenizer(TASKS.make("reverse").alphabet)
    decoder = dataclasses.replace(decoders.tiny(words.vocab_size, 16, 1, 2), family="plainest")
    params = model.init(decoder, jax.random.key(0))
    path = tmp_path_factory.mktemp("models") / "plainest"
    bases.save(path, Base(decoder, params, words, None), params)
    return path


def start(script, *flags, cache):
    """A script in a process of its own, which knows nothing of what is loaded here."""
    command = [sys.executable, str(EXPERIMENTS / script), *flags]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"XDG_CACHE_HOME": str(cache)})


def rows(path):
    with (path / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    return [{name: cell for name, cell in row.items() if "second" not in name} for row in found]


def test_a_run_takes_all_of_them_by_plugin_and_goes_on_without_being_told(files, folder, tmp_path):
    shared = ("--out", str(tmp_path), "--model", str(folder), *SIZES)
    done = start("rlvr.py", *pieces.flags(files), *shared, *CHOSEN, "--steps", "2", "--name", "own", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "own" / "config.json").read_text())
    assert [one["path"] for one in record["plugins"]] == [str(file) for file in files.values()]
    config = record["config"]
    assert config["task"] == {"name": "reverse", "fields": {"digits": 3}}
    assert [term["name"] for term in config["reward"]["sum"]] == ["verifier", "brevity"]
    assert {config["algorithm"][name]["name"] for name in ("advantage", "loss", "correction")} == {
        NAMES[name] for name in ("advantage", "loss", "correction")
    }
    done = start("rlvr.py", "--resume", str(tmp_path / "own"), "--steps", str(STEPS), cache=tmp_path)
    assert done.returncode == 0, done.stderr

    job = RlvrJob(
        RlvrConfig(
            model=str(folder),
            task=TASKS.get("reverse")(digits=3),
            reward="verifier(weight=0.5) + brevity(limit=2)",
            rollout=RolloutConfig(prompts=4, samples=4),
            noise=Psn(sigma="decay(initial=0.5)"),
            algorithm=AlgorithmConfig("signs", "leaning(share=0.25)", "tempered"),
            evaluation=EvaluationConfig(problems=4, samples=4, monitor_problems=2, monitor_samples=2),
        ),
        RunConfig(
            steps=STEPS, chunk=1, eval_every=0, checkpoint_every=1, progress="none", out=str(tmp_path), name="python"
        ),
    )
    assert rlvr.run(job) == 0
    ours, theirs = rows(tmp_path / "own"), rows(tmp_path / "python")
    assert ours == theirs and len(ours) == STEPS
    assert [float(row["sigma"]) for row in ours] == [0.5, 0.25, 0.125]

    files["loss"].write_text(pieces.LOSS.replace("0.5", "0.6"))
    done = start("rlvr.py", "--resume", str(tmp_path / "own"), "--steps", "4", cache=tmp_path)
    files["loss"].write_text(pieces.LOSS)
    assert done.returncode == 2 and "the source that the run was started with; it has changed" in done.stderr


def test_they_are_arms_of_a_study(files, tmp_path):
    arms = ("mine:psn(sigma=decay), algorithm.loss=leaning, algorithm.correction=tempered, reward=verifier + brevity",
            "other:grpo, algorithm.advantage=signs(size=0.5)")  # fmt: skip
    flags = (*pieces.flags(files), "--preset", "smoke", "--arms", *arms, "--tasks", "reverse(digits=2)", "--seeds", "1")
    flags += ("--study.no-tune", "--study.grid", "--out", str(tmp_path), "--name", "s", "--progress", "none")
    done = start("rlvr_compare.py", *flags, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {path.parent.name for path in (tmp_path / "s").glob("tasks/*/arms/*/0")}
    assert found == {"mine", "other"}
    done = start("rlvr_compare.py", "--resume", str(tmp_path / "s"), "--progress", "none", cache=tmp_path)
    assert done.returncode == 0 and "kept" in done.stderr, done.stderr


def test_a_family_of_models_is_read_and_written(files, folder):
    read = hf_config.read_config(folder)
    assert (read.family, read.qk_norm, read.qkv_bias) == ("plainest", True, False)
    raw = json.loads((folder / "config.json").read_text())
    assert raw["architectures"] == ["PlainestForCausalLM"] and raw["head_norms"] is True


@pytest.mark.parametrize(("fails", "says"), [
    ("return [0.0]", "reward awkward = '1 numbers': a finite number for each of the 2 answers"),
    ("return [float('nan')] * 2", "reward awkward = nan: a finite number"),
    ("return None", "reward awkward: TypeError"),
    ("return len(answers[0]) / 0", "reward awkward: ZeroDivisionError in line"),
    ("import os; os._exit(3)", "reward awkward: its process ended"),
    ("import time; time.sleep(60)", "reward awkward: killed, as it took longer than 0.5 s for 2 answers"),
])  # fmt: skip
def test_a_reward_that_fails_ends_the_run_in_one_line(fails, says, tmp_path):
    text = pieces.REWARD.replace("brevity", "awkward").replace("Brevity", "Awkward")
    file = tmp_path / "awkward.py"
    file.write_text(text[: text.index("        return [")] + f"        {fails}\n")
    before = rewards.REWARDS.snapshot()
    try:
        plugins.load_plugin(str(file))
        problems = [Problem("a", "1+1=", "2", "sums")] * 2
        with rewards.Scorer(rewards.make("awkward(seconds=0.5)"), lambda *_: []) as scorer:
            with pytest.raises(errors.UserError) as caught:
                scorer(problems, ["2", "3"])
        assert str(caught.value).startswith(says) and "\n" not in str(caught.value)
    finally:
        plugins._LOADED.pop(str(file), None)
        rewards.REWARDS.restore(before)


def test_rewards_add_up_and_a_function_is_one():
    problems = [Problem("a", "1+1=", "2", "sums")] * 2
    given = rewards.make(lambda prompts, answers, problems: np.array([len(answer) for answer in answers]))
    with rewards.Scorer(given, lambda *_: []) as scorer:
        assert scorer(problems, ["2", "333"]) == [1.0, 3.0] and scorer([], []) == []
    config = RlvrConfig(reward=lambda prompts, answers, problems: [0.0] * len(answers))
    assert isinstance(config.reward, rewards.FunctionReward)
    with rewards.Scorer(rewards.make("verifier(weight=0.5)"), lambda *_: [1.0, 0.0]) as scorer:
        assert scorer(problems, ["2", "3"]) == [0.5, 0.0]
