"""The evaluation job on one short run: as the run judged itself, paired, replayed; what is wrong is named."""

import csv
import json
import math
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxpsn import cli
from jaxpsn.adapters import peft
from jaxpsn.core.errors import UserError
from jaxpsn.noise import LowRank
from jaxpsn.rlvr import presets, setup
from jaxpsn.rlvr.config import AlgorithmConfig, EvaluationConfig, PretrainConfig, RolloutConfig
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.exploration.rules import Composite
from jaxpsn.rlvr.placement import Placement
from jaxpsn.run import folder, lock, loop, progress, startup
from jaxpsn.run.config import RunConfig
from jaxpsn.run.jobs import evaluate, rlvr
from jaxpsn.run.loggers import sinks  # fmt: skip
from jaxpsn.run.reasoning import inputs, judging, origins, stages
from jaxpsn.stats import evaluations

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "evaluate.py"
PROBLEMS, SAMPLES = 6, 16
SIZE = ("--problems", str(PROBLEMS), "--samples", str(SAMPLES))
# Two clean probes and two perturbed answers in a group, and noise that moves log-probs far beyond rounding.
CONFIG = replace(
    presets.PRESETS["smoke"],
    task="modular(terms=2)",
    pretrain=PretrainConfig(steps=100, batch_size=32, learning_rate=1e-2),
    rollout=RolloutConfig(prompts=4, samples=4, refills=1),
    noise=Psn(
        LowRank(dense_head=False),
        sigma=Composite(None, 0.5, initial=2.0, high=4.0, probes=2, probe_policy="clean", gain=None),
    ),
    algorithm=AlgorithmConfig(learning_rate=0.05, warmup=0),
    evaluation=EvaluationConfig(problems=PROBLEMS, samples=SAMPLES, monitor_problems=2, monitor_samples=2, noisy=True),
)
JOB = rlvr.RlvrJob(CONFIG, RunConfig(steps=3, chunk=1, eval_every=0, checkpoint_every=2, keep=5, progress="none"))


def quiet(*_):
    """Nobody listens."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that was judged and exported; bases are kept in a folder of the test's own."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(out / "cache"))
        yield _trained(out, "run", CONFIG, setup.judge_base)


def _trained(out, name, config, first=quiet):
    """The folder of a run of three steps that was judged and exported."""
    run = replace(JOB.run, out=str(out), name=name)
    with folder.claim(run, config) as claimed:
        cache = out / "cache" / "jaxpsn" / "bases"
        with setup.reasoner(config, 0, 3, cache, quiet, quiet, sinks.RowLog) as program:
            first(program, claimed.path, quiet)
            outcome = loop.train(program, run, claimed)
            setup.judge_trained(program, outcome.state, claimed.path, quiet)
            setup.export(program, outcome.state, claimed.path / stages.MODEL)
    return claimed.path


def main(*flags):
    return startup.main_guard(evaluate.main)([*map(str, flags), "--progress", "none"])


def seen(run):
    return {path: path.stat().st_mtime_ns for path in run.rglob("*")}


def counts(path):
    found = evaluations.read(path)
    return found.ids, found.samples.tolist(), found.correct.tolist(), found.distinct.tolist()


def pass_at(n, c, k):
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def test_a_run_and_its_base_are_judged_as_the_run_did_it_while_it_is_locked(made, tmp_path, capsys):
    before = seen(made)
    with lock.locked(made):
        assert main("--policy", made, "--against", f"{made}:base", *SIZE, "--out", tmp_path) == 0
    assert {
        path for path in seen(made).items() ^ before.items() if path[0].name != lock.LOCK and path[0] != made
    } == set()
    ours, theirs = (tmp_path / "evaluations" / f"run-{name}.json" for name in ("step-000003", "base"))
    assert counts(ours) == counts(made / "evaluations" / "trained.json")
    assert counts(theirs) == counts(made / "evaluations" / "base.json")
    correct = [np.array(counts(path)[2]) for path in (ours, theirs)]
    assert correct[1].sum() > 0 and (correct[0] != correct[1]).any()
    with (tmp_path / "pass_at_k.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["k"]) for row in rows] == [1, 2, 4, 8, 16]
    for row in rows:
        mine, other = (np.mean([pass_at(SAMPLES, c, int(row["k"])) for c in one.tolist()]) for one in correct)
        np.testing.assert_allclose([float(row[name]) for name in ("ours", "theirs")], [mine, other], atol=1e-12)
        assert float(row["difference_low"]) <= mine - other <= float(row["difference_high"])
    content = json.loads((tmp_path / "pass_at_k.json").read_text())
    gained = int(((correct[0] > 0) & (correct[1] == 0)).sum())
    assert len(content["gained"]) == gained and content["ours"]["step"] == 3 and content["theirs"]["step"] == 0
    assert (tmp_path / "pass_at_k.svg").read_text().startswith("<svg ")
    told = capsys.readouterr().out
    assert "run-step-000003 against run-base: 6 problems of modular" in told and "pass@16" in told
    assert f"Solved by run-step-000003 alone: {gained}." in told


def test_an_exported_folder_and_perturbed_weights(made, tmp_path, capsys):
    asked = ("--task", "modular(terms=2)", *SIZE)
    assert main("--policy", made / "model", *asked, "--out", tmp_path) == 0
    assert counts(tmp_path / "evaluations" / "run-model.json") == counts(made / "evaluations" / "trained.json")
    assert "Solved at least once:" in capsys.readouterr().out
    assert main("--policy", f"{made}:3", "--noisy", *SIZE, "--out", tmp_path) == 0
    noisy = tmp_path / "evaluations" / "run-step-000003-noisy.json"
    assert counts(noisy) == counts(made / "evaluations" / "trained-noisy.json")
    assert counts(noisy) != counts(made / "evaluations" / "trained.json")
    assert evaluations.read(noisy).noisy


def test_evaluations_made_before_are_compared_without_sampling(made, tmp_path, capsys):
    files = [made / "evaluations" / f"{name}.json" for name in ("trained", "base")]
    assert main("--policy", files[0], "--against", files[1], "--out", tmp_path) == 0
    assert "run-trained against run-base" in capsys.readouterr().out
    content = json.loads(files[1].read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content | {"problems": content["problems"][1:]}))
    assert main("--policy", files[0], "--against", other, "--out", tmp_path) == 2
    assert main("--policy", made, "--against", other, *SIZE, "--out", tmp_path) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "only in run-trained" in errors[0] and "the 5 of other, of which 5 are among these" in errors[1]


def test_a_base_that_is_not_the_runs_is_refused(made, tmp_path, capsys):
    """By its digest; a run that keeps its base is judged by that one, whatever lies in the cache."""
    copy = shutil.copytree(made, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints"))
    record = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(record | {"base": "0" * 16}))
    assert main("--policy", f"{copy}:base", *SIZE, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "the pre-trained policy that the run started from; the one here is another" in said[0]


def test_a_model_folder_that_changed_is_refused(made, tmp_path):
    folder_ = shutil.copytree(made / "model", tmp_path / "model")
    config = replace(CONFIG, model=str(folder_))
    run = origins.Origin(
        "run", made, 2, replace(JOB, rlvr=config), {}, inputs.hashes(config, progress.Progress().phase)
    )
    one = judging.candidate("run", run, config, None)
    weights = bytearray((folder_ / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder_ / "model.safetensors").write_bytes(weights)
    judging.candidate("run", run, config, None)  # a checkpoint needs none of its weights
    at_base = one._replace(origin=replace(run, kind="base", step=None))
    with pytest.raises(UserError, match=r"model = .*: the folder that .* was made with; changed: model\.safetensors$"):
        judging.weights(at_base, Placement(None), "float32", progress.Progress())
    (folder_ / "alphabet.json").write_text("{}")
    with pytest.raises(UserError, match=r"changed: alphabet\.json$"):
        judging.candidate("run", run, config, None)


@pytest.fixture(scope="module")
def wrong(made, tmp_path_factory):
    """Folders that hold no policy."""
    out = tmp_path_factory.mktemp("wrong")
    record = json.loads((made / "config.json").read_text())
    texts = {
        "control": json.dumps(record | {"config": {"env": {"name": "ant"}, "agent": {}}}),
        "future": json.dumps(record | {"format": 99}),
        "broken": "{",
        "neither": "{}",
        "begun": json.dumps(record),
        "plain": json.dumps(record | {"config": record["config"] | {"noise": {"name": "none", "fields": {}}}}),
    }
    for name, text in texts.items():
        (out / name).mkdir()
        (out / name / "config.json").write_text(text)
    (out / "empty").mkdir()
    (out / "data.jsonl").write_text('{"prompt": "What is the sum?", "answer": "4"}\n')
    return out


MISTAKES = {
    "nothing asked": ((), "policy = None: a run folder"),
    "missing": (("--policy", "{run}x"), "nearest: run"),
    "a control run": (("--policy", "{wrong}/control"), "this one trains no language model"),
    "another format": (("--policy", "{wrong}/future"), "a run folder of format 3; this one has format 99"),
    "no JSON": (("--policy", "{wrong}/broken"), "its config.json: not JSON"),
    "neither": (("--policy", "{wrong}/neither"), "neither a run's nor a model's"),
    "no config": (("--policy", "{wrong}/empty"), "no config.json in it"),
    "no checkpoint yet": (("--policy", "{wrong}/begun"), "checkpoints: no whole checkpoint"),
    "a step that is gone": (("--policy", "{run}", "--step", "1"), "there are: 2, 3"),
    "two steps": (("--policy", "{run}:2", "--step", "2"), "step = 2: not together with"),
    "no such part": (("--policy", "{run}:best"), "run:base or"),
    "a file": (("--policy", "{wrong}/data.jsonl"), "or an evaluation (.json)"),
    "the same twice": (("--policy", "{run}", "--against", "{run}"), "another policy than policy"),
    "samples": (("--policy", "{run}", "--samples", "0"), "samples = 0: a whole number from 1"),
    "a task of other characters": (("--policy", "{run}", "--task", "countdown"), "it knows no"),
    "no such task": (("--policy", "{run}", "--task", "modulr"), "nearest: modular"),
    "data of other characters": (("--policy", "{run}", "--data", "{wrong}/data.jsonl"), "it knows no"),
    "no task": (("--policy", "{run}/model"), "task = None: a task or data"),
    "too long": (("--policy", "{run}", "--max-tokens", "99999"), "model's"),
    "too short": (("--policy", "{run}", "--max-prompt", "2"), "max_prompt = 2: at least"),
    "sigma alone": (("--policy", "{run}", "--sigma", "0.1"), "sigma = 0.1: only together with noisy"),
    "no sigma": (("--policy", "{run}/model", "--task", "modular", "--noisy"), "sigma = None: a number"),
    "no noise": (("--policy", "{wrong}/plain:base", "--noisy"), "noise = none"),
    "into the run": (("--policy", "{run}", "--out", "{run}/more"), "a folder outside the run"),
    "replay of no run": (("--replay", "{run}/model"), "replay = "),
    "replay without a log": (("--replay", "{wrong}/begun"), "nothing to replay"),
    "replay of a step too far": (("--replay", "{run}", "--step", "9"), "which ends with 3"),
    "replay and policy": (("--replay", "{run}", "--policy", "{run}"), "not together with policy"),
    "no such flag": (("--policies", "{run}"), "--policies"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(name, made, wrong, tmp_path, capsys):
    flags, said = MISTAKES[name]
    flags = [flag.format(run=made, wrong=wrong) for flag in flags]
    out = () if "--out" in flags or not flags else ("--out", tmp_path)
    assert main(*flags, *(() if "--samples" in flags else SIZE), *out) == 2
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 1
    assert told.err.startswith("error: ") and said in told.err


def test_the_script_answers_before_jax_is_loaded():
    begun = time.monotonic()
    done = subprocess.run([sys.executable, str(SCRIPT), "--policy", "nowhere"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[0] == "jaxpsn: starting" and "policy = 'nowhere'" in done.stderr
    assert time.monotonic() - begun < 10


def test_a_log_is_verified_and_scored_anew(made, capsys):
    before = seen(made)
    assert main("--replay", made) == 0
    told = capsys.readouterr().out.splitlines()
    assert seen(made) == before
    assert (
        told[0].endswith("steps 1 to 3, 48 answers to problems of modular verified anew")
        and told[-1] == "nothing differs"
    )
    _explained_by_the_noise([line for line in told if "scored anew" in line])
    assert main("--replay", made, "--step", "2") == 0
    assert "1 step not scored" in capsys.readouterr().out


def test_a_run_whose_noise_is_learnt_is_judged_perturbed_and_replayed(made, tmp_path, capsys):
    """With the scales of its checkpoint: of step 1 with those that it began with."""
    at_draws = AlgorithmConfig(estimator="pooled", correction="none", learning_rate=0.1, warmup=0)
    run = _trained(made.parent, "learnt", replace(CONFIG, noise="ivon(per=step, precision=100)", algorithm=at_draws))
    assert main("--policy", run, "--noisy", *SIZE, "--out", tmp_path) == 0
    noisy = counts(tmp_path / "evaluations" / "learnt-step-000003-noisy.json")
    assert noisy == counts(run / "evaluations" / "trained-noisy.json") != counts(run / "evaluations" / "trained.json")
    assert main("--replay", run) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "nothing differs"
    _explained_by_the_noise([line for line in told if "scored anew" in line])


def _explained_by_the_noise(scored):
    assert [line.split(",")[0] for line in scored] == ["step 1", "step 3"]
    for line in scored:
        within, without = (float(line.split(word)[1].split()[0]) for word in ("within ", "without the noise "))
        assert within < 2e-5 and without > 100 * within


def _edited(made, tmp_path, edit):
    """A copy of the run whose log went through ``edit(rows)``."""
    copy = shutil.copytree(made, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluations", "model"))
    rows = [json.loads(line) for line in (copy / "samples.jsonl").read_text().splitlines()]
    lines = [line if isinstance(line, str) else json.dumps(line) + "\n" for line in edit(rows)]
    (copy / "samples.jsonl").write_text("".join(lines))
    return copy


def _change(rows, place, **values):
    rows[place] |= values


def _contents(rows):
    """What the log says of single answers, in a step that cannot be scored and in two that can."""
    _change(rows, 3, log_prob=rows[3]["log_prob"] + 0.01)
    _change(rows, 5, score=1 - rows[5]["score"])
    _change(rows, 9, ended=not rows[9]["ended"])
    _change(rows, 17, problem="modular/x")
    _change(rows, 18, prompt="1")
    _change(rows, 20, text="?", score=0.0)
    _change(rows, 21, length=99)
    return [*rows[:22], "{torn\n", *rows[22:]]


def _groups(rows):
    _change(rows, 2, member=1)
    _change(rows, 35, sigma=rows[35]["sigma"] * 2)
    return rows


def _shapes(rows):
    _change(rows, 1, tokens=[10**6], length=1)
    _change(rows, 20, score=None)
    return rows[:32] + rows[33:]


def _steps(rows):
    return rows[:16] + rows[32:47]


def _end(rows):
    return rows[:32]


FORGERIES = {
    _contents: (
        ("line 4, step 1", "scored anew"), ("line 6, step 1", "verified anew"), ("line 10, step 1", "says otherwise"),
        ("line 18, step 2", "no problem of this run"), ("line 19, step 2", "the prompt is another"),
        ("line 21, step 2", "the text is not that of the tokens"), ("line 22, step 2", "length is 99"),
        ("line 23:", "not valid JSON"),
    ),
    _groups: (("line 3, step 1", "of member 0"), ("line 36, step 3", "sigma is")),
    _shapes: (
        ("line 2, step 1", "tokens that the model has not"), ("line 21:", "score = 'None' cannot be"),
        ("line 2, step 1", "the text is not"), ("line 2, step 1", "says otherwise"),
        ("line 33, step 3", "the step has 15 answers"),
    ),
    _steps: (("line 17:", "step 3 comes after step 1"), ("line 17, step 3", "the step has 15 answers")),
    _end: (("the log ends with step 2", "a checkpoint of step 3"),),
}  # fmt: skip


@pytest.mark.parametrize("edit", FORGERIES)
def test_what_was_changed_in_a_log_is_named(edit, made, tmp_path, capsys):
    assert main("--replay", _edited(made, tmp_path, edit)) == 1
    told = capsys.readouterr().out.splitlines()
    found = [line for line in told if line.startswith("differs: ")]
    for where, what in FORGERIES[edit]:
        assert sum(where in line and what in line for line in found) == 1, (where, what, found)
    assert len(found) == len(FORGERIES[edit]) and told[-1].startswith(f"{len(found)} difference")


def test_a_step_that_is_being_written_is_left_out(made, tmp_path, capsys):
    copy = _edited(made, tmp_path, lambda rows: [*rows[:-3], json.dumps(rows[-3])[:50]])
    shutil.rmtree(copy / "checkpoints")
    assert main("--replay", copy, "--step", "2") == 0
    assert main("--replay", copy, "--step", "3") == 2
    told = capsys.readouterr()
    assert "step 2, 16 answers" in told.out and "step = 3" in told.err


def test_a_run_is_exported_with_adapters(made, tmp_path, capsys):
    before = seen(made)
    assert cli.main(["export", str(made), "--members", "2", "--out", str(tmp_path / "out")]) == 0
    assert seen(made) == before and "member-000 to member-001" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"model", "member-000", "member-001"}
    assert (tmp_path / "out/model/model.safetensors").read_bytes() == (made / "model/model.safetensors").read_bytes()
    told = json.loads((tmp_path / "out/member-001" / peft.CONFIG).read_text())
    assert told["base_model_name_or_path"] == str(tmp_path / "out/model")
    for argv, words in (
        (["export", str(made), "--out", str(tmp_path / "out")], "not there yet"),
        (["export", str(made / "model"), "--out", str(tmp_path / "new")], "a run folder"),
        (["export", str(made), "--members", "-1"], "members = -1"),
        (["export", str(made), "--member", "1"], "see --help"),
    ):
        assert cli.main(argv) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_perturbations_are_judged_one_by_one(made, tmp_path, capsys):
    flags = ("--policy", f"{made}:base", *SIZE, "--out", tmp_path)
    assert main(*flags, "--thickets", "1e-7", "8") == 0
    told = capsys.readouterr().out
    with (tmp_path / "thickets.csv").open() as file:
        control, none, much = list(csv.DictReader(file))
    assert control["structure"] == "clean" and none["structure"].startswith("lowrank")
    assert none["members"] == str(SAMPLES)
    pass_1 = json.loads((tmp_path / "thickets.json").read_text())["pass_1"]
    assert float(none["pass_1"]) == pass_1 and float(none["new"]) == 0, "no noise: the same random numbers and answers"
    assert pass_1 > 0 and float(much["pass_1"]) != pass_1 and "what luck alone does" in told
    assert (tmp_path / "thickets.svg").read_text().startswith("<svg ")
    for more in (("--noisy",), ("--against", made), ("--structures", "densest")):
        assert main(*flags, "--thickets", "0.1", *more) == 2
    assert main(*flags, "--structures", "dense") == 2 and main(*flags, "--thickets", "-1") == 2
