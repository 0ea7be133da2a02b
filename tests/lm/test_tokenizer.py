"""Tokenizers: round trips, ends from every file, chat templates as published, folders that cannot be used."""

import json
import os
import time

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from jaxpsn.core.errors import UserError
from jaxpsn.lm.tokenizer import CharTokenizer, HubTokenizer, pack

TEXT = "What is 3 + 4? Ünïcode 漢字, tabs\t and\nlines."
# In the manner of Qwen2.5: a default system message, tools, and turns between markers.
QWEN = (
    "{%- if tools %}\n    {{- raise_exception('no tools here') }}\n{%- endif %}\n"
    "{%- if messages[0]['role'] == 'system' %}\n"
    "    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n"
    "{%- else %}\n    {{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}\n{%- endif %}\n"
    "{%- for message in messages %}\n"
    "    {%- if (message.role == 'user') or (message.role == 'system' and not loop.first) %}\n"
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "    {%- endif %}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n"
)
TURNS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# In the manner of Llama 3: first token, date, trimmed content, JSON, a marked answer, `break`.
LLAMA = (
    "{{- bos_token }}{%- set day = strftime_now('%Y') %}{{- 'Year ' + day + ' ' + [1, '<é>'] | tojson }}\n"
    "{%- for message in messages %}{%- if loop.index0 % 2 == 1 %}{%- break %}{%- endif %}\n"
    "{{- '|' + message['content'] | trim + '|' * 2 }}{%- endfor %}{% generation %}ok{% endgeneration %}"
)


def folder(path, *, template=None, config=None, generation=None, own=None, special=("<|end|>", "<|im_end|>")):
    """A byte-level tokenizer without merges, and the small files of a checkpoint beside it."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    built = Tokenizer(models.BPE(vocab={one: place for place, one in enumerate(letters)}, merges=[]))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([AddedToken(one, special=True) for one in ("<|begin|>", "<|im_start|>", *special)])
    built.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 256)])
    built.enable_truncation(5)
    built.enable_padding(length=50)
    path.mkdir(exist_ok=True)
    built.save(str(path / "tokenizer.json"))
    files = {"config.json": config, "generation_config.json": generation, "tokenizer_config.json": own}
    if template is not None:
        files["tokenizer_config.json"] = (own or {}) | {"chat_template": template}
    for name, table in files.items():
        if table is not None:
            (path / name).write_text(json.dumps(table))
    return path


ENDS = {"eos_token_id": 258}


def test_characters_round_trip_and_skip_what_is_no_text():
    letters = CharTokenizer("0123+= ")
    ids = letters.encode("1+2 =3")
    assert letters.vocab_size == 9 and letters.pad == 0 and letters.ends == (1,)
    assert ids == letters.prompt("1+2 =3") and min(ids) >= 2 and max(ids) < letters.vocab_size
    assert letters.decode([0, *ids, 1, 0, 99]) == "1+2 =3"
    assert letters.decode([ids[0], 1, ids[1]]) == "1+"


@pytest.mark.parametrize("alphabet", ["", "aba"])
def test_alphabets_are_checked(alphabet):
    with pytest.raises(UserError, match="alphabet"):
        CharTokenizer(alphabet)


def test_a_character_outside_the_alphabet_is_named():
    with pytest.raises(UserError, match=r"text = 'x'.*'0123'"):
        CharTokenizer("0123").encode("1x")


def test_pack_pads_on_the_left():
    packed = pack([[5, 6], [7] * 17], pad=3)
    assert packed.tokens.shape == (2, 32) and packed.tokens.dtype == np.int32
    assert packed.tokens[0].tolist() == [3] * 30 + [5, 6] and packed.lengths.tolist() == [2, 17]
    assert pack([[5, 6]], length=2).tokens.tolist() == [[5, 6]]


@pytest.mark.parametrize(
    ("lists", "options", "message"),
    [
        ([], {}, "prompts"),
        ([[1], []], {}, r"prompts\[1\]"),
        ([[1], [1, 2], [1, 2, 3]], {"length": 2}, r"prompts\[2\] = '3 tokens': at most 2"),
        ([[1], [1, 2, 3]], {"limit": 2}, r"prompts\[1\]"),
    ],
)
def test_pack_refuses(lists, options, message):
    with pytest.raises(UserError, match=message):
        pack(lists, **options)


def test_bytes_round_trip_and_nothing_is_cut_filled_or_added(tmp_path):
    hub = HubTokenizer(folder(tmp_path, config=ENDS))
    ids = hub.encode(TEXT)
    assert len(ids) == len(TEXT.encode()) and hub.decode(ids) == TEXT
    assert hub.vocab_size == 260
    # Special tokens, and the entries of a padded head, are no text; a prompt gets the tokenizer's first token.
    assert hub.decode([256, *ids, 258, 259, 5000]) == TEXT
    assert hub.prompt("hi") == [256, *hub.encode("hi")]


def test_ends_are_gathered_from_every_file_and_pad_may_be_one(tmp_path):
    own = {"eos_token": {"content": "<|im_end|>"}}
    hub = HubTokenizer(folder(tmp_path / "a", config={"eos_token_id": [258, 257]}, generation=ENDS, own=own))
    assert hub.ends == (258, 257, 259) and hub.pad == 258
    hub = HubTokenizer(folder(tmp_path / "b", own=own | {"pad_token": "<|end|>"}))
    assert hub.ends == (259,) and hub.pad == 258
    hub = HubTokenizer(folder(tmp_path / "c", config=ENDS | {"pad_token_id": 256}))
    assert hub.ends == (258,) and hub.pad == 256


def test_chat_templates_render_as_their_authors_meant(tmp_path):
    own = {"bos_token": "<|begin|>", "eos_token": "<|im_end|>"}
    plain = HubTokenizer(folder(tmp_path / "q", template=QWEN, own=own))
    text = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n 2+2? <|im_end|>\n<|im_start|>assistant\n"
    assert plain.prompt(" 2+2? ") == plain.encode(text.format("You help."))
    assert plain.prompt(" 2+2? ")[0] == 257
    told = HubTokenizer(tmp_path / "q", system="Count.")
    assert told.prompt(" 2+2? ") == told.encode(text.format("Count."))
    assert HubTokenizer(tmp_path / "q", template="none").prompt("2") == [256, *plain.encode("2")]
    llama = HubTokenizer(folder(tmp_path / "l", template=LLAMA, own=own))
    year = time.strftime("%Y")
    assert llama.prompt(" hi ") == [256, *llama.encode(f'Year {year} [1, "<é>"]|hi||ok')]


def test_a_template_in_a_file_of_its_own_or_by_name(tmp_path):
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "D{{ messages[0].content }}"}]
    hub = HubTokenizer(folder(tmp_path, template=named, config=ENDS))
    assert hub.decode(hub.prompt("x")) == "Dx"
    (tmp_path / "chat_template.jinja").write_text("F{{ messages[0].content }}")
    hub = HubTokenizer(tmp_path)
    assert hub.decode(hub.prompt("x")) == "Fx"


def test_folders_that_cannot_be_used_are_refused_by_file(tmp_path):
    def refused(message, **options):
        with pytest.raises(UserError, match=message) as caught:
            HubTokenizer(tmp_path, **options)
        assert "\n" not in str(caught.value)

    refused(r"tokenizer\.json: not found")
    folder(tmp_path)
    refused("no end token")
    folder(tmp_path, config={"eos_token_id": 260})
    refused(r"config\.json: eos_token_id = 260")
    folder(tmp_path, config={"eos_token_id": "</s>"})
    refused(r"config\.json: eos_token_id")
    for size in (0, -3, 2.5, True, "many", 10**400):
        folder(tmp_path, config=ENDS | {"vocab_size": size})
        refused(r"config\.json: vocab_size")
    folder(tmp_path, config={"eos_token_id": list(range(100))})
    refused("100 end tokens; at most 64")
    folder(tmp_path, config=ENDS)
    refused(r"config\.json: eos_token_id = 258: an id below 100", vocab_size=100)
    refused("template = 'never'", template="never")
    refused("system = 'be kind'", system="be kind")
    folder(tmp_path, config=ENDS, template=7)
    refused("chat_template is not text")
    folder(tmp_path, config=ENDS, template=[{"name": "rag", "template": ""}])
    refused("named default")
    folder(tmp_path, config=ENDS, own={})
    (tmp_path / "generation_config.json").write_text("{")
    refused(r"generation_config\.json: not JSON")
    (tmp_path / "generation_config.json").unlink()
    for text in ('{"model": 3}', "[" * 200_000, ""):
        (tmp_path / "tokenizer.json").write_text(text)
        refused(r"tokenizer\.json: not a tokenizer")
    for name in ("tokenizer.json", "config.json", "tokenizer_config.json", "generation_config.json"):
        folder(tmp_path, config=ENDS)
        (tmp_path / name).unlink(missing_ok=True)
        os.mkfifo(tmp_path / name)
        refused(rf"{name}: a pipe")
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        refused(rf"{name}: a folder")
        (tmp_path / name).rmdir()


def test_a_tokenizer_that_grows_text_without_bound_is_refused(tmp_path):
    folder(tmp_path, config=ENDS)
    grown = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    grown.normalizer = normalizers.Sequence([normalizers.Replace("a", "aa")] * 40)
    grown.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"tokenizer\.json: its replacements make more than 1000 characters of one"):
        HubTokenizer(tmp_path)


def test_a_tokenizer_larger_than_the_head_is_used_as_far_as_it_goes(tmp_path):
    """Published folders have a padding token, or marks, that the head never learnt."""
    hub = HubTokenizer(folder(tmp_path, config=ENDS | {"vocab_size": 259}, own={"pad_token": "<|im_end|>"}))
    assert hub.vocab_size == 259 and hub.ends == (258,) and hub.pad == 258
    assert hub.decode([*hub.encode("hi"), 259]) == "hi"
    with pytest.raises(UserError, match=r"text = 'a<\|im_end\|>': no <\|im_end\|>: its id is 259, .* 259 entries"):
        hub.prompt("a<|im_end|>")
    with pytest.raises(UserError, match=r"eos_token = '<\|im_end\|>': a token below the 259 .* its id is 259"):
        HubTokenizer(folder(tmp_path, config=ENDS | {"vocab_size": 259}, own={"eos_token": "<|im_end|>"}))
    with pytest.raises(UserError, match=r"no <\|im_start\|>: its id is 257"):  # told when the folder is read
        HubTokenizer(folder(tmp_path, template=QWEN, config={"eos_token_id": 256, "vocab_size": 257}))


def test_further_ends_are_named_tokens(tmp_path):
    folder(tmp_path, config=ENDS)
    assert HubTokenizer(tmp_path).ends == (258,)
    assert HubTokenizer(tmp_path, ends=("<|im_end|>", "<|begin|>", "<|end|>")).ends == (258, 259, 256)
    with pytest.raises(UserError, match=r"template\.ends = '<\|im_stop\|>': unknown; nearest: <\|im_start\|>"):
        HubTokenizer(tmp_path, ends=("<|im_stop|>",))
    with pytest.raises(UserError, match=r"template\.ends = '<\|im_end\|>': a token below the 259"):
        HubTokenizer(tmp_path, ends=("<|im_end|>",), vocab_size=259)


def test_an_answer_does_not_run_on_into_the_next_turn(tmp_path):
    """What a template writes behind an answer ends one, though the folder names another end."""
    hub = HubTokenizer(folder(tmp_path, template=TURNS, config=ENDS))
    assert hub.ends == (258, 259)
    # Of a template that writes no answers it is what ends the question.
    assert HubTokenizer(folder(tmp_path, template=QWEN, config=ENDS)).ends == (258, 259)
    assert HubTokenizer(folder(tmp_path, template="{{ messages[0].content }}<|im_start|>", config=ENDS)).ends == (258,)
    assert HubTokenizer(tmp_path, template="none").ends == (258,)


def test_text_that_is_no_unicode_is_refused(tmp_path):
    with pytest.raises(UserError, match="text"):
        HubTokenizer(folder(tmp_path, config=ENDS)).prompt("a\ud800b")
