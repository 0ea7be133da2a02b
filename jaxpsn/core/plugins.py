"""Plugins: modules and ``.py`` files of the user, whose registrations become names in runs, studies and workers.

A run records its plugins by the SHA-256 of their source. On resume the same source is wanted: a run that goes on with
another rule under the same name would be no run at all, so a changed plugin is refused unless it is asked for.
"""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jaxpsn.core import errors
from jaxpsn.core.families import ALL

OPTION = "--plugin"
_PREFIX = "jaxpsn_plugin_"
_PACKAGE = f"{__name__.partition('.')[0]}."


class Plugin(NamedTuple):
    """A loaded plugin."""

    text: str
    """The module's name, or the absolute path of the file."""
    sha256: str
    """Of its source; of a package all of its ``.py`` files in order."""

    def record(self) -> dict[str, str]:
        """The plugin as config.json holds it."""
        return {"path" if _is_path(self.text) else "name": self.text, "sha256": self.sha256}


_LOADED: dict[str, Plugin] = {}


def load_plugin(text: str) -> dict[str, str]:
    """Import the module or ``.py`` file ``text``, once in a process, and return its record.

    Modules are looked for in the working directory too. Raises UserError for one that fails to import, registers a
    taken name, or registers nothing; what it had registered by then is forgotten.
    """
    key = str(_file(text)) if _is_path(text) else _name(text)
    if key not in _LOADED:
        before = {name: family.snapshot() for name, family in ALL.items()}
        try:
            module = _from_file(Path(key)) if _is_path(text) else importlib.import_module(key)
        except (Exception, SystemExit) as error:
            _forget(before)
            errors.refuse(OPTION, text, _told(error))
        if not getattr(module, "__file__", None):
            errors.refuse(OPTION, text, "a module with a source file")
        if not _registers(module, before):
            sys.modules.pop(module.__name__ if _is_path(text) else "", None)
            errors.refuse(OPTION, text, "a plugin that registers something")
        _LOADED[key] = Plugin(key, _digest(Path(str(module.__file__))))
    return _LOADED[key].record()


def loaded() -> list[dict[str, str]]:
    """The records of all plugins of this process, in order."""
    return [plugin.record() for plugin in _LOADED.values()]


def require(records: Iterable[Mapping[str, str]], *, changed: bool = False) -> None:
    """Load the plugins that a run was started with.

    Raises UserError naming one that is missing now, or whose source is another one, unless ``changed`` is true.
    """
    for record in records:
        text = record.get("path", record.get("name", ""))
        if "path" in record and not Path(text).is_file():
            errors.refuse(OPTION, text, "the file that the run was started with, which is missing now")
        if load_plugin(text)["sha256"] != record.get("sha256") and not changed:
            errors.refuse(OPTION, text, "the source that the run was started with; it has changed since")


def _is_path(text: str) -> bool:
    return text.endswith(".py") or os.sep in text


def _file(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not path.is_file() or path.suffix != ".py":
        errors.refuse(OPTION, text, "a module's name or an existing .py file")
    return path


def _from_file(path: Path) -> ModuleType:
    """The module of a file, under a name made of its path: the same in every process."""
    name = _PREFIX + path.stem + "_" + hashlib.sha256(str(path).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _name(text: str) -> str:
    if not all(part.isidentifier() for part in text.split(".")):
        errors.refuse(OPTION, text, "a module's name or an existing .py file")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: nothing in it hides an installed module
    return text


def _digest(file: Path) -> str:
    """Of a module's source, or all of a package's: paths within it count, the place where it lies does not."""
    if file.name != "__init__.py":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for path in sorted(file.parent.rglob("*.py")):
        content = path.read_bytes()
        whole.update(f"{path.relative_to(file.parent).as_posix()}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def _forget(before: Mapping[str, tuple[Any, ...]]) -> None:
    for name, family in list(ALL.items()):
        if name in before:
            family.restore(before[name])
        elif family.base.__module__ not in sys.modules:  # else its module was imported beside, and is not again
            del ALL[name]


def _registers(module: ModuleType, before: Mapping[str, tuple[Any, ...]]) -> bool:
    """Whether something is new, or is the module's own since something else imported it.

    Components of this package that the import of the plugin happened to load are not its doing.
    """
    for name, family in ALL.items():
        kinds, _, aliases, _ = before.get(name, ({}, {}, {}, {}))
        new = [kind.__module__ for known, kind in family.kinds.items() if known not in kinds]
        new += [alias.module for known, alias in family.aliases.items() if known not in aliases]
        if any(not f"{module}.".startswith(_PACKAGE) for module in new):
            return True
    owners = {kind.__module__ for family in ALL.values() for kind in family.kinds.values()}
    return any(f"{owner}.".startswith(f"{module.__name__}.") for owner in owners)


def _told(error: BaseException) -> str:
    """What went wrong in a plugin, and in which of its lines."""
    if isinstance(error, errors.UserError):
        return str(error)
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{kind} in line {error.lineno}: {error.msg}"
    ours = str(Path(__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    inside = [one for one in frames if not re.search(f"^{re.escape(ours)}|importlib|site-packages", one.filename)]
    place = f" in line {inside[-1].lineno} of {Path(inside[-1].filename).name}" if inside else ""
    return f"{kind}{place}: {error}"
