"""Environments of the peers: a folder each, with the packages that its pin file names and no others."""

import contextlib
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxpsn.core import errors
from jaxpsn.run import cache, lock, startup

RUNNERS = Path(__file__).with_name("peers_runners")
_READY = "ready"


def pins(peer: str) -> Path:
    """The pin file of a peer, made by ``uv pip compile --universal --python-version 3.11 --no-emit-index-url``."""
    return RUNNERS / f"{peer}.txt"


def python(peer: str, extra: str = "") -> Path:
    """The Python of ``peer``, its packages installed if they are not yet; ``extra``: of jax.

    The folder's name tells the pins and the version of Python, so that either's change makes another. Raises UserError
    in one line where the installer fails.
    """
    wanted = [*pins(peer).read_text(encoding="utf-8").splitlines(), *([f"jax[{extra}]"] if extra else [])]
    text = "\n".join((*wanted, "{}.{}".format(*sys.version_info[:2])))
    home = cache.home() / "peers" / f"{peer}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    found = home / "bin" / "python"
    if (home / _READY).exists():
        return found
    home.parent.mkdir(parents=True, exist_ok=True)
    with _alone(home):
        startup.speak(f"installing {peer} into {home}")
        shutil.rmtree(home, ignore_errors=True)
        for command in _commands(home, found, [str(pins(peer)), *wanted[len(wanted) - bool(extra) :]]):
            _run(peer, command)
        (home / _READY).touch()
    return found


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Nobody else installs meanwhile: the lock lies beside the folder, which is made anew."""
    place = home.with_name(f"{home.name}.installing")
    place.mkdir(exist_ok=True)
    with lock.locked(place):
        yield
    shutil.rmtree(place, ignore_errors=True)


def _commands(home: Path, found: Path, wanted: list[str]) -> list[list[str]]:
    """What makes the environment: uv where it is at hand, beside this Python or on the path, else venv and pip."""
    listed = ["-r", *wanted]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv:
        install = [uv, "pip", "install", "--quiet", "--python", str(found), *listed]
        return [[uv, "venv", "--quiet", "--python", sys.executable, str(home)], install]
    pip = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *listed]
    return [[sys.executable, "-m", "venv", str(home)], pip]


def _run(peer: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        raise errors.UserError(f"{peer} could not be installed: {' '.join(said[-3:])}")
