"""Where processes of a benchmark find the library and the benchmarks."""

import os
from pathlib import Path

import jaxpsn


def search_path() -> str:
    """PYTHONPATH of a process that imports ``jaxpsn`` and ``benchmarks`` as this one does."""
    homes = (Path(jaxpsn.__file__).resolve().parents[1], Path(__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, (*map(str, homes), os.environ.get("PYTHONPATH"))))
