"""The rollout viewer: one HTML page that plays recorded episodes side by side, offline, without any external script.

A rollout is a JSON object: ``name`` and ``dt`` (seconds between frames); ``bodies``, each ``{"name", "geoms"}``, body 0
being the world; ``camera`` ``{"target_body", "distance", "azimuth", "elevation", "lookat"}`` in degrees and metres (an
azimuth of 90 looks along +y, a negative elevation looks down, as in MuJoCo); ``frames`` [frames][bodies][7], position
and unit quaternion (w first), frame 0 being the start; ``rewards``, one per step (or one per
frame, of the step that led to it); and, if known, ``title`` and ``terminated_at``, the frame of a true termination.
Beside that episode (``label``: whose it is, clean if left out) there may be ``members``, a list of others from the same
start with a ``label``, ``frames``, ``rewards`` and ``terminated_at`` of their own; where ``levels`` (names of scales of
the noise) are given, each with the ``level`` at which it was played, and a slider chooses one.
A geom has a ``type``, a ``size``, ``pos`` and ``quat`` in the frame of its body, and a ``color`` in [0, 1].
"""

import base64
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpsn.core import errors, files
from jaxpsn.report.charts import look

_SIZES = {"sphere": 1, "capsule": 2, "cylinder": 2, "box": 3, "plane": 0, "polyline": 0}
_CAMERA = {"target_body": None, "distance": 4.0, "azimuth": 90.0, "elevation": -15.0, "lookat": [0.0, 0.0, 0.5]}
_DIGITS = 4
_KINDS = {"i2": 2.0**15 - 1, "i4": 2.0**31 - 1, "f8": np.inf}  # number types of changes, and their most
_MOST = 1e15  # of what a number may be, so that it can be rounded


def render_html(rollout: Mapping[str, Any]) -> str:
    """The page that plays ``rollout`` (the format is the module's docstring). Raises UserError on a malformed one."""
    packed = json.dumps(pack(rollout), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    template = resources.files("jaxpsn.report").joinpath("templates/viewer.html").read_text(encoding="utf-8")
    return template.replace("/*COLORS*/", look.css()).replace("/*ROLLOUT*/null", packed.replace("<", "\\u003c"))


def write(rollout_json_path: str | Path, html_path: str | Path) -> None:
    """Write the page that plays the rollout of a JSON file. Raises UserError, naming the file, if it is malformed."""
    files.write_atomically(Path(html_path), render_html(load(rollout_json_path)))


def load(path: str | Path) -> Mapping[str, Any]:
    """Read a rollout's JSON file. Raises UserError if there is none or if it is no JSON object."""
    try:
        rollout = files.read_json(Path(path))
    except OSError as error:
        raise errors.UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not isinstance(rollout, dict):
        raise errors.UserError(f"{path}: a JSON object is expected")
    return rollout


def pack(rollout: Mapping[str, Any]) -> dict[str, Any]:
    """What the page holds: poses as whole numbers of 1e-4 of which only changes are kept, everything checked.

    Returns ``scene``, ``title``, ``levels`` and ``episodes``, each with ``label``, ``level`` (None: shown at all),
    ``color``, ``start`` [7 bodies], ``columns`` (those of them that change), ``data`` (base64: the change of each
    column from frame to frame, of the number type ``kind``), ``rewards`` (one per frame) and ``terminated_at``.
    """
    bodies = [_body(index, body) for index, body in enumerate(_list("rollout.bodies", rollout.get("bodies")))]
    name = str(rollout.get("name", "rollout"))
    dt = float(array("rollout.dt", rollout.get("dt"), ()))
    if dt <= 0:
        errors.refuse("rollout.dt", dt, "a number of seconds above 0")
    levels = [str(level) for level in _list("rollout.levels", rollout.get("levels", []), empty=True)]
    others = _list("rollout.members", rollout.get("members", []), empty=True)
    episodes = [_episode("rollout", rollout, len(bodies), None)]
    for index, other in enumerate(others):
        field = f"rollout.members[{index}]"
        if not isinstance(other, Mapping):
            errors.refuse(field, other, "an object with frames")
        episodes.append(_episode(field, other, len(bodies), len(levels)))
    colors = looks(rollout)
    return {
        "scene": {"name": name, "dt": dt, "bodies": bodies, "camera": _camera(rollout.get("camera", {}), len(bodies))},
        "title": str(rollout.get("title") or name),
        "levels": levels,
        "episodes": [episode | {"color": colors[episode["label"]]} for episode in episodes],
    }


def poses(episode: Mapping[str, Any]) -> Float[np.ndarray, "frames bodies 7"]:
    """Position and quaternion of every body in every frame of an episode of :func:`pack`."""
    moves = np.frombuffer(base64.b64decode(episode["data"]), f"<{episode['kind']}").astype(np.float64)
    whole = np.tile(np.asarray(episode["start"], np.float64), (len(episode["rewards"]), 1))
    columns = episode["columns"]
    if columns:
        whole[1:, columns] += np.cumsum(moves.reshape(-1, len(columns)), axis=0)
    return (whole / 10**_DIGITS).reshape(len(whole), -1, 7)


def looks(rollout: Mapping[str, Any]) -> dict[str, str]:
    """Label -> colour of its episodes: ink for the clean policy."""
    clean = str(rollout.get("label", "clean"))
    labels = dict.fromkeys(str(one.get("label", "")) for one in rollout.get("members", []))
    return {label: own.color for label, own in look.looks(list(labels)).items()} | {clean: "ink"}


def _episode(field: str, episode: Mapping[str, Any], bodies: int, levels: int | None) -> dict[str, Any]:
    """One of the episodes; ``levels``: how many there are to choose from, None for the clean policy."""
    frames = array(f"{field}.frames", episode.get("frames"), (None, bodies, 7))
    ended, level = episode.get("terminated_at"), episode.get("level", 0)
    if ended is not None and (not isinstance(ended, int) or not 0 <= ended < len(frames)):
        errors.refuse(f"{field}.terminated_at", ended, f"null or a frame from 0 to {len(frames) - 1}")
    if levels is not None and (not isinstance(level, int) or not 0 <= level < max(1, levels)):
        errors.refuse(f"{field}.level", level, f"an index of rollout.levels, below {max(1, levels)}")
    whole = np.round(frames.reshape(len(frames), -1) * 10**_DIGITS)
    columns = np.flatnonzero((whole != whole[:1]).any(axis=0))
    moves = np.diff(whole[:, columns], axis=0)
    kind = next(kind for kind, most in _KINDS.items() if np.abs(moves).max(initial=0) <= most)
    return {
        "label": str(episode.get("label", "clean")),
        "level": None if levels is None else level,
        "start": _compact(whole[0]),
        "columns": columns.tolist(),
        "kind": kind,
        "data": base64.b64encode(moves.astype(f"<{kind}").tobytes()).decode(),
        "rewards": _compact(_rewards(f"{field}.rewards", episode.get("rewards", []), len(frames))),
        "terminated_at": ended,
    }


def _rewards(field: str, rewards: Any, frames: int) -> np.ndarray:
    values = array(field, rewards, (None,)) if rewards else np.zeros(frames)
    if len(values) not in (frames - 1, frames):
        errors.refuse(field, f"{len(values)} numbers", f"{frames - 1}, one per step of {frames} frames")
    return np.concatenate([np.zeros(frames - len(values)), values])


def _body(index: int, body: Any) -> dict[str, Any]:
    field = f"rollout.bodies[{index}]"
    if not isinstance(body, Mapping):
        errors.refuse(field, body, "an object with name and geoms")
    geoms = _list(f"{field}.geoms", body.get("geoms", []), empty=True)
    return {"geoms": [_geom(f"{field}.geoms[{number}]", geom) for number, geom in enumerate(geoms)]}


def _geom(field: str, geom: Any) -> dict[str, Any]:
    if not isinstance(geom, Mapping) or geom.get("type") not in tuple(_SIZES):
        errors.refuse(f"{field}.type", geom.get("type") if isinstance(geom, Mapping) else geom, ", ".join(_SIZES))
    kind = geom["type"]
    size = array(f"{field}.size", geom.get("size") or [], (None,))
    if len(size) < _SIZES[kind] or (size[: _SIZES[kind]] <= 0).any():
        errors.refuse(f"{field}.size", size.tolist(), f"{_SIZES[kind]} numbers above 0 for a {kind}")
    color = array(f"{field}.color", geom.get("color", [0.5, 0.5, 0.5, 1.0]), (4,))
    packed = {
        "type": kind,
        "size": _compact(size),
        "pos": _compact(array(f"{field}.pos", geom.get("pos", [0, 0, 0]), (3,))),
        "quat": _compact(array(f"{field}.quat", geom.get("quat", [1, 0, 0, 0]), (4,)), 6),
        "color": _compact(np.clip(color, 0, 1), 3),
    }
    if kind == "polyline":
        packed["points"] = [_compact(point) for point in array(f"{field}.points", geom.get("points"), (None, 3))]
    return packed


def _camera(camera: Any, bodies: int) -> dict[str, Any]:
    if not isinstance(camera, Mapping):
        errors.refuse("rollout.camera", camera, "an object")
    wanted = {**_CAMERA, **camera}
    target = wanted["target_body"]
    if target is not None and (not isinstance(target, int) or not 0 <= target < bodies):
        errors.refuse("rollout.camera.target_body", target, f"null or a body from 0 to {bodies - 1}")
    numbers = {
        name: float(array(f"rollout.camera.{name}", wanted[name], ())) for name in ("distance", "azimuth", "elevation")
    }
    if numbers["distance"] <= 0:
        errors.refuse("rollout.camera.distance", numbers["distance"], "a number of metres above 0")
    # Straight down the vertical the picture has no upright; a hair beside it, it does.
    numbers["elevation"] = float(np.clip(numbers["elevation"], -89.9, 89.9))
    lookat = _compact(array("rollout.camera.lookat", wanted["lookat"], (3,)))
    return {"target_body": target, **numbers, "lookat": lookat}


def _list(field: str, value: Any, *, empty: bool = False) -> list[Any]:
    if not isinstance(value, list) or not (value or empty):
        errors.refuse(field, value, "a list" if empty else "a list with at least one entry")
    return value


def array(field: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """``value`` as finite float64 of ``shape`` (None: any length); a UserError names the field otherwise."""
    sizes = ", ".join("n" if size is None else str(size) for size in shape)
    wanted = f"finite numbers [{sizes}]" if shape else "one finite number"
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.full((), np.nan)
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits or not (np.abs(array) < _MOST).all() or (len(shape) > 1 and not array.size):
        shown = f"{type(value).__name__} of shape {list(array.shape)}" if isinstance(value, list) else value
        errors.refuse(field, shown, wanted)
    return array


def _compact(values: np.ndarray, digits: int = _DIGITS) -> list[float | int]:
    """Rounded numbers, whole ones as integers, so that the page stays small."""
    rounded = (np.round(values, digits) + 0.0).tolist()
    return [int(number) if number == int(number) else number for number in rounded]
