"""Strict numerics for every test, and a compilation cache shared by the workers."""

import gc
import os
import tempfile
from pathlib import Path

_TESTS = Path(__file__).resolve().parent
_CACHE = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", Path(tempfile.gettempdir()) / "jaxpsn-test-cache"))
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_CACHE)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAXPSN_KEEP_PROGRAMS", "0")  # what a test trains it trains once

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
from jax._src import compiler  # noqa: E402

hypothesis.settings.register_profile("slow machine", deadline=None)
hypothesis.settings.load_profile("slow machine")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

import jaxtyping  # noqa: E402

_jaxtyped = jaxtyping.jaxtyped


def _jaxtyped_once(*, typechecker):
    """Functions within functions stay as they are: a check is made at each definition, for milliseconds."""
    check = _jaxtyped(typechecker=typechecker)
    return lambda made: made if "<locals>" in getattr(made, "__qualname__", "") else check(made)


# Shapes and types written in signatures are checked at every call, in tests only.
jaxtyping.jaxtyped = _jaxtyped_once
jaxtyping.install_import_hook("jaxpsn", "beartype.beartype")

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


_EMITTERS = "xla_cpu_use_fusion_emitters"
_options = compiler.get_compile_options
_options(1, 1)  # XLA reads its flags once in a process: from here on they are those of processes that are started
_FLAGS = os.environ.get("XLA_FLAGS", "")


def _options_of_a_test(*args, env_options_overrides=None, **named):
    """XLA's older code generator for CPUs takes half the time where nothing is optimised. No public setting."""
    if jax.config.read("jax_disable_most_optimizations") and jax.default_backend() == "cpu":
        env_options_overrides = {_EMITTERS: False} | dict(env_options_overrides or {})
    return _options(*args, env_options_overrides=env_options_overrides, **named)


compiler.get_compile_options = _options_of_a_test


def _compile(quickly):
    """From now on without what makes machine code fast, or as for a user; here, and in processes that are started."""
    if jax.config.read("jax_disable_most_optimizations") != quickly:
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(quickly))
        os.environ["XLA_FLAGS"] = f"{_FLAGS} --{_EMITTERS}=false" if quickly else _FLAGS
        jax.config.update("jax_disable_most_optimizations", quickly)
        jax.clear_caches()


@pytest.fixture(scope="module", autouse=True)
def quickly_compiled():
    """Every module begins so: programs run for moments that took long to compile."""
    _compile(True)


@pytest.fixture(scope="module")
def optimised(quickly_compiled):
    """As for a user: for tests of what is compiled, and of last bits; they come last in their module."""
    _compile(False)


def pytest_collection_modifyitems(items):
    """Tests that ask for :func:`optimised` behind the others of their module."""
    modules = {path: place for place, path in reversed(list(enumerate(item.path for item in items)))}
    items.sort(key=lambda item: (modules[item.path], "optimised" in item.fixturenames))


@pytest.fixture(autouse=True)
def signals_of_its_own(monkeypatch):
    """Put away the answer to signals that a script's first line installed, for it outlives a script run in-process."""
    monkeypatch.setattr(interrupts, "_stages", [interrupts.Stage(interrupts.BEFORE)])
    yield
    interrupts._unlisten()
