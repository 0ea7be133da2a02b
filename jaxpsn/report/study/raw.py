"""The raw rows of a study as one compressed file, ``raw.tar.gz``, from which its report can be made again."""

import contextlib
import gzip
import io
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxpsn.core import errors, files

NAME = "raw.tar.gz"
FOLDERS = ("arms", "tasks", "tuning")
"""Folders of a study that hold its runs."""
_READ = ("config.json", "metrics.csv", "events.jsonl", "finished.json", "failed.json", "choice.json")


def pack(folder: str | Path) -> Path:
    """Write what a report reads of the runs of a study to ``raw.tar.gz``; returns its path. The runs stay as they are.

    The same runs give the same bytes. Raises UserError if there are none.
    """
    path = Path(folder)
    found = sorted(file for name in FOLDERS for file in (path / name).rglob("*") if file.is_file() and _is_read(file))
    if not found:
        errors.refuse("study folder", str(folder), "a study with runs to pack")
    target = io.BytesIO()
    with gzip.GzipFile(fileobj=target, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for file in found:
            content = file.read_bytes()
            about = tarfile.TarInfo(file.relative_to(path).as_posix())
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    files.write_atomically(path / NAME, target.getvalue())
    return path / NAME


def _is_read(file: Path) -> bool:
    return file.name in _READ or (file.parent.name == "evaluations" and file.suffix == ".json")


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Path]:
    """Where the runs of a study can be read: its folder, or while it is open a copy of what was packed.

    Raises UserError for a file that cannot be unpacked, or that would lead out of its place.
    """
    if any((folder / name).exists() for name in FOLDERS) or not (folder / NAME).is_file():
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        try:
            with tarfile.open(folder / NAME, "r:gz") as archive:
                archive.extractall(place, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise errors.UserError(f"{folder / NAME}: cannot be unpacked ({error})") from None
        yield Path(place)
