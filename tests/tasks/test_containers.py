"""Files of rows in other clothes: arrays, compression, other Unicode, Parquet; and what is named for what it is."""

import bz2
import gzip
import json
import lzma
import os

import pytest

from jaxpsn.core import errors
from jaxpsn.tasks import containers

ROWS = [{"question": "Zwölf \u2212 2?", "answer": "10"}, {"question": "b\nc?", "answer": "x", "n": {"k": [1]}}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


@pytest.fixture
def read(tmp_path):
    """``read(content, name) -> rows`` without their places."""

    def run(content, name="rows.dat"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return [row for _, row in containers.rows(path)]

    return run


FORMS = {
    "lines": LINES,
    "lines of another system": LINES.replace("\n", "\r\n"),
    "an array": json.dumps(ROWS),
    "an array over lines": json.dumps(ROWS, indent=2),
    "objects over lines": "\n".join(json.dumps(row, indent=1) for row in ROWS),
    "an object around them": json.dumps({"version": "1.0", "data": ROWS}),
    "the same over lines": json.dumps({"train": ROWS}, indent=1),
    "as the hub's viewer has them": json.dumps({"features": [], "rows": [{"row_idx": 0, "row": row} for row in ROWS]}),
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_form_in_every_unicode(read, text, encoding):
    assert read(text.encode(encoding)) == ROWS


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_packed_files_are_unpacked_whatever_their_name(read, pack):
    assert read(pack(LINES.encode())) == ROWS == read(pack(json.dumps(ROWS).encode("utf-16")))
    whole = pack(LINES.encode() * 50)
    with pytest.raises(errors.UserError, match=r"damaged (gzip|bzip2|xz)"):
        read(whole[: len(whole) // 2])


def test_places_say_line_or_row(tmp_path):
    for content, places in ((LINES, ["line 1", "line 2"]), (json.dumps(ROWS), ["row 1", "row 2"])):
        (tmp_path / "f").write_text(content)
        assert [where for where, _ in containers.rows(tmp_path / "f")] == [f"{tmp_path / 'f'}, {at}" for at in places]


def test_a_file_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "rows.jsonl").write_text(LINES)
    assert [row for _, row in containers.rows(containers.Path("~/rows.jsonl"))] == ROWS


NAMED = {
    "PK\x03\x04 and so on": "a zip archive: unpack it",
    "ARROW1\0\0": "an Arrow file",
    "SQLite format 3\0": "an SQLite database",
    "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n": "a Git LFS pointer, not the file itself",
    "<!DOCTYPE html>\n<html>": "HTML or XML, a page instead of the file",
    "question,answer\n1+1?,2\n": "CSV (it begins 'question,answer')",
    "question\tanswer\n1+1?\t2\n": "TSV (it begins 'question\\tanswer')",
    "---\nquestion: 1\n": "YAML",
    '{"question": ["a", "b"], "answer": ["c", "d"]}': "columns, where rows are needed",
    '{"question": {"0": "a", "1": "b"}, "answer": {"0": "c", "1": "d"}}': "columns, where rows are needed",
    '{"train": [{"a": 1}], "test": [{"a": 2}]}': "several lists of rows (train, test)",
    '[{"a": 1}, 2]': ", row 2: int where an object {...} is needed, in a JSON array",
    '[\n{"a": 1},\n{"a": 2\n]': ", line 4: not JSON (Expecting ',' delimiter at column 1), in a JSON array",
    "[]": "no problems",
    "\ufeff": "no problems",
}


@pytest.mark.parametrize(("text", "says"), NAMED.items(), ids=range(len(NAMED)))
def test_everything_else_is_named_in_one_line(read, text, says):
    with pytest.raises(errors.UserError) as caught:
        read(text)
    assert says in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.UserError, match="no plain file"):
        containers.rows(tmp_path / "pipe")
    with pytest.raises(errors.UserError, match=r"No such file.*download it and name the file"):
        containers.rows(containers.Path("somebody/a-set-of-problems"))


def test_parquet(read, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    sink = arrow.BufferOutputStream()
    rows = [{"prompt": [{"role": "user", "content": "a?"}], "reward_model": {"ground_truth": "3"}, "n": None}] * 2
    parquet.write_table(arrow.Table.from_pylist(rows), sink)
    content = sink.getvalue().to_pybytes()
    assert read(content) == rows
    with pytest.raises(errors.UserError, match="damaged Parquet"):
        read(content[:60] + b"PAR1")


def test_parquet_without_its_reader(read, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        errors.UserError, match=r"Parquet: read where pyarrow is installed .*, or write it as JSON lines"
    ):
        read(b"PAR1" + bytes(30) + b"PAR1", "train.jsonl")
