"""Compiled programs kept between runs."""

import os
import tempfile
from pathlib import Path

import jax


def home() -> Path:
    """The folder for what is worth keeping between runs: ``jaxpsn`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "jaxpsn"


def enable() -> Path | None:
    """Keep every compiled program on disk, so that the second run starts at once; returns where, None if nowhere.

    The folder is JAX_COMPILATION_CACHE_DIR, else jaxpsn/xla in the user's cache folder; JAX_ENABLE_COMPILATION_CACHE=0
    turns it off. A folder that cannot be written is no error: the run compiles without.
    """
    path = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or home() / "xla")
    if not jax.config.jax_enable_compilation_cache:
        return None
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError:
        jax.config.update("jax_compilation_cache_dir", None)
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    for name, value in (("min_compile_time_secs", 0.0), ("min_entry_size_bytes", -1)):
        if f"JAX_PERSISTENT_CACHE_{name.upper()}" not in os.environ:
            jax.config.update(f"jax_persistent_cache_{name}", value)
    return path
