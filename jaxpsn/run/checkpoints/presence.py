"""Whether a run folder is still where the run began to write it."""

import contextlib
import os
from pathlib import Path

from jaxpsn.core import errors
from jaxpsn.run.checkpoints import layout


class Presence:
    """A folder by what it is, not by its name: another one of that name is not it."""

    def __init__(self, path: Path):
        self.path = path
        self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._identity = self._of(path)

    @staticmethod
    def _of(path: Path) -> tuple[int, int] | None:
        with contextlib.suppress(OSError):
            found = os.stat(path)
            return found.st_dev, found.st_ino
        return None

    def check(self) -> None:
        """Raise UserError if the folder is no longer at its path: deleted, moved, or another in its place."""
        if self._of(self.path) == self._identity:
            return
        there = self._found()
        if there is None:
            left = "is no longer there: it was deleted while the run went on, and with it every state that was saved"
        else:
            saved = layout.steps(there / "checkpoints")
            last = f"go on there with --resume, from checkpoints/{saved[-1]}" if saved else "nothing was saved yet"
            left = f"was moved to {there} while the run went on; {last}"
        raise errors.UserError(f"run folder {self.path} {left}")

    def _found(self) -> Path | None:
        """Where the folder is now; None if it was deleted, or if the system does not tell."""
        with contextlib.suppress(OSError):
            path = Path(os.readlink(f"/proc/self/fd/{self._folder}"))
            if self._of(path) == self._identity:
                return path
        return None

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._folder)
