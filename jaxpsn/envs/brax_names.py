"""Brax's own environments by name: which run, and which do not and why; imports no JAX."""

import importlib.metadata
from typing import Any

from jaxpsn.core import checks, errors

BACKENDS = ("generalized", "positional", "spring", "mjx")
_ROBOTS = (
    "ant halfcheetah hopper humanoid humanoidstandup inverted_pendulum inverted_double_pendulum pusher reacher walker2d"
)
SUPPORTED = {name: BACKENDS for name in _ROBOTS.split()} | {"fast": ("spring",), "swimmer": ("generalized",)}
"""Backends of every environment that run with the pinned versions (measured, 20 steps each, all finite)."""


def default_backend(name: str) -> str:
    """spring where it runs, else the only one that does."""
    return "spring" if "spring" in SUPPORTED[name] else SUPPORTED[name][0]


def check_backend(name: str, backend: Any) -> None:
    """Refuse a backend on which ``name`` does not run, and say why."""
    checks.choice("env.backend", backend, BACKENDS)
    if name == "swimmer" and backend != "generalized":
        errors.refuse("env.backend", backend, "swimmer runs on generalized only: Brax has no fluid forces elsewhere")
    if backend not in SUPPORTED[name]:
        errors.refuse("env.backend", backend, f"{name} runs on {', '.join(SUPPORTED[name])} only")
    if name == "pusher" and backend == "mjx" and _older(installed := importlib.metadata.version("jax"), (0, 11)):
        errors.refuse(
            "env.backend", backend, f"pusher on mjx is 100 times too slow before JAX 0.11 (this is {installed})"
        )


def _older(version: str, than: tuple[int, int]) -> bool:
    return tuple(int(part) for part in version.split(".")[:2]) < than
