"""SHA-256 of arrays and files, and what is said of those that are not what was saved."""

import hashlib
from pathlib import Path

import numpy as np


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
