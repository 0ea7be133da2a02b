"""Names in a folder of checkpoints: a committed one is called by its step, one that is being saved is not."""

import contextlib
import re
import shutil
from pathlib import Path

PARTIAL, ASIDE, TRASH = "saving-", "aside-", "deleting-"
_STEP = re.compile("0|[1-9][0-9]{0,17}")


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
