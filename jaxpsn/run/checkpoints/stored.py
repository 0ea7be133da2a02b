"""One checkpoint on the disk: Orbax for the arrays, digests for every file, and the step that it is of.

The folder is prepared under another name (``PARTIAL``) and committed by renaming it. Files that were not written with
it (``.DS_Store``, an editor's backup) are none of it, whatever they are called.
"""

import contextlib
import ctypes
import functools
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from jaxpsn.core import digests
from jaxpsn.core.digests import FILES, Broken
from jaxpsn.run import folder
from jaxpsn.run.checkpoints import pieces

PARTIAL, ASIDE = "saving-", "aside-"
_STEP = re.compile("0|[1-9][0-9]{0,17}")


def _not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname and "orbax" not in record.getMessage()


@functools.cache
def quieten() -> None:
    """Let a failure of Orbax speak once, by its exception; from now on, as its threads may end long after it.

    It also logs the traceback in every thread it passes, leaves failed tasks to asyncio's log, and its file writers
    report to an event loop that is closed by then.
    """
    hook = sys.unraisablehook

    def heard(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            hook(unraisable)

    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_not_orbax)
    sys.unraisablehook = heard


def steps(folder: Path) -> list[int]:
    """Steps of the committed checkpoints in ``folder``, ascending; none if it is not there."""
    try:
        return sorted(int(entry.name) for entry in folder.iterdir() if _STEP.fullmatch(entry.name) and entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def partial(path: Path) -> Path:
    """Where the checkpoint ``path`` is prepared."""
    return path.with_name(PARTIAL + path.name)


def clear(path: Path) -> None:
    """Take what is called so out of the way: a folder, which is left of a save, is deleted, anything else renamed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        rename(path)


def rename(path: Path) -> None:
    """Take what is called so, but is no folder, out of the way; a folder stays, with all that is in it."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        with contextlib.suppress(FileNotFoundError):
            path.rename(free(path.with_name(f"{ASIDE}{path.name}")))


def free(path: Path) -> Path:
    """``path``, or the first of path-1, path-2, ... that is not taken."""
    found, number = path, 0
    while found.exists() or found.is_symlink():
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found


def write(path: Path, arrays: dict[str, np.ndarray], keys: dict[str, str], info: dict[str, Any]) -> None:
    """Write arrays by their names, the kinds of those that are typed keys, and ``info`` as the checkpoint ``path``."""
    described = {
        name: {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": digests.of_array(array)}
        for name, array in arrays.items()
    }
    stored = {name: array for name, array in arrays.items() if array.size}  # Orbax refuses arrays without entries
    quieten()
    clear(partial(path))
    about = {"step": int(path.name), "arrays": described, "keys": keys, "info": info}
    ocp.save(partial(path).absolute(), stored, custom_metadata=about)
    commit(path, digests.of_files(partial(path)))
    _give_back()


def _give_back() -> None:
    """Hand freed memory back to the system: Orbax starts threads for every save, and glibc keeps a heap for each."""
    with contextlib.suppress(OSError, AttributeError):  # another system's C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def commit(path: Path, hashes: dict[str, str]) -> None:
    """Seal what was prepared for ``path``, ``hashes`` being the SHA-256 of its files, and give it its name."""
    with (partial(path) / FILES).open("x") as file:
        json.dump(hashes | {FILES: folder.digest(hashes)}, file)
        file.flush()
        os.fsync(file.fileno())
    partial(path).rename(path)


def record(path: Path) -> dict[str, Any]:
    """The description of a checkpoint, every file of which was found as it was written.

    Raises Broken for one that is not what was saved under this name.
    """
    written = json.loads((path / FILES).read_text())
    seal = written.pop(FILES, None)
    if seal is None:  # of an earlier version: only the names of files can tell whether one is missing in the list
        written |= dict.fromkeys(name for name in digests.of_files(path) if not _stray(name) and name not in written)
    elif seal != folder.digest(written):
        raise Broken(f"{FILES} was altered")
    for name, known in sorted(written.items()):
        if not (path / name).is_file():
            raise Broken(f"{name} is missing")
        if digests.of_file(path / name) != known:
            raise Broken(f"{name} was altered")
    if pieces.WHOLE in written:
        found = pieces.record(path)
    else:
        with _by_itself():
            found = ocp.metadata(path.absolute()).custom_metadata
    if found.get("step", int(path.name)) != int(path.name):
        raise Broken(f"it is the checkpoint of step {found['step']} under another name")
    return found


def _stray(name: str) -> bool:
    """Whether a file is none that Orbax or we would write: hidden, or an editor's backup."""
    last = name.rpartition("/")[2]
    return last.startswith((".", "#", "~")) or last.endswith(("~", "#", ".bak", ".orig", ".tmp", ".swp"))


def _by_itself() -> ocp.Context:
    """Reading needs no other process: each reads for itself, and may find something else."""
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions()
    if jax.process_count() > 1:
        alone = ocp.options.MultiprocessingOptions(own, {own}, f"process{own}")
    return ocp.Context(multiprocessing_options=alone)


def read(path: Path, record: dict[str, Any], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Those arrays of a checkpoint with the description ``record``. Raises Broken if one is not what was saved."""
    described = {name: record["arrays"][name] for name in names}
    blank = {name: np.zeros(entry["shape"], jnp.dtype(entry["dtype"])) for name, entry in described.items()}
    if "processes" in record:
        pieces.read(path, record["processes"], blank)
        return blank
    stored = {name: array for name, array in blank.items() if array.size}
    context = _by_itself()
    context.pytree.loading.partial_load = True
    with context:
        arrays = blank | {name: np.asarray(array) for name, array in ocp.load(path.absolute(), stored).items()}
    for name, entry in described.items():
        if digests.of_array(arrays[name]) != entry["sha256"]:
            raise Broken(f"the content of {name} is not what was saved")
    return arrays
