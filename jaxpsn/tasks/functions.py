"""Functions of a user by the name ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``; imports no JAX."""

import functools
import importlib
import importlib.util
import inspect
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxpsn.core import errors

FIELD = "reward"
ALLOWED = "MODULE:FUNCTION or FILE.py:FUNCTION"
_SHORT = re.compile(r"""(?<![\w./~:=(-])([\w.~/-]+):([A-Za-z_]\w*)(\(\s*\)|\()?""")
_QUOTED = re.compile(r"""("[^"]*"|'[^']*')""")


def spelled(text: str) -> str:
    """A text of rewards with ``module:name(weight=1)`` written as ``function("module:name", weight=1)``."""

    def whole(found: re.Match[str]) -> str:
        return f'function("{found[1]}:{found[2]}"' + (", " if found[3] == "(" else ")")

    parts = _QUOTED.split(text)
    return "".join(part if place % 2 else _SHORT.sub(whole, part) for place, part in enumerate(parts))


def whole(source: str) -> str:
    """``source`` with the whole path of its file. Raises UserError for what is no such name."""
    home, _, name = source.rpartition(":")
    if not home or not name.isidentifier():
        errors.refuse(FIELD, source, ALLOWED)
    if _is_file(home):
        return f"{Path(home).expanduser().resolve()}:{name}"
    if not all(part.isidentifier() for part in home.split(".")):
        errors.refuse(FIELD, source, ALLOWED)
    return source


def file_of(source: str) -> Path:
    """The file that a function stands in. Raises UserError if there is none; it is not imported."""
    home = source.rpartition(":")[0]
    if _is_file(home):
        if not Path(home).is_file():
            errors.refuse(FIELD, source, f"a function of a file that there is; {home} is missing")
        return Path(home)
    _look_here()
    try:
        spec = importlib.util.find_spec(home)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        errors.refuse(FIELD, source, f"a function of a module that can be imported; there is no {home}")
    return Path(spec.origin)


@functools.cache
def load(source: str) -> Callable[..., Any]:
    """The function itself. Raises UserError if its module fails, or has none of that name."""
    file, (home, _, name) = file_of(source), source.rpartition(":")
    try:
        module = _of_file(file) if _is_file(home) else importlib.import_module(home)
    except (Exception, SystemExit) as error:
        errors.refuse(FIELD, source, f"a module that can be imported ({type(error).__name__}: {error})")
    found = getattr(module, name, None)
    if not callable(found):
        known = [one for one, value in vars(module).items() if inspect.isfunction(value)]
        errors.refuse(FIELD, source, f"a function of {home}; {errors.nearest(name, known)}")
    return found


def source_of(function: Any) -> str | None:
    """The name by which another process finds a function; None for one that it cannot import."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    name = getattr(function, "__qualname__", "")
    if module is None or module.__name__ == "__main__" or not name.isidentifier():
        return None
    file = getattr(module, "__file__", None)
    if getattr(module, name, None) is not function or not file or not Path(file).is_file():
        return None
    return f"{module.__name__}:{name}" if "." in module.__name__ else f"{Path(file).resolve()}:{name}"


def within(seconds: float, allowed: str, function: Callable[..., Any], *given: Any) -> Any:
    """What a function returns, or raises, in a thread. Raises UserError if that takes longer than ``seconds``."""
    made: list[Any] = []

    def call() -> None:
        try:
            made.append((function(*given), None))
        except BaseException as error:  # it is raised where it is waited for
            made.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if not made:
        raise errors.UserError(f"{FIELD} {getattr(function, '__qualname__', function)}: took longer than {allowed}")
    value, error = made[0]
    if error is not None:
        raise error
    return value


def _is_file(home: str) -> bool:
    return home.endswith(".py") or os.sep in home


def _look_here() -> None:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: nothing in it hides an installed module


def _of_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"jaxpsn_function_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    sys.path.append(str(path.parent))  # what lies beside it is found as in a script
    spec.loader.exec_module(module)
    return module
