"""Whether a folder's name is free, what a folder holds, and how a new one goes away that came to nothing; no JAX."""

import contextlib
import csv
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from jaxpsn.core import errors, files
from jaxpsn.run import interrupts, started
from jaxpsn.run.lock import LOCK

SCRIPTS = {
    "run of control": "train", "run of reasoning": "reason",
    "study of control": "compare", "study of reasoning": "reason-compare",
}  # fmt: skip
"""The command that goes on with each kind of folder."""


def resumable(path: Path) -> bool:
    """Whether there is something to go on from: a committed checkpoint of a run, or a study, whose parts go on."""
    if (path / "study.json").is_file():
        return True
    with contextlib.suppress(OSError):
        entries = (path / "checkpoints").iterdir()
        return (path / "config.json").is_file() and any(one.name.isdigit() and any(one.iterdir()) for one in entries)
    return False


def refuse_taken(path: Path) -> NoReturn:
    """Say that there is a folder ``path`` already, and what can be done about it."""
    if resumable(path):
        allowed = f"{path} exists; --resume {path} goes on with it, or choose another name"
    elif (path / "config.json").is_file():
        allowed = f"{path} exists, without a checkpoint to go on from; --overwrite begins anew, or choose another name"
    else:
        allowed = f"{path} exists and is no run folder; choose another name"
    errors.refuse("name", path.name, allowed)


def check(run: Any, record: str = "config.json") -> None:
    """Refuse, without making anything, what making the folder of ``run`` (``out``, ``name``, ``overwrite``) would.

    It is asked before the work that comes before the folder; who makes it asks again. Raises UserError.
    """
    out = Path(run.out)
    if run.name is not None and (path := out / run.name).exists():
        if not path.is_dir():
            errors.refuse("name", str(path), "a folder; there is a file of that name")
        if not run.overwrite:
            refuse_taken(path)
        if not (path / record).is_file() and any(entry.name != LOCK for entry in path.iterdir()):
            errors.refuse("overwrite", True, f"{path} was not made here; it is left alone")
        return
    there = next(one for one in (out, *out.absolute().parents) if one.exists())
    if not there.is_dir():
        errors.refuse("out", str(out), f"a folder; {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        errors.refuse("out", run.out, f"a folder that can be written: {there} cannot")


def trained(path: Path) -> bool:
    """Whether a run folder holds what training made: a checkpoint, or a row of metrics after step 0."""
    if resumable(path):
        return True
    with contextlib.suppress(OSError, csv.Error, UnicodeDecodeError), (path / "metrics.csv").open(newline="") as file:
        return any(row.get("step") not in (None, "", "0") for row in csv.DictReader(file))
    return False


def studied(path: Path) -> bool:
    """Whether a study folder holds a file of one of its parts; what only workers say of them (``units/``) is none."""
    return any(one.is_file() and one.parent != path and "units" not in one.relative_to(path).parts[:1]
               for one in path.rglob("*"))  # fmt: skip


@contextlib.contextmanager
def provisional(path: Path, kept: Callable[[Path], bool]) -> Iterator[None]:
    """A folder that was made just now goes away if an error or a signal ends the block before it is ``kept``."""

    made = path.stat()

    def drop() -> None:
        with contextlib.suppress(OSError):
            if os.path.samestat(made, path.stat()) and not kept(path):  # else another took its place meanwhile
                discard(path)

    with interrupts.stage(leave=drop):
        try:
            yield
        except BaseException:
            drop()
            raise


def discard(path: Path) -> None:
    """Delete a folder, under another name first: what still writes into it finds nothing, and nobody a half of it."""
    gone = files.partial(path, ".gone")
    with contextlib.suppress(OSError):
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def kind(path: Path) -> str | None:
    """Which of :data:`SCRIPTS` the folder is for; None if it is none of theirs."""

    def read(name: str) -> dict[str, Any]:
        with contextlib.suppress(OSError, errors.UserError):
            found = files.read_json(path / name)
            return found if isinstance(found, dict) else {}
        return {}

    if study := read("study.json"):
        found = f"study of {study.get('kind', 'control')}"
        return found if found in SCRIPTS else None
    config = read("config.json").get("config")
    if not isinstance(config, dict):
        return None
    if ("explore" in config or "exploration" in config) and "agent" in config:
        return "run of control"
    return "run of reasoning" if "rollout" in config and "algorithm" in config else None


def refuse_other(text: str, wanted: str) -> None:
    """Say what ``--resume text`` should read, if it names a file in a folder, or a folder that another script made.

    ``wanted``: the script's own of :data:`SCRIPTS`. Returns for its own folder, and for what is none of theirs.
    """
    path = Path(text)
    above = [one for one in path.parents if kind(one) is not None] if kind(path) is None and path.exists() else []
    path = above[0] if above else path
    found = kind(path)
    if found is None or (found == wanted and not above):
        return
    right = f"--resume {path}" if found == wanted else f"{started.command(SCRIPTS[found])} --resume {path}"
    errors.refuse("resume", text, f"{'within ' if above else ''}a {found}; go on with: {right}")
