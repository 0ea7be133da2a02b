"""Files of others are read within bounds: their kind, size and depth are told in one line, at once."""

import os
import socket

import pytest

from jaxpsn.core import foreign
from jaxpsn.core.errors import UserError


def refused(path, message, **options):
    with pytest.raises(UserError, match=message) as caught:
        foreign.read_json(path, **options)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_plain_object_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"é": [[1], {"b": "[[[[\\"{{"}]}', encoding="utf-8")
    assert foreign.read_json(path) == {"é": [[1], {"b": '[[[["{{'}]}
    (tmp_path / "link.json").symlink_to(path)
    assert foreign.read_json(tmp_path / "link.json") == foreign.read_json(path)


def test_what_is_no_file_is_named_for_what_it_is(tmp_path, monkeypatch):
    refused(tmp_path / "no.json", "No such file")
    refused(tmp_path, "a folder")
    os.mkfifo(tmp_path / "pipe.json")
    refused(tmp_path / "pipe.json", "a pipe")
    (tmp_path / "to-pipe.json").symlink_to(tmp_path / "pipe.json")
    refused(tmp_path / "to-pipe.json", "a pipe")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    refused(tmp_path / "zero.json", "a device")
    (tmp_path / "lost.json").symlink_to("nowhere")
    refused(tmp_path / "lost.json", "a link to what is not there")
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.json")
        refused(tmp_path / "s.json", "a socket")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "nested more than 100 deep"),
        ('{"a":' * 150_000 + "1" + "}" * 150_000, "nested more than 100 deep"),
        ("[" * 101 + "]" * 101, "nested more than 100 deep"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
        ('["' + '\\"' * 2_000_000 + "[" * 200, "not JSON"),
        ("[]", "not a JSON object"),
        ("", "not JSON"),
        ('{"a": "\\', "not JSON"),
    ],
)
def test_depth_and_numbers_are_bounded(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    refused(tmp_path / "a.json", message)


def test_wide_is_not_deep(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [' + "[]," * 5000 + "[" * 98 + "]" * 98 + "]}")
    assert len(foreign.read_json(tmp_path / "a.json")["a"]) == 5001


def test_size_and_text(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    refused(path, r"1,099,511,627,776 bytes; at most 67,108,864")
    path.write_bytes(b'{"a": "123456"}')
    refused(path, "15 bytes; at most 14", most=14)
    path.write_bytes(b'{"a": "\xff"}')
    refused(path, "not UTF-8 .* at byte 7")


def test_a_value_in_a_message_is_short():
    assert foreign.shown({"a": 1}) == "{'a': 1}" and len(foreign.shown("x" * 10**6)) < 100
