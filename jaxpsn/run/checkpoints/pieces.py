"""Checkpoints that several processes write together: each its own pieces, with their digests.

``part-I.safetensors`` holds the pieces of process I, ``part-I.json`` says where they belong; the latter comes last,
whole, and is what process 0 waits for before it commits. Nothing here needs a collective, so a save goes on beside
training.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import numpy as safetensors
from safetensors import safe_open

from jaxpsn.core import digests, files, placed
from jaxpsn.core.digests import Broken

WHOLE = "pieces.json"
"""What the pieces make: shapes, dtypes, kinds of keys and the caller's information; written by process 0."""
_PAUSE = 0.05  # seconds between looks for what another process writes


class Piece(NamedTuple):
    """A block of an array, from ``start`` on."""

    start: tuple[int, ...]
    data: np.ndarray


Pieces = dict[str, list[Piece]]


def snapshot(arrays: Mapping[str, jax.Array]) -> Pieces:
    """Host copies of what this process answers for; safe from later donation."""
    for leaf in arrays.values():
        leaf.copy_to_host_async()
    return {name: [Piece(*piece) for piece in placed.owned(leaf)] for name, leaf in arrays.items()}


def _part(process: int) -> str:
    return f"part-{process}"


def write(folder: Path, process: int, pieces: Pieces) -> None:
    """Write the pieces of ``process`` into ``folder``, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    file, stored, listed = folder / f"{_part(process)}.safetensors", {}, {}
    for name, own in pieces.items():
        listed[name] = [
            {"start": list(start), "shape": list(data.shape), "sha256": digests.of_array(data)} for start, data in own
        ]
        stored |= {f"{name}@{number}": piece.data for number, piece in enumerate(own)}
    safetensors.save_file(stored, file)
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    told = {"file": digests.of_file(file), "pieces": listed}
    files.write_atomically(folder / f"{_part(process)}.json", json.dumps(told))


def collect(folder: Path, count: int, description: dict[str, Any], stop: threading.Event) -> dict[str, str]:
    """Wait until ``count`` parts are there, write what they make, and return the SHA-256 of every file.

    The big files were hashed by those who wrote them. Raises OSError if ``stop`` is set meanwhile.
    """
    hashes = {}
    for process in range(count):
        told = folder / f"{_part(process)}.json"
        wait(lambda told=told: told.is_file(), stop, f"process {process} wrote no part")
        hashes[f"{_part(process)}.safetensors"] = json.loads(told.read_text())["file"]
        hashes[told.name] = digests.of_file(told)
    files.write_atomically(folder / WHOLE, json.dumps({"processes": count, **description}))
    return hashes | {WHOLE: digests.of_file(folder / WHOLE)}


def wait(there: Callable[[], bool], stop: threading.Event, otherwise: str) -> None:
    """Wait until ``there()``. Raises OSError reading ``otherwise`` if ``stop`` is set before."""
    while not there():
        if stop.wait(_PAUSE):
            raise OSError(otherwise)


def record(folder: Path) -> dict[str, Any]:
    """What :func:`collect` described."""
    return json.loads((folder / WHOLE).read_text())


def read(folder: Path, processes: int, wanted: Mapping[str, np.ndarray]) -> None:
    """Fill the arrays of ``wanted`` from the pieces of ``processes`` parts, however those were cut.

    Raises Broken for a piece that is not what was saved, and for an array that they do not cover.
    """
    found = dict.fromkeys(wanted, 0)
    for process in range(processes):
        listed = json.loads((folder / f"{_part(process)}.json").read_text())["pieces"]
        with safe_open(folder / f"{_part(process)}.safetensors", framework="numpy") as opened:
            for name, number, entry in _of(listed, wanted):
                data = opened.get_tensor(f"{name}@{number}")
                if digests.of_array(data) != entry["sha256"]:
                    raise Broken(f"the content of {name} is not what was saved")
                ends = zip(entry["start"], entry["shape"], strict=True)
                wanted[name][tuple(slice(start, start + size) for start, size in ends)] = data
                found[name] += data.size
    for name, array in wanted.items():
        if found[name] != array.size:
            raise Broken(f"{name} is not whole")


def _of(listed: Mapping[str, list[Any]], names: Iterable[str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for name in names:
        for number, entry in enumerate(listed.get(name, [])):
            yield name, number, entry
