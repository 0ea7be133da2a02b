"""The policy that training starts from: pre-trained once and kept whole, or read from a folder."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.lm import config as decoders
from jaxpsn.lm import policies, scoring
from jaxpsn.lm.prompts import Prompts
from jaxpsn.lm.tokenizer import CharTokenizer
from jaxpsn.rlvr import base as bases
from jaxpsn.rlvr import pretrain, setup, words
from jaxpsn.rlvr.config import DecoderSize, PretrainConfig, RlvrConfig
from jaxpsn.tasks.problem import TASKS

TASK = TASKS.get("chain_sum")(terms=2, digits=1)
CONFIG = RlvrConfig(
    task="chain_sum",
    decoder=DecoderSize(hidden_size=16, num_layers=1, num_heads=2),
    pretrain=PretrainConfig(steps=50, batch_size=16, learning_rate=0.03),
)


def silent(step, loss):
    """Nobody listens."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A base that was just trained, the folder it was kept in, and what was told on the way."""
    kept, told = tmp_path_factory.mktemp("cache") / "bases", []
    return bases.pretrained(CONFIG, TASK, kept, lambda *one: told.append(one)), kept, told


@pytest.fixture
def again(trained, tmp_path, monkeypatch):
    """``again(bases) -> (base, trainings)``: asks for the base once more; training gives back what it gave."""
    runs = []

    def run(*_):
        runs.append(1)
        return trained[0].params

    monkeypatch.setattr(pretrain, "run", run)

    def ask(folder, config=CONFIG, task=TASK):
        found = bases.pretrained(config, task, folder, silent)
        return found, len(runs)

    return ask


def copied(kept, tmp_path):
    """The kept base in a folder of its own: the bases, and the base in them."""
    target = tmp_path / "bases"
    (source,) = kept.iterdir()
    target.mkdir()
    (target / source.name).mkdir()
    for file in source.iterdir():
        (target / source.name / file.name).write_bytes(file.read_bytes())
    return target, target / source.name


def test_pre_training_learns_and_tells(trained):
    _, kept, told = trained
    assert [step for step, _ in told] == [20, 40, 50], "whole chunks, told as far as was asked"
    assert told[-1][1] < 0.8 * told[0][1]
    (folder,) = kept.iterdir()
    assert folder.name.startswith("chain_sum-")
    own = {*trained[0].words.files(), "config.json", "model.safetensors", words.ALPHABET, bases.SEAL}
    assert own == {file.name for file in folder.iterdir()}


def test_a_kept_base_is_read_back_bit_for_bit_and_not_trained(small, trained, again):
    base, kept, _ = trained
    found, runs = again(kept)
    assert runs == 0 and small.same(found.params, base.params)
    assert (found.decoder, found.words.alphabet, found.folder) == (base.decoder, TASK.alphabet, None)


def test_training_is_a_function_of_the_config(small, trained):
    """The same weights from the same seed, as a resumed run whose cache is gone relies on."""
    words = CharTokenizer(TASK.alphabet)
    assert small.same(pretrain.run(CONFIG.pretrain, trained[0].decoder, TASK, words, silent), trained[0].params)


def _flip(folder):
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


SPOILT = {
    "a flipped bit": _flip,
    "a truncated file": lambda folder: (folder / "model.safetensors").write_bytes(b"\x00" * 20),
    "no alphabet": lambda folder: (folder / words.ALPHABET).unlink(),
    "no seal": lambda folder: (folder / bases.SEAL).unlink(),
    "half a seal": lambda folder: (folder / bases.SEAL).write_text("{"),
    "a list for a seal": lambda folder: (folder / bases.SEAL).write_text("[]"),
    "one file more": lambda folder: (folder / "model-2.safetensors").write_bytes(b""),
    "nothing at all": lambda folder: [file.unlink() for file in folder.iterdir()],
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_damaged_base_is_trained_again_and_kept(small, trained, again, tmp_path, spoil):
    target, folder = copied(trained[1], tmp_path)
    spoil(folder)
    found, runs = again(target)
    assert runs == 1 and small.same(found.params, trained[0].params)
    found, runs = again(target)
    assert runs == 1 and small.same(found.params, trained[0].params), "it was kept whole this time"
    assert [file.name for file in target.iterdir()] == [folder.name], "nothing is left beside it"


def test_a_cache_that_cannot_be_written_is_no_error(small, trained, again, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "bases"):
        found, _ = again(folder)
        assert small.same(found.params, trained[0].params)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_is_no_error_either(small, trained, again, tmp_path, monkeypatch):
    def fail(folder, *_, **__):
        folder.mkdir()
        (folder / "half").write_text("half")
        raise UserError("No space left on device")

    monkeypatch.setattr(bases.hub, "save", fail)
    found, runs = again(tmp_path / "bases")
    assert runs == 1 and small.same(found.params, trained[0].params)
    assert list((tmp_path / "bases").iterdir()) == []


def test_every_setting_of_the_base_is_in_its_name():
    def name(task=TASK, **changes):
        return bases.digest(dataclasses.replace(CONFIG, **changes), task)

    others = [
        name(decoder=DecoderSize(hidden_size=32, num_layers=1, num_heads=2)),
        name(pretrain=dataclasses.replace(CONFIG.pretrain, steps=60)),
        name(pretrain=dataclasses.replace(CONFIG.pretrain, seed=1)),
        name(task=TASKS.get("chain_sum")(terms=3, digits=1)),
    ]
    assert len({name(), *others}) == 5
    assert name(remat=True) == name(), "what has no part in it does not train it anew"


def test_no_steps_leave_random_weights(small, trained):
    none = dataclasses.replace(CONFIG.pretrain, steps=0)
    params = pretrain.run(none, trained[0].decoder, TASK, CharTokenizer(TASK.alphabet), silent)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, trained[0].params)
    assert not small.same(params, trained[0].params)


def test_lessons_are_solved_problems_of_their_own_split():
    words = CharTokenizer(TASK.alphabet)
    found = pretrain.lessons(TASK, words, 3, 10, 2, 4)
    again = pretrain.lessons(TASK, words, 3, 14, 1, 4)
    np.testing.assert_array_equal(found.answers[1:], again.answers)
    train = {TASK.problem(0, index, "train").prompt for index in range(200)}
    for step in range(2):
        for row in range(4):
            width, length = found.prompt_lengths[step, row], found.answer_lengths[step, row]
            prompt = words.decode(found.prompts[step, row, -width:].tolist())
            problem = TASK.problem(3, 10 + 4 * step + row, "pretrain")
            assert prompt == problem.prompt and prompt not in train
            assert found.answers[step, row, length - 1] == words.ends[0] and not found.answers[step, row, length:].any()
            assert TASK.check(problem, words.decode(found.answers[step, row, :length].tolist()))


def test_the_loss_is_the_mean_over_the_answers_tokens(trained):
    base = trained[0]
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), pretrain.lessons(TASK, base.words, 0, 0, 1, 4))
    value = pretrain.loss(base.decoder, base.params, batch)
    scores = scoring.score(
        base.decoder, policies.Clean(base.params), Prompts(batch.prompts, batch.prompt_lengths), batch.answers[None],
        batch.answer_lengths[None], 1.0,
    )  # fmt: skip
    every = [
        float(scores.log_probs[0, row, place]) for row in range(4) for place in range(int(batch.answer_lengths[row]))
    ]
    assert float(value) == pytest.approx(-np.mean(every), rel=1e-5)


def test_what_is_saved_is_read_back_equal_and_replaces_what_was_there(small, trained, tmp_path):
    base, folder = trained[0], tmp_path / "model"
    bases.save(folder, base, base.params)
    changed = jax.tree.map(lambda leaf: leaf * 2, base.params)
    (folder / "note.txt").write_text("old")
    bases.save(folder, base, changed)
    found = bases.read(folder)
    assert small.same(found.params, changed) and found.words.alphabet == TASK.alphabet and found.folder == folder
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"] and not (folder / "note.txt").exists()
    half = bases.read(folder, dtype="bfloat16")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(half.params)} == {"bfloat16"}
    # A policy read from a folder is saved with its tokens, too.
    bases.save(tmp_path / "next", found, found.params)
    assert small.same(bases.read(tmp_path / "next").params, changed)


def test_a_failed_export_leaves_what_was_there(trained, tmp_path, monkeypatch):
    base, folder = trained[0], tmp_path / "model"
    bases.save(folder, base, base.params)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def fail(*_, **__):
        raise UserError("the disk is full")

    monkeypatch.setattr(bases.hub, "save", fail)
    with pytest.raises(UserError, match="the disk is full"):
        bases.save(folder, base, base.params)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"), ("[]", "not a JSON object"), ("[" * 10**5, "nested more than 100 deep"),
        ('{"alphabet": 3}', "a JSON object with an alphabet"), ('{"letters": "a"}', "a JSON object with an alphabet"),
    ],
)  # fmt: skip
def test_a_broken_alphabet_is_refused_by_name(trained, tmp_path, content, message):
    bases.save(tmp_path / "model", trained[0], trained[0].params)
    (tmp_path / "model" / words.ALPHABET).write_text(content)
    with pytest.raises(UserError, match=rf"alphabet\.json.*{message}"):
        bases.read(tmp_path / "model")


def test_more_tokens_than_the_head_has_are_refused(trained, tmp_path):
    bases.save(tmp_path / "model", trained[0], trained[0].params)
    (tmp_path / "model" / words.ALPHABET).write_text(json.dumps({"alphabet": TASK.alphabet + "xyz"}))
    with pytest.raises(UserError, match=r"model = '18 tokens': at most the head's 15"):
        bases.read(tmp_path / "model")


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(UserError) as caught:
        bases.read(tmp_path / "nowhere")
    assert "nowhere" in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_keeps_the_base_that_it_starts_from(small, trained, tmp_path, monkeypatch):
    """And goes on from it whatever became of the cache; a byte that differs is refused."""
    own, base = tmp_path / "base", trained[0]
    bases.keep(own, base)
    monkeypatch.setattr(pretrain, "run", lambda *_: pytest.fail("it is not trained again"))
    found = setup.policy(CONFIG, TASK, tmp_path / "nowhere", silent, silent, own=own)
    assert small.same(found.params, base.params) and found.folder is None
    bases.keep(own, base._replace(params=jax.tree.map(lambda leaf: leaf * 2, base.params)))
    assert small.same(bases.kept(own).params, base.params), "it is kept once"
    _flip(own)
    with pytest.raises(UserError, match=r"base: not as the run kept it, .*: model\.safetensors$"):
        bases.kept(own)
    (own / bases.SEAL).unlink()
    with pytest.raises(UserError, match=r"base: not as the run kept it, .*: seal\.json$"):
        bases.kept(own)


def test_the_outline_of_a_kept_base_is_its_form(trained, tmp_path):
    base = trained[0]
    bases.save(tmp_path / "model", base, base.params)
    outline, blank = bases.outline(tmp_path / "model"), bases.blank(CONFIG, TASK)
    assert outline.decoder == blank.decoder == base.decoder == decoders.tiny(15, 16, 1, 2)
    assert outline.params is None and blank.params is None
