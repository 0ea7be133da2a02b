"""Brax's own environments, and the shims that Brax 0.14.2 needs on today's JAX."""

import contextlib
import importlib
import inspect
import io
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxpsn.core import checks, compat, errors
from jaxpsn.envs.brax_names import check_backend, default_backend

_HUSHED = (
    ("JAXopt is no longer maintained", DeprecationWarning),  # imported by Brax's generalized pipeline
    ("Brax System, piplines and environments", UserWarning),  # at every model: MJX is better maintained
    ("Accessing `.*` directly from `.*` is deprecated", DeprecationWarning),  # Brax reads MJX's data the old way
)
"""Warnings of Brax about itself that nobody who uses it through this door can act on."""
_hidden: set[str] = set()


def forgo_warp() -> None:
    """Let MJX be imported as if Warp were not installed: half of the import's time, and no task of ours runs on it.

    For a process that belongs to us: MJX stays without it there.
    """
    _hidden.update(("warp", "mujoco.mjx.third_party.mujoco_warp"))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While Brax is imported: nothing on stdout, which is the scripts' (MJX prints there when it finds no warp)."""
    hidden = _hidden - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))
    try:
        with contextlib.redirect_stdout(io.StringIO()), _hushed():
            yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """While an environment is traced: foreign numerics allowed, matrix products exact (TF32 changes the physics)."""
    with compat.foreign(), jax.default_matmul_precision("highest"), _hushed():
        yield


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """While a Brax or Playground model is loaded.

    Brax's cheetah uses a MuJoCo attribute that a later MuJoCo will drop; MuJoCo would print so, and write a log file
    into the working folder.
    """
    with quiet():
        mujoco = importlib.import_module("mujoco")
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_mujoco_warning)
    try:
        with quiet(), compat.foreign():
            yield
    finally:
        mujoco.set_mju_user_warning(before)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    with warnings.catch_warnings():
        for message, category in _HUSHED:
            warnings.filterwarnings("ignore", message, category)
        yield


def _mujoco_warning(text: str) -> None:
    if "settotalmass" not in text:
        print(f"MuJoCo: {text}", file=sys.stderr)


def make(name: str, backend: str | None = None, **options: Any) -> Any:
    """Brax's environment ``name`` on ``backend`` (default: spring where it runs).

    ``options`` are those of Brax's own constructor. Raises UserError for a backend that does not run, and for unknown
    or wrong options.
    """
    backend = default_backend(name) if backend is None else backend
    check_backend(name, backend)
    with quiet():
        envs = importlib.import_module("brax.envs")
    shim_fluid()
    kind = envs._envs[name]
    known = _known_options(kind)
    for option in options:
        if option not in known:
            errors.refuse(
                f"env.{option}", options[option], f"{name} has no such option; {errors.nearest(option, known)}"
            )
    if "n_frames" in options:
        checks.whole("env.n_frames", options["n_frames"], 1)
    try:
        with loading():
            return kind(**options) if name == "fast" else kind(backend=backend, **options)
    except (TypeError, ValueError) as error:
        raise errors.UserError(f"env.name = {name!r}: refused its options {options}: {error}") from error


def needs_fluid_shim() -> bool:
    """Whether Brax calls ``clip`` with the argument names that JAX 0.10 removed."""
    with quiet():
        fluid = importlib.import_module("brax.fluid")
    return "a_min=" in inspect.getsource(fluid) and "a_min" not in inspect.signature(jnp.clip).parameters


def shim_fluid() -> None:
    """Let Brax's fluid forces (swimmer) run on JAX 0.10 and later; does nothing where they run by themselves."""
    if needs_fluid_shim():
        importlib.import_module("brax.fluid").jp = _OldClip()


class _OldClip:
    """`jax.numpy` whose ``clip`` still takes ``a_min`` and ``a_max``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    @staticmethod
    def clip(x: Any, a_min: Any = None, a_max: Any = None) -> jax.Array:
        """``jnp.clip`` under the old argument names."""
        return jnp.clip(x, a_min, a_max)


def _known_options(kind: type) -> set[str]:
    parameters = inspect.signature(kind.__init__).parameters
    named = {name for name, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD}
    frames = {"n_frames"} if "backend" in named else set()
    return (named | frames) - {"self", "backend", "obs_mode", "asymmetric_obs"}
