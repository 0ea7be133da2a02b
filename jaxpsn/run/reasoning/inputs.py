"""What a run reads from outside its folder: where that lies, and its digests, by which a change is seen; no JAX.

A run records the SHA-256 of every file that it reads: problems, the model folder (from which the reference of the KL
is read again at every resume) and the encoder. Hashing reads each file once, some 0.5 to 2 GB a second and core: for
15 GB of weights 10 to 30 s at every start, and less again where the files are still in the memory of the system, as
the weights are read from there right after. Whoever goes on with the run, replays or judges it, compares first.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxpsn.core import errors
from jaxpsn.core.components import replaced, terms_of
from jaxpsn.lm.folders import places
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.exploration.likeness import Bert
from jaxpsn.tasks import files, functions, rewards

HASHES = "hashes"
"""Entry of a run's record: for each field that names a file its SHA-256, for a folder those of its files."""
ENCODER = "noise.sigma.similarity.folder"
"""Field of the sentence encoder."""
TEXT, TENSORS = "text", "tensors"
"""Parts of a folder: what is read beside the weights, and the weights."""
_FILES = ("data", "test_data")
_REWARD = "reward "
_SLOW = 1 << 28  # bytes whose hashing is shown

Hashes = dict[str, Any]
Phase = Callable[[str], AbstractContextManager[None]]
"""``phase(label)``: shows that something is under way."""


def located(config: RlvrConfig) -> RlvrConfig:
    """``config`` with every path worked out: ``~``, and folders as :func:`jaxpsn.lm.folders.places.find` finds them."""
    found = {
        name: os.path.expanduser(path) if name in _FILES else str(places.find(name, path))
        for name, path in named(config).items()
    }
    encoder = found.pop(ENCODER, None)
    if encoder is not None:
        found["noise"] = replaced(config.noise, {ENCODER.removeprefix("noise."): encoder})
    return replace(config, **found)


def named(config: RlvrConfig) -> dict[str, str]:
    """Every file and folder that a config reads, by its field."""
    given = {name: getattr(config, name) for name in ("data", "test_data", "model")}
    if config.probed is not None and isinstance(config.probed.similarity, Bert):
        given[ENCODER] = config.probed.similarity.folder
    return {name: path for name, path in given.items() if path is not None}


def hashes(config: RlvrConfig, phase: Phase) -> Hashes:
    """The digests of all that ``config`` names; what takes long is shown."""
    return {
        name: files.file_hash(path) if name in _FILES else _of_folder(Path(path), (TEXT, TENSORS), phase)
        for name, path in named(config).items()
    } | {name: files.file_hash(path) for name, path in _rewards(config).items()}


def _rewards(config: RlvrConfig) -> dict[str, str]:
    """The files of rewards that are functions, by what they are called in a record."""
    terms = [term for term in terms_of(config.reward) if isinstance(term, rewards.NamedFunction)]
    return {f"{_REWARD}{term.source}": str(functions.file_of(term.source)) for term in terms}


def refuse_other_rewards(run: str, config: RlvrConfig, recorded: Mapping[str, Any]) -> None:
    """Refuse a reward whose file is no longer what the run at ``run`` was made with. Raises UserError."""
    for name, path in _rewards(config).items():
        if name in recorded and files.file_hash(path) != recorded[name]:
            errors.refuse("reward", path, f"the file that {run} was made with; it has changed")


def _of_folder(folder: Path, parts: Iterable[str], phase: Phase) -> dict[str, str]:
    listed = [*(places.text_files(folder) if TEXT in parts else ())]
    listed += places.tensor_files(folder) if TENSORS in parts else []
    for path in listed:
        if not path.is_file():  # one that is named by an index, or a pipe, which would never end
            raise errors.UserError(f"{path}: no plain file; it is named as part of {folder}")
    size = sum(path.stat().st_size for path in listed)
    if size < _SLOW:
        return _digests(listed)
    with phase(f"hashing {folder} ({size / 2**30:.1f} GiB)"):
        return _digests(listed)


def _digests(listed: list[Path]) -> dict[str, str]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return dict(zip((path.name for path in listed), pool.map(files.file_hash, listed), strict=True))


def refuse_changed(
    run: str,
    config: RlvrConfig,
    recorded: Mapping[str, Any],
    phase: Phase,
    parts: Iterable[str] = (TEXT, TENSORS),
    fields: Iterable[str] | None = None,
) -> None:
    """Refuse, in one line, whatever is no longer what the run at ``run`` ``recorded``; all of ``fields`` by default.

    ``parts``: those of folders that are looked at. What an older run did not record passes.
    """
    for name, path in named(config).items():
        was = recorded.get(name)
        if was is None or (fields is not None and name not in fields):
            continue
        if isinstance(was, str):
            if files.file_hash(path) != was:
                errors.refuse(name, path, f"the file that {run} was made with; it has changed")
            continue
        now = _of_folder(Path(path), parts, phase)
        wanted = {file for file in was if (TENSORS if file.endswith(".safetensors") else TEXT) in parts}
        changed = sorted(file for file in wanted.union(now) if now.get(file) != was.get(file))
        if changed:
            more = f" and {len(changed) - 3} more files" if len(changed) > 3 else ""
            errors.refuse(name, path, f"the folder that {run} was made with; changed: {', '.join(changed[:3])}{more}")
