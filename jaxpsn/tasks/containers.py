"""Files of rows: JSON lines, JSON arrays and Parquet, plain or compressed, in any Unicode; all else is named.

What a file is, its first bytes say, not its name.
"""

import bz2
import codecs
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxpsn.core import errors

LARGEST = 1 << 32
"""Bytes that a compressed file may unpack to."""

Row = tuple[str, dict[str, Any]]
"""Where it stands ("file, line n" or "file, row n"), and the object."""

_PACKED: dict[bytes, tuple[str, Callable[[Any], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda file: gzip.GzipFile(fileobj=file)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
}
_FOREIGN = {
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\x28\xb5\x2f\xfd": "zstandard: unpack it with zstd -d",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"ARROW1": "an Arrow file: write it as JSON lines (datasets: to_json) or Parquet",
    b"\xff\xff\xff\xff": "an Arrow stream: write it as JSON lines (datasets: to_json) or Parquet",
    b"\x89HDF": "an HDF5 file: write it as JSON lines",
    b"Obj\x01": "an Avro file: write it as JSON lines",
    b"FEA1": "a Feather file: write it as JSON lines",
    b"ORC": "an ORC file: write it as JSON lines",
    b"\x80\x04": "a pickle: write it as JSON lines",
    b"\x04\x22\x4d\x18": "lz4: unpack it",
    b"SQLite format 3": "an SQLite database: write it as JSON lines",
    b"\x93NUMPY": "a NumPy array: write it as JSON lines",
    b"%PDF": "a PDF",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: fetch it with git lfs pull",
}
_TEXT = {
    "<": "HTML or XML, a page instead of the file: download the file itself",
    "---": "YAML: write it as JSON lines",
}
_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_WRAPPERS = ("data", "examples", "instances", "questions", "problems", "rows", "train", "test")


def rows(path: Path) -> list[Row]:
    """The rows of a file, in its order.

    One object a line, one array of objects, objects over several lines, or one object whose only list of objects is
    the rows. gzip, bzip2 and xz are unpacked; UTF-8, UTF-16 and UTF-32 are read, with a byte order mark or, for
    UTF-16, without. Parquet needs pyarrow. Raises UserError, naming file and line, for everything else.
    """
    place = path.expanduser()
    if place.exists() and not place.is_file() and not place.is_dir():
        raise errors.UserError(f"{path}: no plain file; it is read more than once")
    try:
        content = place.read_bytes()
    except OSError as error:
        raise errors.UserError(f"{path}: {error.strerror or error}{_hint(path)}") from None
    content = _unpacked(path, content)
    if content[:4] == b"PAR1":
        found = list(_parquet(path, content))
    else:
        _refuse_foreign(path, content)
        found = list(_json(path, content))
    if not found:
        raise errors.UserError(f"{path}: no problems; one JSON object a line is needed")
    return found


def _hint(path: Path) -> str:
    """What a name may have been meant to be."""
    if path.expanduser().exists() or path.is_absolute() or len(path.parts) != 2 or path.suffix:
        return ""
    return "; if it is a data set of the hub, download it and name the file (nothing is downloaded here)"


def _unpacked(path: Path, content: bytes) -> bytes:
    for mark, (name, opened) in _PACKED.items():
        if content.startswith(mark):
            try:
                with opened(io.BytesIO(content)) as file:
                    content = file.read(LARGEST + 1)
            except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
                raise errors.UserError(f"{path}: damaged {name} ({error})") from None
            if len(content) > LARGEST:
                raise errors.UserError(f"{path}: {name} that unpacks to more than {LARGEST >> 30} GiB; unpack it first")
    return content


def _refuse_foreign(path: Path, content: bytes) -> None:
    for mark, says in _FOREIGN.items():
        if content.startswith(mark):
            raise errors.UserError(f"{path}: {says}; JSON lines, a JSON array or Parquet are read")
    if content[257:262] == b"ustar":
        raise errors.UserError(f"{path}: a tar archive: unpack it; JSON lines, a JSON array or Parquet are read")


def _parquet(path: Path, content: bytes) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, BufferReader, parquet
    except ImportError:
        advice = "read where pyarrow is installed (pip install pyarrow), or write it as JSON lines"
        raise errors.UserError(f"{path}: Parquet: {advice} (pandas: to_json(orient='records', lines=True))") from None
    try:
        listed = parquet.read_table(BufferReader(content)).to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        raise errors.UserError(f"{path}: damaged Parquet ({str(error).splitlines()[0][:120]})") from None
    return ((f"{path}, row {number}", row) for number, row in enumerate(listed, 1))


def _json(path: Path, content: bytes) -> Iterator[Row]:
    encoding = _encoding(content)
    if encoding.startswith("utf-8"):
        lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
        text = None
    else:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            raise errors.UserError(f"{path}: not {encoding.upper()} ({error.reason} at byte {error.start})") from None
        lines = [line.encode("utf-8", "surrogatepass") for line in text.split("\n")]
    numbered = [(f"{path}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if numbered:
        whole = _whole(path, b"\n".join(lines), numbered[0][1])
        if whole is not None:
            return iter(whole)
    return ((where, _object(where, line)) for where, line in numbered)


def _encoding(content: bytes) -> str:
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name
    head = content[:2]  # of two bytes a character, one is zero where the text begins with a bracket
    if len(head) == 2 and head.count(0) == 1:
        return "utf-16-le" if head[1] == 0 else "utf-16-be"
    return "utf-8"


def _whole(path: Path, content: bytes, first: bytes) -> list[Row] | None:
    """The rows where the file is no JSON lines: an array, a wrapped one, or objects over several lines; else None."""
    begin = first.lstrip()
    if begin[:1] not in (b"[", b"{"):
        _refuse_text(path, begin)
        return None
    if begin[:1] == b"{" and _parsed(first) is not None and b"\n" in content.strip():
        return None  # a first line that stands for itself: JSON lines
    found = _stream(content)
    if found is None:
        if begin[:1] == b"[" and _parsed(first) is None:
            _refuse_array(path, content)
        return None
    if len(found) == 1 and isinstance(found[0], list):
        # A list without any object is a line of another kind.
        return _listed(path, found[0]) if not found[0] or any(isinstance(one, dict) for one in found[0]) else None
    if len(found) == 1 and isinstance(found[0], dict):
        wrapped = _wrapped(path, found[0])
        if wrapped is not None:
            return wrapped
    if begin[:1] == b"{" and all(isinstance(one, dict) for one in found) and _parsed(first) is None:
        return [(f"{path}, object {number}", one) for number, one in enumerate(found, 1)]
    return None


def _refuse_array(path: Path, content: bytes) -> None:
    """Say where an array that goes over several lines breaks off."""
    try:
        json.loads(content)
    except json.JSONDecodeError as error:
        says = f"not JSON ({error.msg} at column {error.colno})"
        raise errors.UserError(f"{path}, line {error.lineno}: {says}, in a JSON array") from None
    except (ValueError, RecursionError):
        return  # its lines say more


def _listed(path: Path, found: list[Any]) -> list[Row]:
    if found and all(isinstance(one, dict) and isinstance(one.get("row"), dict) for one in found):
        found = [one["row"] for one in found]  # as the hub's viewer gives them out
    for number, one in enumerate(found, 1):
        if not isinstance(one, dict):
            kind = type(one).__name__
            raise errors.UserError(f"{path}, row {number}: {kind} where an object {{...}} is needed, in a JSON array")
    return [(f"{path}, row {number}", one) for number, one in enumerate(found, 1)]


def _wrapped(path: Path, found: dict[str, Any]) -> list[Row] | None:
    """The rows of an object around them; None for an object that is a row itself."""
    lists = {name: one for name, one in found.items() if isinstance(one, list) and one}
    inner = [name for name, one in lists.items() if name in _WRAPPERS and all(isinstance(row, dict) for row in one)]
    if len(inner) == 1:
        return _listed(path, lists[inner[0]])
    if len(inner) > 1:
        raise errors.UserError(f"{path}: several lists of rows ({', '.join(inner)}): write one of them as a JSON array")
    if len(found) > 1 and (_columns(found, list) or _columns(found, dict)):
        advice = "pandas: to_json(orient='records', lines=True)"
        raise errors.UserError(f"{path}: columns, where rows are needed, one JSON object a line ({advice})")
    return None


def _columns(found: dict[str, Any], kind: type) -> bool:
    """Whether each field is a whole column: a list of values, or an object that numbers them from 0."""
    if (
        not all(isinstance(one, kind) and one for one in found.values())
        or len({len(one) for one in found.values()}) > 1
    ):
        return False
    return kind is list or all(list(one) == [str(place) for place in range(len(one))] for one in found.values())


def _refuse_text(path: Path, begin: bytes) -> None:
    """Name a file of text that is not JSON."""
    line = begin.decode("utf-8", "replace").strip()
    for mark, says in _TEXT.items():
        if line.startswith(mark):
            raise errors.UserError(f"{path}: {says}; JSON lines, a JSON array or Parquet are read")
    comma = {".csv": ",", ".tsv": "\t"}.get(path.suffix.casefold())
    names = re.fullmatch(r"[A-Za-z_][\w ]*([,\t][A-Za-z_][\w ]*)+", line)
    if comma or names:
        says = "TSV" if comma == "\t" or (names and "\t" in line) else "CSV"
        advice = "pandas: read_csv and to_json(orient='records', lines=True)"
        raise errors.UserError(f"{path}: {says} (it begins {line[:40]!r}): write it as JSON lines ({advice})")


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _stream(content: bytes) -> list[Any] | None:
    """All JSON values of a text, one after the other; None if it holds anything else."""
    try:
        text, found, place = content.decode(), [], 0
        decoder = json.JSONDecoder()
        while place < len(text):
            if text[place].isspace():
                place += 1
                continue
            value, place = decoder.raw_decode(text, place)
            found.append(value)
    except (ValueError, RecursionError):
        return None
    return found


def _object(where: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise errors.UserError(f"{where}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise errors.UserError(f"{where}: not JSON ({error.msg} at column {error.colno})") from None
    except (RecursionError, ValueError) as error:  # nested too deep; a number of thousands of digits
        raise errors.UserError(f"{where}: not JSON that can be read ({type(error).__name__})") from None
    if not isinstance(row, dict):
        raise errors.UserError(f"{where}: {type(row).__name__} where an object {{...}} is needed, one a line")
    return row
