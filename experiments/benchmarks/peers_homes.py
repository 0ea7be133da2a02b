"""Environments of the peers: a folder each, with the packages that its pin file names and no others."""

import hashlib
import sys
from pathlib import Path

from benchmarks import homes
from jaxpsn.run import cache

RUNNERS = Path(__file__).with_name("peers_runners")


def pins(peer: str) -> Path:
    """The pin file of a peer, made by ``uv pip compile --universal --python-version 3.11 --no-emit-index-url``."""
    return RUNNERS / f"{peer}.txt"


def python(peer: str, extra: str = "") -> Path:
    """The Python of ``peer``, its packages installed if they are not yet; ``extra``: of jax.

    The folder's name tells the pins and the version of Python, so that either's change makes another. Raises UserError
    in one line where the installer fails.
    """
    added = [f"jax[{extra}]"] if extra else []
    listed = pins(peer).read_text(encoding="utf-8").splitlines()
    text = "\n".join((*listed, *added, "{}.{}".format(*sys.version_info[:2])))
    home = cache.home() / "peers" / f"{peer}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return homes.python(home, peer, ["-r", str(pins(peer)), *added])
