"""Environments of one's own: folders with a Python and the packages that are named, and no others."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxpsn.core import errors
from jaxpsn.run import lock, startup

_READY = "ready"


def python(home: Path, name: str, wanted: Sequence[str]) -> Path:
    """The Python of the environment ``home``, which is made and filled with ``wanted`` if it is not there yet.

    ``wanted`` are the installer's words, ``name`` is what is said to be installed. Raises UserError in one line where
    the installer fails.
    """
    found = home / "bin" / "python"
    if (home / _READY).exists():
        return found
    home.parent.mkdir(parents=True, exist_ok=True)
    with alone(home):
        startup.speak(f"installing {name} into {home}")
        shutil.rmtree(home, ignore_errors=True)
        for command in commands(home, found, wanted):
            _run(name, command)
        (home / _READY).touch()
    return found


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Nobody else is at ``home`` meanwhile: the lock lies beside the folder, which may be made anew."""
    place = home.with_name(f"{home.name}.installing")
    place.mkdir(exist_ok=True)
    with lock.locked(place):
        yield
    shutil.rmtree(place, ignore_errors=True)


def commands(home: Path, found: Path, wanted: Sequence[str]) -> list[list[str]]:
    """What makes the environment: uv where it is at hand, beside this Python or on the path, else venv and pip."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv:
        install = [uv, "pip", "install", "--quiet", "--python", str(found), *wanted]
        return [[uv, "venv", "--quiet", "--python", sys.executable, str(home)], install]
    pip = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    return [[sys.executable, "-m", "venv", str(home)], pip]


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        raise errors.UserError(f"{name} could not be installed: {' '.join(said[-3:])}")
