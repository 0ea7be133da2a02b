"""One checkpoint on the disk: every process writes the shards that it answers for, the first one commits them.

``shards-I.safetensors`` holds the shards of process I, ``shards-I.json`` says where they belong; the latter comes last,
whole, and is what process 0 waits for. It then writes the manifest (shapes, dtypes, kinds of keys, the caller's
information, SHA-256 of every file and of itself) and renames the folder, which commits it. Nothing here needs a
collective, so a save goes on beside training. Files that were not written with a checkpoint (``.DS_Store``, an
editor's backup) are none of it, whatever they are called.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import numpy as safetensors
from safetensors import safe_open

from jaxpsn.core import digests, files, placed
from jaxpsn.core.digests import Broken
from jaxpsn.run import folder
from jaxpsn.run.checkpoints import layout
from jaxpsn.run.cluster.team import Team

MANIFEST = "checkpoint.json"
_SEAL = "sha256"  # of the rest of the manifest
_PAUSE = 0.05  # seconds between looks for what another process writes


class Shard(NamedTuple):
    """A block of an array, from ``start`` on."""

    start: tuple[int, ...]
    data: np.ndarray


Shards = dict[str, list[Shard]]


def snapshot(arrays: Mapping[str, jax.Array]) -> Shards:
    """Host copies of what this process answers for; safe from later donation."""
    owned = {name: placed.owned(leaf) for name, leaf in arrays.items()}
    for shards in owned.values():
        for _, data in shards:
            data.copy_to_host_async()
    return {
        name: [Shard(start, np.array(data, order="C", copy=True)) for start, data in shards]
        for name, shards in owned.items()
    }


def save(path: Path, team: Team, own: Shards, description: dict[str, Any], stop: threading.Event) -> None:
    """Write the shards of this process; returns when process 0 has seen those of all and committed ``path``.

    Raises OSError if ``stop`` is set meanwhile.
    """
    partial = layout.partial(path)
    layout.rename(partial)  # never cleared: another process may have written its shards by now
    write(partial, team.process, own)
    if not team.first:
        wait(lambda: int(path.name) in layout.steps(path.parent), stop, "process 0 did not commit it")
        return
    hashes = collect(partial, team.count, stop)
    text = json.dumps({"step": int(path.name), "processes": team.count, "files": hashes} | description)
    manifest = json.loads(text)
    files.write_atomically(partial / MANIFEST, json.dumps(manifest | {_SEAL: folder.digest(manifest)}))
    partial.rename(path)


def _names(process: int) -> tuple[str, str]:
    return f"shards-{process}.safetensors", f"shards-{process}.json"


def write(partial: Path, process: int, own: Shards) -> None:
    """Write the shards of ``process`` into the folder ``partial``, which is made if need be."""
    partial.mkdir(parents=True, exist_ok=True)
    file, index = (partial / name for name in _names(process))
    listed = {name: [_entry(shard) for shard in shards] for name, shards in own.items()}
    data = {f"{name}@{number}": shard.data for name, shards in own.items() for number, shard in enumerate(shards)}
    file.touch()
    mode = file.stat().st_mode  # safetensors lets nobody but its writer read
    safetensors.save_file(data, file)
    file.chmod(mode)
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    files.write_atomically(index, json.dumps({"file": digests.of_file(file), "shards": listed}))


def _entry(shard: Shard) -> dict[str, Any]:
    return {"start": list(shard.start), "shape": list(shard.data.shape), "sha256": digests.of_array(shard.data)}


def collect(partial: Path, count: int, stop: threading.Event) -> dict[str, str]:
    """Wait until ``count`` processes have written their shards; SHA-256 of every file.

    The big files were hashed by those who wrote them. Raises OSError if ``stop`` is set meanwhile.
    """
    hashes = {}
    for process in range(count):
        file, name = _names(process)
        index = partial / name
        wait(index.is_file, stop, f"process {process} wrote no shards")
        hashes |= {file: json.loads(index.read_text())["file"], name: digests.of_file(index)}
    return hashes


def wait(there: Callable[[], bool], stop: threading.Event, otherwise: str) -> None:
    """Wait until ``there()``. Raises OSError reading ``otherwise`` if ``stop`` is set before."""
    while not there():
        if stop.wait(_PAUSE):
            raise OSError(otherwise)


def manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, every file of which was found as it was written.

    Raises Broken for one that is not what was saved under this name.
    """
    try:
        found = json.loads((path / MANIFEST).read_text())
    except FileNotFoundError:
        raise Broken(f"{MANIFEST} is missing") from None
    except ValueError:
        found = {}
    if found.pop(_SEAL, None) != folder.digest(found):
        raise Broken(f"{MANIFEST} was altered")
    for name, known in sorted(found["files"].items()):
        if not (path / name).is_file():
            raise Broken(f"{name} is missing")
        if digests.of_file(path / name) != known:
            raise Broken(f"{name} was altered")
    if found["step"] != int(path.name):
        raise Broken(f"it is the checkpoint of step {found['step']} under another name")
    return found


def read(path: Path, manifest: Mapping[str, Any], names: list[str]) -> dict[str, np.ndarray]:
    """Those arrays of a checkpoint with this ``manifest``, however they were cut.

    Raises Broken for a shard that is not what was saved, and for an array that they do not cover.
    """
    described = {name: manifest["arrays"][name] for name in names}
    arrays = {name: np.zeros(entry["shape"], jnp.dtype(entry["dtype"])) for name, entry in described.items()}
    found = dict.fromkeys(arrays, 0)
    for process in range(manifest["processes"]):
        file, index = _names(process)
        listed = json.loads((path / index).read_text())["shards"]
        with safe_open(path / file, framework="numpy") as opened:
            for name, number, entry in ((n, *one) for n in names for one in enumerate(listed.get(n, []))):
                data = opened.get_tensor(f"{name}@{number}")
                if digests.of_array(data) != entry["sha256"]:
                    raise Broken(f"the content of {name} is not what was saved")
                ends = zip(entry["start"], entry["shape"], strict=True)
                arrays[name][tuple(slice(start, start + size) for start, size in ends)] = data
                found[name] += data.size
    for name, array in arrays.items():
        if found[name] != array.size:
            raise Broken(f"{name} is not whole")
    return arrays
