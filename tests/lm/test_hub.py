"""Hugging Face folders: both spellings of the config, strict tensors, slices, and export that is whole or absent."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxpsn.core.errors import UserError
from jaxpsn.lm import model
from jaxpsn.lm.config import DecoderConfig, LinearScaling, Llama3Scaling, Rope, tiny
from jaxpsn.lm.folders import hf_tensors, hub
from tests.lm.oracle import GOLDEN

# The files of published checkpoints, as far as they matter: transformers 4 wrote them.
QWEN_MATH = {
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643,
    "hidden_act": "silu", "hidden_size": 3584, "initializer_range": 0.02, "intermediate_size": 18944,
    "max_position_embeddings": 4096, "max_window_layers": 28, "model_type": "qwen2", "num_attention_heads": 28,
    "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 10000,
    "sliding_window": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.44.0",
    "use_cache": True, "use_mrope": False, "use_sliding_window": False, "vocab_size": 152064,
}  # fmt: skip
LLAMA_32 = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048,
    "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "llama",
    "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1,
    "rms_norm_eps": 1e-05, "rope_scaling": {
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    }, "rope_theta": 500000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "vocab_size": 128256,
}  # fmt: skip


def _described(tmp_path, raw):
    (tmp_path / "config.json").write_text(json.dumps(raw))
    return tmp_path


def _refused(call, *parts):
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_published_configs_are_read(tmp_path):
    found = hub.read_config(_described(tmp_path, QWEN_MATH))
    assert found == DecoderConfig(
        152064, 3584, 18944, 28, 28, 4, 128, qkv_bias=True, max_positions=4096, family="qwen2"
    )  # fmt: skip
    assert abs(found.parameters / 7.6e9 - 1) < 0.01
    found = hub.read_config(_described(tmp_path, LLAMA_32))
    assert found.rope == Rope(5e5, Llama3Scaling(32.0, 1.0, 4.0, 8192)) and found.tied
    assert abs(found.parameters / 1.24e9 - 1) < 0.01


@pytest.mark.parametrize("name", ["qwen2", "llama-scaled", "llama-linear"])
def test_both_spellings_of_rope_are_the_same(tmp_path, name):
    raw = json.loads((GOLDEN / name / "config.json").read_text())
    new = hub.read_config(_described(tmp_path, raw))
    given = raw.pop("rope_parameters")
    raw["rope_theta"] = given.pop("rope_theta")
    raw["rope_scaling"] = None if given["rope_type"] == "default" else given
    assert hub.read_config(_described(tmp_path, raw)) == new
    if name == "llama-linear":
        raw["rope_scaling"] = {"type": "linear", "factor": 4.0}
        assert hub.read_config(_described(tmp_path, raw)).rope.scaling == LinearScaling(4.0) == new.rope.scaling


def test_what_llama_2_leaves_out_has_its_default(tmp_path):
    raw = {
        key: value for key, value in LLAMA_32.items()
        if key not in ("num_key_value_heads", "head_dim", "rope_theta", "rope_scaling", "tie_word_embeddings")
    }  # fmt: skip
    found = hub.read_config(_described(tmp_path, raw))
    assert (found.num_kv_heads, found.head_dim, found.rope, found.tied) == (32, 64, Rope(10_000.0), False)


@pytest.mark.parametrize(
    ("base", "change", "parts"),
    [
        (LLAMA_32, {"model_type": "mistral"}, ["model_type = 'mistral'", "allowed: llama, qwen2, qwen3"]),
        (LLAMA_32, {"model_type": None}, ["model_type = None"]),
        (LLAMA_32, {"architectures": ["LlamaForSequenceClassification"]}, ["architectures"]),
        (LLAMA_32, {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, ["rope_type = 'yarn'", "llama3"]),
        (LLAMA_32, {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, ["rope_type = 'dynamic'"]),
        (LLAMA_32, {"rope_scaling": {"rope_type": "longrope"}}, ["longrope"]),
        (LLAMA_32, {"rope_scaling": {"rope_type": "linear"}}, ["factor = None"]),
        (LLAMA_32, {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "mscale": 1.0}}, ["mscale"]),
        (LLAMA_32, {"rope_scaling": "linear"}, ["rope_scaling = 'linear'"]),
        (LLAMA_32, {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, ["the same as rope_parameters"]),
        (LLAMA_32, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, ["rope_theta", "500000"]),
        (
            LLAMA_32,
            {"rope_scaling": None, "rope_parameters": {"rope_theta": 5e5, "partial_rotary_factor": 0.5}},
            ["0.5"],
        ),
        (LLAMA_32, {"hidden_act": "gelu"}, ["hidden_act = 'gelu'", "silu"]),
        (LLAMA_32, {"quantization_config": {"quant_method": "gptq", "bits": 4}}, ["gptq", "quantised"]),
        (LLAMA_32, {"tie_word_embeddings": "yes"}, ["tie_word_embeddings = 'yes'"]),
        (LLAMA_32, {"vocab_size": -1}, ["vocab_size = -1"]),
        (LLAMA_32, {"hidden_size": None}, ["hidden_size is missing"]),
        (LLAMA_32, {"num_key_value_heads": 5}, ["config.json", "num_kv_heads = 5"]),
        (LLAMA_32, {"head_dim": None, "num_attention_heads": 24}, ["num_attention_heads = 24"]),
        (QWEN_MATH, {"use_sliding_window": True, "max_window_layers": 20}, ["use_sliding_window"]),
        (QWEN_MATH, {"layer_types": ["full_attention", "sliding_attention"]}, ["layer_types"]),
        (QWEN_MATH, {"rms_norm_eps": "small"}, ["rms_norm_eps"]),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path, base, change, parts):
    _refused(lambda: hub.read_config(_described(tmp_path, base | change)), str(tmp_path), *parts)


def test_a_window_that_no_layer_uses_is_none(tmp_path):
    raw = QWEN_MATH | {"use_sliding_window": True, "max_window_layers": 28}
    assert hub.read_config(_described(tmp_path, raw)).num_layers == 28


@pytest.mark.parametrize("text", ["", "[1]", '{"model_type": ', "\x00"])
def test_a_malformed_config_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    _refused(lambda: hub.read_config(tmp_path), "config.json")
    _refused(lambda: hub.read_config(tmp_path / "absent"), "absent", "No such file")


def test_reading_a_config_imports_no_jax():
    code = "import sys; from jaxpsn.lm.folders.hf_config import read_config; read_config(sys.argv[1])"
    code += "; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, GOLDEN / "llama"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- tensors ---


@pytest.fixture
def folder(tmp_path):
    """An untied checkpoint in one file."""
    return shutil.copytree(GOLDEN / "qwen2", tmp_path / "model")


@pytest.fixture
def sharded(tmp_path):
    """The same in several files with an index."""
    config = hub.read_config(GOLDEN / "qwen2")
    hub.save(tmp_path / "sharded", config, hub.load(GOLDEN / "qwen2"), shard_bytes=28_000)
    return tmp_path / "sharded"


def _edited(folder, edit):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def _same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(np.asarray(left), np.asarray(right))


def test_tensors_are_where_they_belong(folder):
    stored, params = load_file(folder / "model.safetensors"), hub.load(folder)
    up = np.asarray(params["layers"]["mlp"]["up"]["kernel"])
    assert up.dtype == jnp.bfloat16 and up.shape == (2, 48, 80)
    np.testing.assert_array_equal(up[1], stored["model.layers.1.mlp.up_proj.weight"].T)
    np.testing.assert_array_equal(np.asarray(params["head"]["kernel"]), stored["lm_head.weight"].T)
    bias = np.asarray(params["layers"]["attention"]["k"]["bias"])
    np.testing.assert_array_equal(bias[0], stored["model.layers.0.self_attn.k_proj.bias"])
    wide = hub.load(folder, dtype=jnp.float32)["layers"]["mlp"]["up"]["kernel"]
    np.testing.assert_array_equal(np.asarray(wide), up.astype(np.float32))


@pytest.mark.parametrize("name", [path.name for path in sorted(GOLDEN.iterdir())])
def test_saving_and_loading_again_changes_nothing(tmp_path, name):
    config, params = hub.read_config(GOLDEN / name), hub.load(GOLDEN / name)
    hub.save(tmp_path / "out", config, params, like=GOLDEN / name)
    assert hub.read_config(tmp_path / "out") == config
    _same(hub.load(tmp_path / "out"), params)
    raw = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (raw["eos_token_id"], raw["torch_dtype"]) == (2, "bfloat16")


def test_files_with_an_index(sharded):
    files = {path.name for path in sharded.iterdir()}
    assert {"model.safetensors.index.json", "model-00001-of-00004.safetensors"} <= files
    assert all(path.stat().st_size < 31_000 for path in sharded.glob("*.safetensors"))
    index = json.loads((sharded / hf_tensors.INDEX).read_text())
    assert index["metadata"]["total_size"] == 2 * hub.read_config(sharded).parameters
    _same(hub.load(sharded), hub.load(GOLDEN / "qwen2"))


def test_a_redundant_tied_head_and_old_frequencies_are_let_be(tmp_path):
    folder = shutil.copytree(GOLDEN / "qwen2-tied", tmp_path / "model")
    before = hub.load(folder)

    def more(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(6, np.float32)

    _edited(folder, more)
    _same(hub.load(folder), before)
    _edited(folder, lambda tensors: tensors["lm_head.weight"].__setitem__((0, 0), 9.0))
    _refused(lambda: hub.load(folder), "lm_head.weight differs", "tie_word_embeddings")


def test_missing_extra_and_misshaped_tensors_are_named(folder):
    config = hub.read_config(folder)
    lost = "model.layers.1.mlp.up_proj.weight"
    _edited(folder, lambda tensors: tensors.pop(lost))
    _refused(lambda: hub.load(folder), "missing tensors", lost)
    _edited(folder, lambda tensors: tensors.update({lost: np.zeros((80, 47), np.float32)}))
    _refused(lambda: hub.load(folder), lost, "(80, 47)", "(80, 48)")
    _edited(folder, lambda tensors: tensors.update({lost: np.zeros((80, 48), np.int8)}))
    _refused(lambda: hub.load(folder), lost, "I8", "BF16")
    _edited(folder, lambda tensors: tensors.update({lost: np.zeros((80, 48), np.float32), "visual.patch": np.zeros(3)}))
    _refused(lambda: hub.load(folder), "not known", "visual.patch")
    _edited(folder, lambda tensors: tensors.pop("visual.patch"))
    _refused(lambda: hub.load(folder), "mixed dtypes", "F32", "BF16")
    assert hub.load(folder, dtype=jnp.bfloat16)["head"]["kernel"].dtype == jnp.bfloat16
    _refused(lambda: hub.load(folder, dtype=jnp.int32), "dtype = 'int32'")
    _refused(lambda: hub.load(folder, replace(config, num_layers=3)), "model.layers.2.", "and 8 more")
    _refused(lambda: hub.load(folder, replace(config, tied=True)), "lm_head.weight")
    _edited(folder, lambda tensors: tensors.pop("lm_head.weight"))
    _refused(lambda: hub.load(folder), "lm_head.weight", "tie_word_embeddings is false")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_told_by_the_tensors_name(folder, value):
    name = "model.layers.1.mlp.down_proj.weight"
    _edited(folder, lambda tensors: tensors[name].__setitem__((3, 5), value))
    for dtype in (None, jnp.float32):
        _refused(lambda dtype=dtype: hub.load(folder, dtype=dtype), f"{name} holds values that are not finite (NaN")


def test_values_beyond_a_dtype_are_told_as_such(folder):
    name = "model.norm.weight"
    _edited(folder, lambda tensors: tensors[name].__setitem__(0, 1e30))
    _refused(lambda: hub.load(folder, dtype=jnp.float16), f"{name} holds values that are not finite as float16")
    hub.load(folder, dtype=jnp.float32)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_finite_is_a_matter_of_bits(kind):
    largest = float(jnp.finfo(kind).max)
    plain = np.linspace(-9, 9, 40).astype(jnp.dtype(kind)).reshape(8, 5)
    plain[2, 2:4] = largest, -largest
    assert hf_tensors.finite(plain) and hf_tensors.finite(plain.T) and hf_tensors.finite(plain[:0])
    for value in (np.nan, -np.nan, np.inf, -np.inf):
        for sign in (-1, 1):
            spoilt = sign * np.abs(plain)
            spoilt[7, 4] = value
            assert not hf_tensors.finite(spoilt)


def test_a_pointer_in_place_of_weights_is_named(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    _refused(lambda: hub.load(folder), "a Git LFS pointer, not the weights: git lfs pull")


def test_damaged_files_are_named(folder, sharded):
    whole = (folder / "model.safetensors").read_bytes()
    for text in (whole[:-100], whole[:20], b"", b"\xff" * 64):
        (folder / "model.safetensors").write_bytes(text)
        _refused(lambda: hub.load(folder), "model.safetensors", "damaged or truncated")
    (folder / "model.safetensors").unlink()
    _refused(lambda: hub.load(folder), "neither model.safetensors nor")
    (folder / "pytorch_model.bin").write_bytes(b"")
    _refused(lambda: hub.load(folder), "pytorch_model.bin", "convert")
    shard = sharded / "model-00002-of-00004.safetensors"
    shard.rename(sharded / "elsewhere")
    _refused(lambda: hub.load(sharded), "index.json", shard.name, "not there")


def test_an_index_that_does_not_fit_its_files_is_refused(sharded):
    path = sharded / hf_tensors.INDEX
    index = json.loads(path.read_text())
    weights = index["weight_map"]

    def check(changed, *parts):
        path.write_text(json.dumps({"weight_map": changed}))
        _refused(lambda: hub.load(sharded), "index.json", *parts)

    other = "model-00004-of-00004.safetensors"
    check(weights | {"model.embed_tokens.weight": other}, "lack", "model.embed_tokens.weight")
    check({name: file for name, file in weights.items() if name != "model.norm.weight"}, "model.norm.weight")
    check(weights | {"model.norm.weight": "../model.safetensors"}, "of this folder")
    check([], "weight_map")
    check(weights | {"model.norm.weight": 3}, "weight_map")


def test_only_what_is_asked_for_is_read(folder, monkeypatch):
    """A slice of a stacked kernel costs the bytes of that slice."""
    checkpoint = hf_tensors.Checkpoint(folder)
    item = hf_tensors.entry("layers/mlp/up/kernel", (2, 48, 80))
    whole = checkpoint.read(item, (slice(None),) * 3, np.float32)
    asked, plain = [], checkpoint.slices

    class Slices:
        def __init__(self, name):
            self.inner = plain(name)

        def __getitem__(self, index):
            found = self.inner[index]
            asked.append(found.shape)
            return found

    monkeypatch.setattr(checkpoint, "slices", Slices)
    part = checkpoint.read(item, (slice(0, 2), slice(12, 24), slice(40, 80)), np.float32)
    np.testing.assert_array_equal(part, whole[:, 12:24, 40:80])
    assert asked == [(40, 12)] * 2


# --- export ---


def test_an_export_takes_the_tokenizer_along_and_overwrites_nothing(tmp_path):
    config = tiny(20, 16, 1, 2)
    params, like = model.init(config, jax.random.key(0)), tmp_path / "like"
    like.mkdir()
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json", "pytorch_model.bin"):
        (like / name).write_text(name)
    hub.save(tmp_path / "out", config, params, like=like)
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == [
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"
    ]  # fmt: skip
    assert len({path.stat().st_mode for path in (tmp_path / "out").iterdir()}) == 1, "readable by whom the rest is"
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    _refused(lambda: hub.save(tmp_path / "out", config, params), "exists already")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    _refused(lambda: hub.save(tmp_path / "new", config, params, like=tmp_path / "no"), "not a folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["like", "out"]


def test_what_transformers_would_not_compute_is_not_exported(tmp_path):
    config = replace(tiny(20, 16, 1, 2), family="llama")
    _refused(lambda: hub.save(tmp_path / "out", config, model.init(config, jax.random.key(0))), "llama", "qk_norm")
    config = tiny(20, 16, 1, 2)
    params = model.init(config, jax.random.key(0))
    _refused(lambda: hub.save(tmp_path / "out", config, params | {"head": {}}), "params")
    wrong = params | {"final_norm": {"scale": jnp.ones(3)}}
    _refused(lambda: hub.save(tmp_path / "out", config, wrong), "model.norm.weight", "(16,)")
    assert not any(tmp_path.iterdir())


def test_a_crash_leaves_no_folder_that_looks_whole(tmp_path, monkeypatch):
    """Killed in the middle there is none; a full disk is one line; the next try succeeds."""
    config = tiny(20, 16, 1, 2)
    params = model.init(config, jax.random.key(0))
    code = textwrap.dedent(
        """
        import os, signal, sys
        import jax, numpy as np
        from jaxpsn.lm import model
        from jaxpsn.lm.folders import hub
        from jaxpsn.lm.config import tiny

        config = tiny(20, 16, 1, 2)
        params = jax.tree.map(lambda shape: np.zeros(shape, np.float32), model.parameter_shapes(config),
                              is_leaf=lambda leaf: isinstance(leaf, tuple))

        def dying(event, args):
            if event == sys.argv[2] and ".partial" in str(args[0]):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(dying)
        hub.save(sys.argv[1], config, params, shard_bytes=3000)
        """
    )
    # At the first file that Python opens (weights are there, the config is not), and just before the move.
    command = [sys.executable, "-c", code, tmp_path / "out"]
    for event in ("open", "os.rename"):
        assert subprocess.run([*command, event], check=False).returncode == -signal.SIGKILL
        assert not (tmp_path / "out").exists()
        assert (tmp_path / ".out.partial" / "config.json").exists() == (event == "os.rename")
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        _refused(lambda: hub.save(tmp_path / "out", config, params), "not written", "No space left")
    assert not any(tmp_path.iterdir())
    hub.save(tmp_path / "out", config, params)
    _same(hub.load(tmp_path / "out"), params)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
