"""Strict numerics for every test, and a compilation cache shared by the workers."""

import os
import tempfile
from pathlib import Path

_CACHE = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", Path(tempfile.gettempdir()) / "jaxpsn-test-cache"))
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_CACHE)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

from jaxtyping import install_import_hook  # noqa: E402

# Shapes and types written in signatures are checked at every call, in tests only.
install_import_hook("jaxpsn", "beartype.beartype")
