"""GGUF files: weights, tokens and template as the folder they were made of has them; what is not known is refused."""

import contextlib
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import pre_tokenizers

from jaxpsn.core.errors import UserError
from jaxpsn.lm import model
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.folders import gguf_file, hub, places
from jaxpsn.lm.tokenizer import HubTokenizer
from jaxpsn.rlvr import base as bases
from jaxpsn.run.reasoning import inputs
from tests.lm import oracle

gguf = pytest.importorskip("gguf")

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ["Ġ t", "h e", "Ġt he"]
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
VOCABULARY = [*MARKS, *LETTERS, *(merge.replace(" ", "") for merge in MERGES)]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONFIG = DecoderConfig(len(VOCABULARY), 64, 96, 2, 4, 2, 16, 2.0**-20, tied=True, max_positions=128, family="llama")
"""Its norm's epsilon is a float32, as the file holds it."""
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "model.layers": "blk",
}  # fmt: skip


def interleaved(rows, heads):
    """Rows of a head as the file of a Llama holds them: ``0, h/2, 1, h/2 + 1, ...``."""
    order = np.arange(rows.shape[0]).reshape(heads, 2, -1).transpose(0, 2, 1).reshape(-1)
    return rows[order]


def tensors(config, params):
    """The tensors of ``params`` by their names in a GGUF file."""
    found = {}
    for name, item, leaf, layer in hub._checked(config, params):
        array = hub._tensor(item, np.asarray(leaf), layer)
        heads = {"q_proj": config.num_heads, "k_proj": config.num_kv_heads}.get(name.split(".")[-2])
        array = interleaved(array, heads) if heads and config.family == "llama" else array
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        found[name] = array
    return found


def written(path, config, arrays, kind="F32", entries=None, pre="smollm", marked=3):
    """A file of ``arrays``, matrices of quantised type ``kind``; ``entries`` go before the usual ones."""
    arch = (entries or {}).get("general.architecture", config.family)
    writer = gguf.GGUFWriter(path, arch)
    told = {
        "block_count": config.num_layers, "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size, "attention.head_count": config.num_heads,
        "attention.head_count_kv": config.num_kv_heads, "attention.key_length": config.head_dim,
        "context_length": config.max_positions, "vocab_size": config.vocab_size,
    }  # fmt: skip
    changed = {name: value for name, value in (entries or {}).items() if name != "general.architecture"}
    for name, value in ({f"{arch}.{name}": value for name, value in told.items()} | changed).items():
        if value is not None:
            writer.add_string(name, value) if isinstance(value, str) else writer.add_uint32(name, value)
    writer.add_float32(f"{arch}.attention.layer_norm_rms_epsilon", config.rms_norm_eps)
    writer.add_float32(f"{arch}.rope.freq_base", config.rope.theta)
    if "tokenizer.ggml.model" not in changed:
        writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([marked] * len(MARKS) + [1] * (len(VOCABULARY) - len(MARKS)))
    writer.add_token_merges(MERGES)
    if "tokenizer.ggml.eos_token_id" not in changed:
        writer.add_eos_token_id(2)
    writer.add_bos_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_chat_template(TEMPLATE)
    for name, array in arrays.items():
        of = gguf.GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(name, gguf.quants.quantize(array, of), raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def params():
    return model.init(CONFIG, jax.random.key(3))


@pytest.fixture(scope="module")
def file(tmp_path_factory, params):
    return written(tmp_path_factory.mktemp("gguf") / "small.gguf", CONFIG, tensors(CONFIG, params))


def equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_a_file_is_the_folder_that_it_was_made_of(file, params, tmp_path):
    assert hub.read_config(file) == CONFIG
    found = bases.read(file.parent)  # the only one of its folder
    equal(found.params, params)
    assert found.folder == file and places.name(file) == "small"
    assert found.words.ends == (2,) and found.words.pad == 0
    asked = "<|im_start|>user\nIs the 12?<|im_end|>\n<|im_start|>assistant\n"
    ids = found.words.prompt("Is the 12?")
    assert [VOCABULARY[one] for one in ids].count("Ġthe") == 1 and found.words.encode(asked) == ids
    assert ids[0] == 1 and found.words.decode(ids) == "user\nIs the 12?\nassistant\n"
    bases.save(tmp_path / "export", found, params)
    again = bases.read(tmp_path / "export")
    equal(again.params, params)
    assert again.decoder == CONFIG and again.words.prompt("Is the 12?") == ids and again.words.ends == (2,)
    hashed = inputs._of_folder(file, (inputs.TEXT, inputs.TENSORS), lambda _: contextlib.nullcontext())
    assert list(hashed) == ["small.gguf"]


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0", "F16", "BF16"])
def test_quantised_tensors_are_what_their_blocks_say(tmp_path, params, kind):
    arrays = tensors(CONFIG, params)
    found = hub.load(written(tmp_path / "q.gguf", CONFIG, arrays, kind), dtype="float32")
    of = gguf.GGMLQuantizationType[kind]
    want = gguf.quants.dequantize(gguf.quants.quantize(arrays["blk.1.ffn_up.weight"], of), of)
    np.testing.assert_array_equal(found["layers"]["mlp"]["up"]["kernel"][1], want.T)
    bound = {"Q4_1": 1 / 15, "Q8_0": 1 / 127, "F16": 1e-3, "BF16": 5e-3}[kind]
    for got, given in zip(jax.tree.leaves(found), jax.tree.leaves(params), strict=True):
        assert np.abs(got - given).max() <= bound * np.abs(given).max()


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_other_families_keep_their_rows(tmp_path, family):
    config = replace(CONFIG, family=family, qkv_bias=family == "qwen2", qk_norm=family == "qwen3", tied=False)
    params = model.init(config, jax.random.key(4))
    path = written(tmp_path / "q.gguf", config, tensors(config, params), pre="qwen2")
    assert hub.read_config(path) == config
    equal(hub.load(path), params)


def test_transformers_reads_the_same_from_the_file(file, params):
    library = oracle.needed()
    pytest.importorskip("accelerate")
    text = "Is the 12 = twelve?"
    theirs = library.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    ids = HubTokenizer(file).encode(text)
    assert theirs.encode(text, add_special_tokens=False) == ids
    logits = oracle.logits(file.parent, np.asarray([ids]), gguf_file=file.name)
    tokens, start = jnp.asarray([ids], jnp.int32), jnp.zeros(1, jnp.int32)
    ours = model.logits(CONFIG, params, model.hidden_states(CONFIG, params, tokens, start)[0])
    np.testing.assert_allclose(logits, ours, atol=1e-5)


def refused(path, *parts):
    with pytest.raises(UserError) as caught:
        bases.read(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"general.architecture": "gemma3"}, ["general.architecture = 'gemma3'", "llama, qwen2, qwen3"]),
        ({"llama.expert_count": 8}, ["llama.expert_count = 8", "experts are not computed"]),
        ({"split.count": 3}, ["split.count = 3", "--merge"]),
        ({"llama.rope.dimension_count": 8}, ["llama.rope.dimension_count = 8", "16"]),
        ({"llama.rope.scaling.type": "yarn"}, ["'yarn'", "llama3"]),
        ({"llama.block_count": None}, ["llama.block_count is missing"]),
        ({"llama.attention.head_count": 0}, ["llama.attention.head_count = 0"]),
        ({"tokenizer.ggml.model": "llama"}, ["tokenizer.ggml.model = 'llama'", "gpt2"]),
        ({"tokenizer.ggml.eos_token_id": 9999}, ["eos_token_id = 9999", "an id below 262"]),
        ({"llama.embedding_length": 32}, ["shape", "config.json asks for"]),
    ],
)
def test_entries_that_are_not_computed_are_refused_by_name(tmp_path, params, change, parts):
    refused(written(tmp_path / "m.gguf", CONFIG, tensors(CONFIG, params), entries=change), *parts)


def test_tensors_that_are_missing_or_unknown_are_refused_by_name(tmp_path, params):
    arrays = tensors(CONFIG, params)
    lost = {name: array for name, array in arrays.items() if name != "blk.1.ffn_up.weight"}
    refused(written(tmp_path / "a.gguf", CONFIG, lost), "missing tensors: model.layers.1.mlp.up_proj.weight")
    more = arrays | {"blk.0.ffn_gate_inp.weight": np.ones((4, 64), np.float32)}
    refused(written(tmp_path / "b.gguf", CONFIG, more), "tensors not known: blk.0.ffn_gate_inp.weight")
    scaled = arrays | {"rope_freqs.weight": np.ones(8, np.float32)}
    refused(written(tmp_path / "c.gguf", CONFIG, scaled), "rope_freqs.weight", "not read")
    refused(written(tmp_path / "d.gguf", CONFIG, arrays, pre="deepseek-llm"), "tokenizer.ggml.pre = 'deepseek-llm'")


def test_a_file_that_is_cut_or_is_none_is_one_line(file, tmp_path):
    whole = file.read_bytes()
    for part in (0, 3, 20, 400, 3000, len(whole) - 200):
        path = tmp_path / f"{part}.gguf"
        path.write_bytes(whole[:part])
        refused(path, "damaged or truncated")
    (tmp_path / "text.gguf").write_text("no weights" * 100)
    refused(tmp_path / "text.gguf", "damaged or truncated")
    with pytest.raises(UserError, match="one of its 7 GGUF files"):
        places.find("model", tmp_path)


def test_without_the_package_it_says_what_to_install(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    gguf_file._read.cache_clear()
    refused(file, "jaxpsn[gguf]")
