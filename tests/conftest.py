"""Strict numerics for every test, and a compilation cache shared by the workers."""

import gc
import os
import tempfile
from pathlib import Path

_CACHE = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", Path(tempfile.gettempdir()) / "jaxpsn-test-cache"))
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_CACHE)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs of tests run for moments and compile for minutes. See `optimised`.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAXPSN_KEEP_PROGRAMS", "0")  # what a test trains it trains once

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

hypothesis.settings.register_profile("slow machine", deadline=None)
hypothesis.settings.load_profile("slow machine")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

from jaxtyping import install_import_hook  # noqa: E402

# Shapes and types written in signatures are checked at every call, in tests only.
install_import_hook("jaxpsn", "beartype.beartype")

from jaxpsn.run import interrupts  # noqa: E402

_MAPS = Path("/proc/self/maps")
_MAPS_KEPT = 20_000


@pytest.fixture(scope="module", autouse=True)
def few_memory_maps():
    """Let compiled programs go before the kernel runs out of maps.

    XLA maps several pages for each compiled program; Linux allows a process 65530 of them (vm.max_map_count), and
    whoever compiles the next program then dies by SIGSEGV.
    """
    yield
    if _MAPS.exists() and len(_MAPS.read_bytes().splitlines()) > _MAPS_KEPT:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="module")
def optimised():
    """Compile as for a user, here and in processes: for tests of what is compiled, or of the last bits of long runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
        before = jax.config.read("jax_disable_most_optimizations")
        jax.config.update("jax_disable_most_optimizations", False)
        jax.clear_caches()
        yield
        jax.config.update("jax_disable_most_optimizations", before)
        jax.clear_caches()


@pytest.fixture(autouse=True)
def signals_of_its_own(monkeypatch):
    """Put away the answer to signals that a script's first line installed, for it outlives a script run in-process."""
    monkeypatch.setattr(interrupts, "_stages", [interrupts.Stage(interrupts.BEFORE)])
    yield
    interrupts._unlisten()
