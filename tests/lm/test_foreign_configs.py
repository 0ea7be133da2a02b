"""Configs of others are bounded: sizes, numbers and kinds beyond any decoder or encoder are one line, at once."""

import json
import os

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.lm import bert
from jaxpsn.lm.folders import hf_config
from tests.lm.oracle import GOLDEN

ENCODER = {
    "model_type": "bert", "vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": 32, "type_vocab_size": 2,
}  # fmt: skip
HUGE = 10**400
SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings",
)  # fmt: skip
WRONG = (10**9 * 10, HUGE, -1, 0, 24.0, 1e300, True, "24", [24], {"a": 1}, float("inf"))


def refused(read, folder, raw, key):
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(UserError) as caught:
        read(folder)
    message = str(caught.value)
    assert key in message and "config.json" in message and "\n" not in message and len(message) < 400


def described(name="llama-scaled"):
    return json.loads((GOLDEN / name / "config.json").read_text())


@pytest.mark.parametrize("key", SIZES)
def test_sizes_of_a_decoder(tmp_path, key):
    for value in WRONG:
        refused(hf_config.read_config, tmp_path, described("qwen3") | {key: value}, key)


@pytest.mark.parametrize("key", [key for key in SIZES if key in ENCODER] + ["type_vocab_size"])
def test_sizes_of_an_encoder(tmp_path, key):
    for value in WRONG:
        refused(bert.read_config, tmp_path, ENCODER | {key: value}, key)


@pytest.mark.parametrize("value", [HUGE, -HUGE, float("nan"), float("inf"), 0, -1e-6, "small", True, [1e-6]])
def test_numbers_of_a_decoder(tmp_path, value):
    refused(hf_config.read_config, tmp_path, described() | {"rms_norm_eps": value}, "rms_norm_eps")
    raw = described()
    for key in ("factor", "low_freq_factor", "high_freq_factor", "rope_theta", "original_max_position_embeddings"):
        refused(hf_config.read_config, tmp_path, raw | {"rope_parameters": raw["rope_parameters"] | {key: value}}, key)


@pytest.mark.parametrize(
    "key", ["model_type", "architectures", "hidden_act", "rope_parameters", "tie_word_embeddings", "layer_types"]
)
def test_whatever_stands_there_the_message_is_short(tmp_path, key):
    for value in ("x" * 10**6, list(range(10**5)), {str(one): [[one]] for one in range(10**4)}, HUGE):
        refused(hf_config.read_config, tmp_path, described() | {key: value}, key)


def test_a_config_that_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    for read in (hf_config.read_config, bert.read_config):
        with pytest.raises(UserError, match=r"config\.json: a pipe"):
            read(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"config\.json: a device"):
        hf_config.read_config(tmp_path)
