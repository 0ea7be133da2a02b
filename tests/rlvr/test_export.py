"""The exported small decoder is used: transformers writes what our own sampler writes, and stops where it stops."""

import json

import jax
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.lm import policies, sampler
from jaxpsn.lm.decoding import Sampling
from jaxpsn.lm.prompts import pack
from jaxpsn.lm.tokenizer import CharTokenizer, HubTokenizer
from jaxpsn.rlvr import base as bases
from jaxpsn.rlvr import words
from jaxpsn.rlvr.config import DecoderSize, PretrainConfig, RlvrConfig
from jaxpsn.tasks.problem import TASKS
from tests.lm import oracle

TASK = TASKS.get("chain_sum")(terms=2, digits=1)
CONFIG = RlvrConfig(
    task="chain_sum",
    decoder=DecoderSize(hidden_size=16, num_layers=1, num_heads=2),
    pretrain=PretrainConfig(steps=50, batch_size=16, learning_rate=0.03),
)
LIMIT = 12


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A decoder that has learnt to end its answers, and the folder it was written to."""
    home = tmp_path_factory.mktemp("home")
    base = bases.pretrained(CONFIG, TASK, home / "bases", lambda *_: None)
    bases.save(home / "model", base, base.params)
    return base, home / "model"


def greedy(base, prompts):
    """Tokens of the answers, as our own sampler takes the likeliest."""
    packed, sampling = pack([base.words.prompt(text) for text in prompts]), Sampling(LIMIT, base.words.ends)
    rows = np.arange(len(prompts), dtype=np.int32)[None]
    draw = jax.jit(sampler.sample, static_argnums=(0, 6))
    found = draw(base.decoder, policies.Clean(base.params, 1), packed, rows, jax.random.key(0), np.float32(0), sampling)
    return [tokens[:length].tolist() for tokens, length in zip(found.tokens[0], found.lengths[0], strict=True)]


def test_transformers_generates_the_same_tokens_and_text_and_ends(exported):
    base, folder = exported
    library = oracle.needed()
    theirs = library.AutoTokenizer.from_pretrained(folder)
    network = library.AutoModelForCausalLM.from_pretrained(folder)
    prompts = [problem.prompt for problem in TASK.distinct("test", 0, 12)]
    ours, ended = greedy(base, prompts), 0
    for text, want in zip(prompts, ours, strict=True):
        given = theirs(text, return_tensors="pt")
        assert given.input_ids[0].tolist() == base.words.prompt(text)
        # Of a run without end: 60 tokens instead of the sampler's 12.
        found = network.generate(**given, do_sample=False, max_new_tokens=60)[0, given.input_ids.shape[1] :].tolist()
        assert found[: len(want)] == want
        if want[-1] in base.words.ends:
            assert found == want, "it ends where ours does"
            ended += 1
        assert theirs.decode(want, skip_special_tokens=True) == base.words.decode(want)
    assert ended > len(prompts) / 2 and len({tuple(one) for one in ours}) > 2
    # Side by side, prompts filled on the left.
    theirs.padding_side = "left"
    given = theirs(prompts, return_tensors="pt", padding=True)
    found = network.generate(**given, do_sample=False, max_new_tokens=LIMIT)[:, given.input_ids.shape[1] :]
    texts = theirs.batch_decode(found, skip_special_tokens=True)
    assert texts == [base.words.decode(one) for one in ours]


def test_the_folder_names_its_tokens_and_its_end(exported):
    base, folder = exported
    for name in ("config.json", "generation_config.json"):
        raw = json.loads((folder / name).read_text())
        assert (raw["eos_token_id"], raw["pad_token_id"]) == (1, 0)
    read = bases.read(folder).words
    assert isinstance(read, CharTokenizer) and read.alphabet == base.words.alphabet


def test_our_own_reader_of_tokenizer_json_gives_the_same_ids(exported, tmp_path):
    """Whoever copies the folder without the file of ours has the same model."""
    base, folder = exported
    for name in folder.iterdir():
        if name.name != words.ALPHABET:
            (tmp_path / name.name).write_bytes(name.read_bytes())
    read = bases.read(tmp_path).words
    assert isinstance(read, HubTokenizer) and read.clock is None
    assert (read.ends, read.pad, read.vocab_size) == (base.words.ends, base.words.pad, base.words.vocab_size)
    for problem in TASK.distinct("test", 0, 20):
        ids = base.words.prompt(problem.prompt)
        assert read.prompt(problem.prompt) == ids and read.decode([*ids, 1, 0]) == problem.prompt
    with pytest.raises(UserError, match=r"text = '1\+x': text that the tokenizer can write"):
        read.encode("1+x")


def test_every_character_is_a_token_of_its_own(tmp_path):
    letters = CharTokenizer(" \n\té漢😀e\u0301<|pad>0")
    for name, text in letters.files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": letters.vocab_size, "model_type": "qwen3"}))
    text = "0 \n é\te\u0301😀漢 <pad> |  0\n"
    assert HubTokenizer(tmp_path).encode(text) == letters.encode(text)
    assert HubTokenizer(tmp_path).decode(letters.encode(text)) == text
    theirs = oracle.needed().AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text).input_ids == letters.encode(text) and theirs.decode(letters.encode(text)) == text
