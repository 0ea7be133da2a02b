"""What a run reads from outside its folder: a byte that changes is seen, named, and refused."""

import contextlib
import json
import os
import shutil
from dataclasses import replace

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.rlvr.config import RlvrConfig, RolloutConfig
from jaxpsn.rlvr.exploration.likeness import Bert
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.exploration.rules import Composite
from jaxpsn.run import folder, loop
from jaxpsn.run.config import RunConfig
from jaxpsn.run.jobs import rlvr
from jaxpsn.run.reasoning import inputs

CONFIG = {
    "model_type": "qwen2", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 1, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture
def made(tmp_path):
    """A config that reads a model of two shards, an encoder and two files; nothing of it is ever loaded."""
    for name in ("model", "bert"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(CONFIG))
        (tmp_path / name / "tokenizer.json").write_text("{}")
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    for name in ("model/model-1", "model/model-2", "bert/model"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode() * 100)
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"question": name, "answer": "1"}) + "\n")
    return RlvrConfig(
        model=str(tmp_path / "model"), data=str(tmp_path / "train.jsonl"), test_data=str(tmp_path / "test.jsonl"),
        noise=encoded(str(tmp_path / "bert")),
        rollout=RolloutConfig(max_tokens=8, max_prompt=8),
    )  # fmt: skip


def encoded(folder):
    """Noise whose rule asks an encoder."""
    return Psn(sigma=Composite(similarity=Bert(folder)))


@contextlib.contextmanager
def quiet(label):
    """Nothing is shown."""
    yield


TOUCHED = {
    "train.jsonl": ("data", "it has changed"),
    "test.jsonl": ("test_data", "it has changed"),
    "model/model-2.safetensors": ("model", "changed: model-2.safetensors"),
    "model/tokenizer.json": ("model", "changed: tokenizer.json"),
    "model/chat_template.jinja": ("model", "changed: chat_template.jinja"),
    "bert/model.safetensors": ("noise.sigma.similarity.folder", "changed: model.safetensors"),
}


@pytest.mark.parametrize("name", TOUCHED)
def test_a_byte_that_differs_is_refused_by_file(made, tmp_path, name):
    recorded = json.loads(json.dumps(inputs.hashes(made, quiet)))
    inputs.refuse_changed("runs/x", made, recorded, quiet)
    with (tmp_path / name).open("ab") as file:
        file.write(b" ")
    field, says = TOUCHED[name]
    with pytest.raises(UserError) as caught:
        inputs.refuse_changed("runs/x", made, recorded, quiet)
    assert str(caught.value).startswith(f"{field} = ") and str(caught.value).endswith(says)
    assert "that runs/x was made with" in str(caught.value)
    inputs.refuse_changed("runs/x", made, {}, quiet)  # an older run recorded nothing


def test_a_file_that_does_not_count_may_change(made, tmp_path):
    recorded = inputs.hashes(made, quiet)
    (tmp_path / "model" / "README.md").write_text("new")
    (tmp_path / "model" / ".cache").mkdir()
    inputs.refuse_changed("runs/x", made, recorded, quiet)


def test_a_part_of_a_folder_can_be_compared_alone(made, tmp_path):
    recorded = inputs.hashes(made, quiet)
    (tmp_path / "model" / "model-1.safetensors").write_bytes(b"other")
    inputs.refuse_changed("runs/x", made, recorded, quiet, (inputs.TEXT,))
    with pytest.raises(UserError, match=r"model-1\.safetensors"):
        inputs.refuse_changed("runs/x", made, recorded, quiet, (inputs.TENSORS,))


def test_a_shard_that_is_not_there_is_named(made, tmp_path):
    (tmp_path / "model" / "model-2.safetensors").unlink()
    for make in (lambda path: None, os.mkfifo):
        make(tmp_path / "model" / "model-2.safetensors")
        with pytest.raises(UserError, match=r"model-2\.safetensors: no plain file; it is named as part of .*model$"):
            inputs.hashes(made, quiet)


def test_what_takes_long_is_shown(made, tmp_path):
    with (tmp_path / "model" / "model-1.safetensors").open("wb") as file:
        file.truncate(3 << 27)
    labels = []

    def phase(label):
        labels.append(label)
        return contextlib.nullcontext()

    inputs.hashes(made, phase)
    assert labels == [f"hashing {tmp_path / 'model'} (0.4 GiB)"]


def test_paths_are_worked_out(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    short = replace(made, model="~/model", data="~/train.jsonl", test_data="~/test.jsonl", noise=encoded("~/bert"))
    assert inputs.located(short) == made == inputs.located(made)
    assert inputs.located(RlvrConfig()) == RlvrConfig()


@pytest.fixture
def start(made, tmp_path, monkeypatch):
    """``start(job)`` goes as far as the claimed folder, of which ``tmp_path / "run"`` becomes a copy; no JAX."""

    def stop(program, claimed, team, base):
        if not claimed.resumed:
            shutil.copytree(claimed.path, tmp_path / "run")
        raise UserError(f"reached {claimed.resumed}")

    monkeypatch.setattr(rlvr, "_clocked", lambda config, team: config)
    monkeypatch.setattr(rlvr.stages, "prepared", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(rlvr.stages, "keep_base", stop)
    monkeypatch.setattr(loop, "ready", lambda *_: None)
    return rlvr.run


def test_a_run_records_them_and_goes_on_with_the_same_ones_only(made, tmp_path, start):
    """The record, the refusal, and a config that names another folder."""
    job = rlvr.RlvrJob(made, RunConfig(steps=1, out=str(tmp_path / "runs"), name="x", progress="none"))
    with pytest.raises(UserError, match="reached False"):
        start(job)
    run = tmp_path / "run"
    recorded = folder.read(run)["config"][inputs.HASHES]
    assert set(recorded) == {"data", "test_data", "model", "noise.sigma.similarity.folder"}
    assert len(recorded["model"]) == 5 and all(len(one) == 64 for one in recorded["model"].values())
    again = replace(rlvr.restore(folder.read(run)), run=replace(job.run, name=None, resume=str(run)))
    with pytest.raises(UserError, match="reached True"):
        start(again)
    before = (run / "config.json").read_bytes()
    other = replace(again, rlvr=replace(made, model=str(tmp_path / "bert")))
    with pytest.raises(UserError, match=r"made with another config: model = "):
        start(other)
    (tmp_path / "model" / "model-1.safetensors").write_bytes(b"other")
    with pytest.raises(
        UserError, match=r"^model = .*: the folder that .*run was made with; changed: model-1\.safetensors$"
    ):
        start(again)
    assert (run / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        ({"max_prompt": 64}, "rollout.max_prompt = 64: fewer than the model's 64 positions"),
        ({"max_prompt": 30, "max_tokens": 35}, "rollout.max_tokens = 35: at most 34, with a prompt of 30"),
        ({"max_tokens": 64}, "rollout.max_tokens = 64: at most 63"),
    ],
)
def test_lengths_beyond_the_model_are_refused_before_there_is_a_folder(made, tmp_path, lengths, says):
    config = replace(made, rollout=RolloutConfig(**lengths))
    with pytest.raises(UserError) as caught:
        rlvr.run(rlvr.RlvrJob(config, RunConfig(out=str(tmp_path / "runs"), progress="none")))
    assert says in str(caught.value) and not (tmp_path / "runs").exists()
