"""Tokenizers and chat templates as transformers 5 itself reads them: the same ids for the same text.

Without transformers these are skipped (and fail where JAXPSN_REQUIRE_TORCH is 1).
"""

import json
from datetime import datetime

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from jaxpsn.core.errors import UserError
from jaxpsn.lm.tokenizer import HubTokenizer
from tests.lm import oracle

TEXTS = (
    "plain text", "<|go|>a<|stop|>b <|stop|> c", "<|pad|><|x|> <|y|>", "<|im_end|>\n<unk><s></s>", "a<think> b</think>",
    "x<|lost|>y", "<|Stop|>",
)  # fmt: skip


def write(path, own=None, more=None, listed=(), **files):
    """A byte-level tokenizer of 256 letters and what ``listed`` adds to its own file."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    built = Tokenizer(models.BPE(vocab={one: place for place, one in enumerate(letters)}, merges=[]))
    built.pre_tokenizer, built.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    built.add_tokens(list(listed))
    path.mkdir(exist_ok=True)
    built.save(str(path / "tokenizer.json"))
    tables = {"tokenizer_config": {"tokenizer_class": "PreTrainedTokenizerFast"} | (own or {})}
    tables |= {"config": {"vocab_size": 300, "eos_token_id": 10, "model_type": "qwen2"}} | files
    for name, table in tables.items():
        (path / f"{name}.json").write_text(json.dumps(table))
    return path


def numbered(*texts, first=256, **flags):
    return {str(first + place): {"content": text, "special": True} | flags for place, text in enumerate(texts)}


FOLDERS = {
    "by number": {"own": {"added_tokens_decoder": numbered("<|go|>", "<|stop|>"), "eos_token": "<|stop|>"}},
    "not special": {"own": {"added_tokens_decoder": numbered("<think>", "</think>", special=False)}},
    "in any order": {
        "own": {"added_tokens_decoder": dict(reversed(numbered("<|x|>", "<|y|>").items())), "pad_token": "<|y|>"}
    },
    "beside those of the file": {
        "listed": [AddedToken("<|go|>", special=True)],
        "own": {"added_tokens_decoder": numbered("<|go|>", "<|stop|>")},
    },
    "stripping": {"own": {"added_tokens_decoder": numbered("<|stop|>", lstrip=True, rstrip=True)}},
    "a word": {"own": {"added_tokens_decoder": numbered("<|x|>", single_word=True)}},
    "by role": {"own": {"pad_token": "<|pad|>", "unk_token": "<unk>", "bos_token": "<s>"}},
    "by role with its flags": {"own": {"pad_token": {"__type": "AddedToken", "content": "<|pad|>", "lstrip": True}}},
    "a role of its own": {"own": {"image_token": "<|x|>", "bos_token": "<s>"}},
    "lists": {"own": {"additional_special_tokens": ["<|x|>", "<|y|>"], "pad_token": "<|pad|>"}},
    "extra": {"own": {"extra_special_tokens": ["<|y|>"], "bos_token": "<s>"}},
    "extra by role": {"own": {"extra_special_tokens": {"image_token": "<|y|>"}, "bos_token": "<s>"}},
    "a map": {"special_tokens_map": {"pad_token": "<|pad|>", "additional_special_tokens": ["<|x|>"]}},
    "a map with flags": {"special_tokens_map": {"unk_token": {"content": "<unk>", "rstrip": True, "normalized": True}}},
    "a map above the config": {"own": {"pad_token": "<|x|>"}, "special_tokens_map": {"pad_token": "<|y|>"}},
    "a map beside numbers": {
        "own": {"added_tokens_decoder": numbered("<|go|>")}, "special_tokens_map": {"pad_token": "<|pad|>"}
    },
    "added": {"added_tokens": {"<|stop|>": 256, "<|go|>": 257}},
    "added and mapped": {
        "added_tokens": {"<|go|>": 257, "<|stop|>": 256},
        "special_tokens_map": {"eos_token": {"content": "<|stop|>"}, "pad_token": "<|pad|>"},
    },
    "added and in the file": {
        "listed": [AddedToken("<|stop|>", special=True)], "added_tokens": {"<|stop|>": 256, "<|go|>": 257}
    },
    "a letter": {"own": {"pad_token": "x"}},
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_tokens_that_stand_in_other_files_alone(tmp_path, name):
    theirs = oracle.needed().PreTrainedTokenizerFast.from_pretrained(write(tmp_path, **FOLDERS[name]))
    ours = HubTokenizer(tmp_path)
    for text in TEXTS:
        ids = theirs(text, add_special_tokens=False).input_ids
        assert ours.encode(text) == ids, text
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert ours.vocab_size == len(theirs)
    if theirs.eos_token is not None:
        assert theirs.eos_token_id in ours.ends
    if theirs.pad_token is not None:
        assert ours.pad == theirs.pad_token_id


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"own": {"eos_token": "<|lost|>"}}, r"eos_token = '<\|lost\|>' has no id"),
        ({"special_tokens_map": {"eos_token": {"content": "<|lost|>"}}}, r"eos_token = '<\|lost\|>' has no id"),
        ({"own": {"added_tokens_decoder": numbered("<|x|>"), "eos_token": "</s>"}}, r"eos_token = '</s>' has no id"),
        ({"own": {"added_tokens_decoder": numbered("<|x|>", first=270)}}, r"config.json: '<\|x\|>' has id 270 there"),
        ({"added_tokens": {"<|x|>": 256, "<|y|>": 258}}, r"added_tokens.json: '<\|y\|>' has id 258 there.* gets 257"),
        ({"added_tokens": {"<|x|>": "many"}}, r"added_tokens.json: 'many' where the id of a token is needed"),
        ({"added_tokens": {"<|x|>": -1}}, r"added_tokens.json: -1 where the id"),
        ({"own": {"added_tokens_decoder": ["<|x|>"]}}, r"added_tokens_decoder = \['<\|x\|>'\]: an object"),
        ({"own": {"added_tokens_decoder": {"256": 3}}}, r"tokenizer_config.json: 3 where a token is needed"),
        ({"own": {"added_tokens_decoder": {"256": {"content": "a", "lstrip": 1}}}}, r"lstrip = 1: true or false"),
        ({"own": {"extra_special_tokens": 5}}, r"5 where a list of tokens is needed"),
    ],
)  # fmt: skip
def test_tokens_without_a_sure_id_are_refused_by_name(tmp_path, files, message):
    with pytest.raises(UserError, match=message) as caught:
        HubTokenizer(write(tmp_path, **files))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


# In the manner of published templates, switches and all.
TEMPLATES = {
    "thinking": (
        "{%- if tools %}{{- raise_exception('no tools') }}{%- endif %}\n"
        "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}\n"
        "{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}"
        "{%- if ns.multi_step_tool and message.role == 'user' and message.content is string and not("
        "message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}"
        "{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}\n"
        "{%- for message in messages %}{%- set content = message.content if message.content is string else '' %}"
        "{%- if message.role == 'assistant' %}{%- set reasoning = '' %}{%- if '</think>' in content %}"
        "{%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
        "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}{%- endif %}"
        "{{- '<|go|>' + message.role + '\\n' + content + '<|stop|>\\n' }}{%- endfor %}\n"
        "{%- if add_generation_prompt %}{{- '<|go|>assistant\\n' }}{%- if "
        "enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
        "{%- endif %}",
        {"enable_thinking": False},
    ),
    "dated": (
        "{{- bos_token }}\n{%- if not date_string is defined %}{%- if strftime_now is defined %}"
        "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
        "{%- endif %}\n{%- if messages[0]['role'] == 'system' %}{%- set said = messages[0]['content']|trim %}"
        "{%- set messages = messages[1:] %}{%- else %}{%- set said = '' %}{%- endif %}"
        "{{- '<|go|>system\\n\\nToday Date: ' ~ date_string ~ '\\n\\n' + said + '<|stop|>' }}"
        "{%- for message in messages %}{%- if not (message.role == 'ipython' or 'tool_calls' in message) %}"
        "{{- '<|go|>' + message['role'] + '\\n\\n'+ message['content'] | trim + '<|stop|>' }}{%- endif %}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|go|>assistant\\n\\n' }}{%- endif %}",
        {"date_string": "1 Jan 2020"},
    ),
    "alternating": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{% if (message['role'] == 'assistant') %}"
        "{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
        "{{ '<|go|>' + role + '\\n' + message['content'] | trim + '<|stop|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|go|>model\\n' }}{% endif %}",
        {},
    ),
    "macros": (
        "{%- macro part(role, text) -%}{%- if caller is defined %}{{ caller() }}{% endif -%}"
        "<|go|>{{ role | upper }}:{{ text | replace('\\n', ' ') | trim }}<|stop|>{%- endmacro -%}\n"
        "{%- for message in messages | selectattr('role', 'in', ['user', 'assistant']) %}"
        "{% call part(message.role, message.content) %}{{ loop.index }}/{{ loop.length }} {% endcall %}{% endfor %}\n"
        "{{ {'a': [1, 2.5, none, true], 'é': '<b>'} | tojson(indent=2) }}{{ '%05.1f|%s' | format(3.14159, 'x') }}"
        "{{ messages | map(attribute='role') | unique | sort | join(',') }}{{ '{:>8}|{}'.format('ab', 3) }}"
        "{{ ['b', 'a'] | sort | first }}{{ messages[-1].content[:3] | indent(2, true) }}{{ 7 // 2 * 1.5 - 3 % 2 }}"
        "{{ effort | default('low') | capitalize }}{% for k, v in {'x': 1}.items() %}{{ k ~ '=' ~ v }}{% endfor %}",
        {"effort": "high"},
    ),
}


class Day(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls):
        return cls(2031, 3, 5, 7, 8, 9)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("switched", [False, True])
def test_prompts_are_those_of_transformers(tmp_path, monkeypatch, name, switched):
    source, given = TEMPLATES[name]
    own = {"added_tokens_decoder": numbered("<|go|>", "<|stop|>", "<s>"), "bos_token": "<s>", "chat_template": source}
    theirs = oracle.needed().PreTrainedTokenizerFast.from_pretrained(write(tmp_path, own=own))
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Day)
    variables = {key: json.dumps(value) for key, value in given.items()} if switched else {}
    clock = f"{Day.now().isoformat()}+00:00" if "strftime_now" in source else None
    ours = HubTokenizer(tmp_path, variables=variables, clock=clock)
    asked = [{"role": "user", "content": " What is 3 + 4?\nTell. "}]
    text = theirs.apply_chat_template(asked, add_generation_prompt=True, tokenize=False, **(given if switched else {}))
    assert ours.prompt(asked[0]["content"]) == theirs(text, add_special_tokens=False).input_ids
    assert theirs.convert_tokens_to_ids("<|stop|>") in ours.ends
