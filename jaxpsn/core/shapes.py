"""What the JSON files of runs and studies hold; whoever reads one checks it here, at one place.

A shape is ``int`` (whole, at least 0), ``float`` (any finite number), ``str`` or ``bool``; ``None``; a tuple of
shapes that are all allowed; ``[shape]``, a list; ``{str: shape}``, an object of any names; or ``{"name": shape}``, an
object with at least these entries, of which those with a question mark at the end (``"name?"``) may be missing. ``Any``
is anything.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxpsn.core import errors, files

Shape = Any

_OBJECT = {str: Any}
_VERSIONS = {str: str}
_SESSION = {
    "started?": str, "command?": ([str], None), "versions?": _VERSIONS, "backend?": str, "device?": str,
    "devices?": int, "mesh?": (str, None), "processes?": int,
}  # fmt: skip
RUN: Shape = {
    "format?": int, "name?": str, "config?": _OBJECT, "run?": _OBJECT, "versions?": _VERSIONS, "command?": [str],
    "written?": str, "sessions?": [_SESSION], "device?": str, "backend?": str, "plugins?": [{str: str}],
}  # fmt: skip
"""``config.json`` of a run."""
WHOLE_RUN: Shape = RUN | {
    "format": int, "config": {"hashes?": {str: (str, {str: str})}}, "run": {"steps": int}, "base?": str,
}  # fmt: skip
"""The same, of a run that is to go on."""
_SCALE = ({"field": str, "value?": float}, None)
FINISHED: Shape = {"step?": int, "seconds?": float, "versions?": _VERSIONS, "backend?": str, "scale?": _SCALE}
"""``finished.json`` of an arm, a run or a base of a study."""
FAILED: Shape = {"reason": str}
"""``failed.json``."""
_CHOICE = {"field": str, "values": [float], "chosen": float, "by?": str}
_TABLE = [[(float, None)]]
CONTROL_CHOICE: Shape = _CHOICE | {
    "seeds": [[int]], "final?": _TABLE, "first_reward?": (_TABLE, None), "coverage?": (_TABLE, None),
}  # fmt: skip
"""``choice.json`` of the tuning of an arm of control."""
REASONING_CHOICE: Shape = _CHOICE | {"seeds": [int], "scores": _TABLE}
"""``choice.json`` of the tuning of an arm of reasoning."""
_STUDY = {
    "format": int, "kind?": str, "name?": str, "study?": _OBJECT, "versions?": _VERSIONS, "command?": [str],
    "plugins?": [{str: str}], "sessions?": [_SESSION], "arms": {str: {"spec?": str}},
}  # fmt: skip
STUDY: dict[str, Shape] = {
    "control": _STUDY | {
        "control?": _OBJECT, "threshold?": (float, None),
        "arms": {str: {"spec?": str, "explore?": _OBJECT, "agent?": _OBJECT, "bonus?": _OBJECT,
                       "scale?": (_OBJECT, None)}},
    },
    "reasoning": _STUDY | {
        "shared?": _OBJECT, "arms": {str: {"spec?": str, "changes?": _OBJECT, "scale?": (_OBJECT, None)}},
        "tasks": {str: {"spec?": str, "task?": (str, _OBJECT), "pretrain?": _OBJECT}},
    },
}  # fmt: skip
"""``study.json`` by the kind of the study."""
WHOLE_STUDY: dict[str, Shape] = {
    "control": STUDY["control"] | {
        "control": _OBJECT, "study": _OBJECT,
        "arms": {str: {"spec": str, "explore?": _OBJECT, "agent": _OBJECT, "bonus?": _OBJECT, "env?": _OBJECT,
                       "scale": (_OBJECT, None)}},
    },
    "reasoning": STUDY["reasoning"] | {
        "shared": _OBJECT, "study": _OBJECT, "sessions": [_SESSION],
        "arms": {str: {"spec": str, "changes": _OBJECT, "scale": (_OBJECT, None)}},
        "tasks": {str: {"spec": str, "task": _OBJECT, "pretrain": _OBJECT}},
    },
}  # fmt: skip
"""The same, of a study that is to go on."""


def read(path: Path, shape: Shape) -> Any:
    """The JSON value in a file, if it has ``shape``. Raises UserError that names the file, OSError if there is none."""
    return check(path, files.read_json(path), shape)


def optional(path: Path, shape: Shape) -> Any | None:
    """As :func:`read`; None if there is no file."""
    try:
        return read(path, shape)
    except (FileNotFoundError, NotADirectoryError):
        return None


def check(path: Path, value: Any, shape: Shape) -> Any:
    """``value``, if it has ``shape``; raises UserError that names ``path``, the entry, and what it may be."""
    wrong = _wrong("", value, shape)
    if wrong is not None:
        where, found, allowed = wrong
        with errors.within(path):
            errors.refuse(where or "content", found, allowed)
    return value


def _wrong(where: str, value: Any, shape: Shape) -> tuple[str, Any, str] | None:
    """Where ``value`` first differs from ``shape``, what is there, and what it may be."""
    if shape is Any:
        return None
    if isinstance(shape, tuple):
        found = [_wrong(where, value, one) for one in shape]
        if None in found:
            return None
        # The alternative that goes deepest is the one that was meant.
        deep = max(found, key=lambda one: len(one[0]))
        return deep if deep[0] != where else (where, value, _name(shape))
    if isinstance(shape, list) and isinstance(value, list):
        parts = ((f"{where}[{index}]", entry, shape[0]) for index, entry in enumerate(value))
    elif isinstance(shape, dict) and isinstance(value, Mapping):
        if str in shape:
            parts = ((_join(where, name), entry, shape[str]) for name, entry in value.items())
        else:
            missing = next((name for name in shape if name[-1] != "?" and name not in value), None)
            if missing is not None:
                return _join(where, missing), None, f"{_name(shape[missing])}; it is missing"
            known = {name.removesuffix("?"): entry for name, entry in shape.items()}
            parts = ((_join(where, name), value[name], known[name]) for name in known if name in value)
    else:
        return None if _plain(value, shape) else (where, value, _name(shape))
    return next((wrong for part in parts if (wrong := _wrong(*part)) is not None), None)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else str(name)


def _plain(value: Any, shape: Shape) -> bool:
    if shape is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
    if shape is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) < 1e300 and math.isfinite(value)
    return value is None if shape is None else isinstance(shape, type) and isinstance(value, shape)


def _name(shape: Shape) -> str:
    if isinstance(shape, tuple):
        return " or ".join(map(_name, shape))
    if isinstance(shape, list):
        return "a list"
    if isinstance(shape, dict):
        return "an object"
    return {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}.get(shape, "null")
