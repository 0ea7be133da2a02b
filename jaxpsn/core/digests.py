"""SHA-256 of arrays and files, and what is said of those that are not what was saved."""

import hashlib
from pathlib import Path

import numpy as np

FILES = "files.json"
"""SHA-256 of every other file of a checkpoint; written last, so that no damaged file reaches Orbax unnoticed."""


class Broken(Exception):
    """A checkpoint whose content is not what was saved."""


def of_array(array: np.ndarray) -> str:
    """SHA-256 of an array: type, shape and bytes."""
    sha = hashlib.sha256(f"{array.dtype.name}{array.shape}".encode())
    sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return sha.hexdigest()


def of_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def of_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder`` by its path there, but of ``FILES``."""
    found = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != FILES)
    return {file.relative_to(folder).as_posix(): of_file(file) for file in found}
