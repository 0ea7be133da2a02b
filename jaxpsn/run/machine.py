"""On what a run was made: host, processor, XLA flags, and the commit of the checkout; imports no JAX."""

import functools
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 10.0  # seconds that git may take


@functools.cache
def described() -> dict[str, Any]:
    """``host``, ``processor``, ``xla_flags``, and within a checkout its ``commit`` and whether the tree was ``clean``.

    Worked out once in a process, at the first call.
    """
    found = {"host": platform.node(), "processor": processor(), "xla_flags": os.environ.get("XLA_FLAGS", "")}
    commit = _git("rev-parse", "HEAD") if (_ROOT / ".git").exists() else None
    if commit is None:
        return found
    return found | {"commit": commit, "clean": _git("status", "--porcelain", "--untracked-files=no") == ""}


def processor() -> str:
    """The model of the CPU; its architecture where the system tells no more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(models), platform.processor() or platform.machine())


def _git(*command: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *command], capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
