"""The BERT encoder against the torch model of transformers, and the folders it refuses."""

import importlib.util
import json
import math
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from jaxpsn.core import errors
from jaxpsn.lm import bert

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"0123456789+-*/()="]
TEXTS = ["1+2=3", "(4*5)-6", "7", "", "1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0", "x \ud800 1"]
D, F, HEADS, LAYERS, POSITIONS = 32, 64, 4, 3, 24
CONFIG = dict(
    model_type="bert", vocab_size=len(WORDS), hidden_size=D, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
    intermediate_size=F, max_position_embeddings=POSITIONS, type_vocab_size=2, hidden_act="gelu", layer_norm_eps=1e-12,
)  # fmt: skip


def write(folder, prefix="", **changes):
    """A tiny random checkpoint with a tokenizer that adds [CLS] and [SEP]."""
    config = CONFIG | changes
    rng = np.random.default_rng(0)
    tensors = {}
    for table, rows in (("word", config["vocab_size"]), ("position", POSITIONS), ("token_type", 2)):
        tensors[f"embeddings.{table}_embeddings.weight"] = rng.normal(size=(rows, D))
    norms, kernels = ["embeddings.LayerNorm"], {"pooler.dense": (D, D)}
    for at in (f"encoder.layer.{layer}" for layer in range(LAYERS)):
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
        kernels |= {
            f"{at}.attention.{name}": (D, D) for name in ("self.query", "self.key", "self.value", "output.dense")
        }
        kernels |= {f"{at}.intermediate.dense": (F, D), f"{at}.output.dense": (D, F)}
    for name in norms:
        tensors |= {f"{name}.weight": 1 + 0.2 * rng.normal(size=D), f"{name}.bias": 0.2 * rng.normal(size=D)}
    for name, shape in kernels.items():
        tensors |= {f"{name}.weight": 0.3 * rng.normal(size=shape), f"{name}.bias": 0.2 * rng.normal(size=shape[:1])}
    tensors = {prefix + name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Split("", "isolated")])
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    words.save(str(folder / "tokenizer.json"))


ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: max(x, 0.0),
}


def reference(tensors, tokens, activation="gelu"):
    """Hidden states [T, D] of one text, in float64."""
    tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def linear(name, x):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(name, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    tables = [tensors[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")]
    x = norm("embeddings.LayerNorm", tables[0][tokens] + tables[1][: len(tokens)] + tables[2][0])
    for at in (f"encoder.layer.{layer}" for layer in range(LAYERS)):
        q, k, v = (linear(f"{at}.attention.self.{name}", x) for name in ("query", "key", "value"))
        mixed = []
        for part in np.split(np.arange(D), HEADS):
            chance = np.exp(q[:, part] @ k[:, part].T / math.sqrt(len(part)))
            mixed.append(chance / chance.sum(-1, keepdims=True) @ v[:, part])
        mixed = linear(f"{at}.attention.output.dense", np.concatenate(mixed, axis=-1))
        x = norm(f"{at}.attention.output.LayerNorm", x + mixed)
        inner = np.vectorize(ACTIVATIONS[activation])(linear(f"{at}.intermediate.dense", x))
        x = norm(f"{at}.output.LayerNorm", x + linear(f"{at}.output.dense", inner))
    return x


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    write(folder)
    return folder, load_file(folder / "model.safetensors")


def batch():
    """Tokens [5, 24], lengths and the mask of what is text."""
    tokens = np.random.default_rng(0).integers(0, len(WORDS), (5, POSITIONS), dtype=np.int32)
    lengths = np.array([24, 1, 7, 13, 2], np.int32)
    return tokens, lengths, np.arange(POSITIONS) < lengths[:, None]


@pytest.mark.parametrize("activation, prefix", [("gelu", ""), ("gelu_new", "bert."), ("relu", "")])
def test_hidden_states_against_the_reference(tmp_path, activation, prefix):
    write(tmp_path, prefix, hidden_act=activation)
    tensors = {name.removeprefix(prefix): t for name, t in load_file(tmp_path / "model.safetensors").items()}
    config = bert.read_config(tmp_path)
    params = bert.read_params(tmp_path, config)
    tokens, lengths, _ = batch()
    expected = [reference(tensors, row[:n], activation) for row, n in zip(tokens, lengths, strict=True)]
    ours = np.asarray(bert.encode(config, params, jnp.asarray(tokens), jnp.asarray(lengths)))
    for row, n in enumerate(lengths):
        np.testing.assert_allclose(ours[row, :n], expected[row], atol=1e-5)
    pooled = bert.embed(config, params, jnp.asarray(tokens), jnp.asarray(lengths))
    np.testing.assert_allclose(pooled, [hidden.mean(axis=0) for hidden in expected], atol=1e-5)


def test_hidden_states_are_those_of_transformers(checkpoint):
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)}"
        if os.environ.get("JAXPSN_REQUIRE_TORCH") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    import torch
    import transformers

    tokens, lengths, inside = batch()
    with torch.no_grad():
        theirs = transformers.BertModel.from_pretrained(checkpoint[0]).eval()
        attended = torch.tensor(inside.astype(int))
        expected = theirs(torch.tensor(tokens, dtype=torch.long), attention_mask=attended).last_hidden_state.numpy()
    config = bert.read_config(checkpoint[0])
    params = bert.read_params(checkpoint[0], config)
    ours = bert.encode(config, params, jnp.asarray(tokens), jnp.asarray(lengths))
    assert np.abs(np.asarray(ours) - expected)[inside].max() < 1e-5 and np.abs(expected[inside]).max() > 1.0


def test_texts_become_vectors_whatever_their_company(checkpoint):
    folder, tensors = checkpoint
    encode = bert.load(folder)
    together = encode(TEXTS)
    assert together.shape == (len(TEXTS), D) and together.dtype == np.float32 and np.isfinite(together).all()
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(encode([text])[0], vector, atol=2e-6)
    many = encode([TEXTS[0]] * (bert.ROWS + 3))
    np.testing.assert_allclose(many, np.broadcast_to(together[0], (bert.ROWS + 3, D)), atol=2e-6)
    assert encode([]).shape == (0, D)
    ids = np.array([1, *(WORDS.index(c) for c in "1+2=3"), 2])
    np.testing.assert_allclose(together[0], reference(tensors, ids).mean(axis=0), atol=1e-5)


def test_long_texts_are_cut(checkpoint):
    encode = bert.load(checkpoint[0])
    np.testing.assert_allclose(encode(["1" * 22 + "7"]), encode(["1" * 5000]), atol=2e-6)


def test_the_sentence_length_of_the_folder_is_kept_and_cut_texts_are_counted(checkpoint, tmp_path):
    shutil.copytree(checkpoint[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 6, "do_lower_case": false}')
    encode = bert.load(tmp_path)
    found = encode(["1+2+3", "1+2=", "4", "1+2=9999999"])
    assert (encode.read, encode.cut) == (4, 2), "six tokens, two of them special"
    np.testing.assert_array_equal(found[1], found[3])
    assert bert.load(checkpoint[0])(["1+2=9999999"])[0] != pytest.approx(found[3])
    encode(["4", "1+2=9999999"])
    assert (encode.read, encode.cut) == (6, 3)
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": null}')
    whole = bert.load(tmp_path)
    whole(["1+2=9999999", TEXTS[4]])
    assert whole.cut == 0, "the last one has 22 tokens of 24 positions"


@pytest.mark.parametrize(
    "text, says",
    [
        ('{"max_seq_length": 25}', "max_seq_length = 25: a whole number from 1 to 24"),
        ('{"max_seq_length": "6"}', "max_seq_length"),
        ('{"do_lower_case": 1}', "do_lower_case = 1: true or false"),
        ("[6]", "sentence_bert_config.json"),
    ],
)
def test_refuses_a_sentence_length_that_is_none(checkpoint, tmp_path, text, says):
    shutil.copytree(checkpoint[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "sentence_bert_config.json").write_text(text)
    with pytest.raises(errors.UserError) as caught:
        bert.load(tmp_path)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_half_precision_files_are_read(checkpoint, tmp_path):
    folder, _ = checkpoint
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    halved = {name: tensor.astype(jnp.bfloat16) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(halved, tmp_path / "model.safetensors")
    ours, exact = bert.load(tmp_path)(TEXTS), bert.load(folder)(TEXTS)
    assert 1e-5 < np.abs(ours - exact).max() < 0.1 * np.abs(exact).max()


def _spoil_config(**changes):
    def spoil(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def _spoil_tensors(change):
    def spoil(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return spoil


@pytest.mark.parametrize(
    "spoil, says",
    [
        (_spoil_config(model_type="roberta"), "model_type = 'roberta'"),
        (_spoil_config(model_type="qwen2"), "model_type = 'qwen2'"),
        (_spoil_config(position_embedding_type="relative_key"), "relative_key"),
        (_spoil_config(hidden_act="swish"), "swish"),
        (_spoil_config(is_decoder=True), "is_decoder"),
        (_spoil_config(hidden_size="32"), "hidden_size"),
        (_spoil_config(num_attention_heads=5), "divisor of hidden_size"),
        (_spoil_config(quantization_config={"bits": 4}), "quantization_config"),
        (_spoil_config(vocab_size=30), "shape"),
        (_spoil_tensors(lambda t: t.pop("encoder.layer.2.output.dense.bias")), "missing: encoder.layer.2.output"),
        (_spoil_tensors(lambda t: t.update(extra=np.zeros(2, np.float32))), "not known: extra"),
        (
            _spoil_tensors(lambda t: t["encoder.layer.2.output.dense.bias"].__setitem__(1, np.nan)),
            r"encoder\.layer\.2\.output\.dense\.bias holds values that are not finite",
        ),
        (lambda f: (f / "config.json").unlink(), "config.json"),
        (lambda f: (f / "config.json").write_text("{"), "not JSON"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x10"), "damaged"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "not a tokenizer"),
    ],
)
def test_refuses_other_folders_in_one_line(checkpoint, tmp_path, spoil, says):
    for path in checkpoint[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spoil(tmp_path)
    with pytest.raises(errors.UserError, match=says) as caught:
        bert.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_refuses_a_tokenizer_beyond_the_embedding(tmp_path):
    write(tmp_path, vocab_size=len(WORDS) - 1)
    with pytest.raises(errors.UserError, match="embedding has"):
        bert.load(tmp_path)
