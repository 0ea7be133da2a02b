"""The sessions that worked on a run folder, each with its command, versions and devices, in config.json."""

import contextlib
import datetime
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from jaxpsn.core import errors
from jaxpsn.run import folder as folders
from jaxpsn.run import machine
from jaxpsn.run.config import RunConfig

_DECISIVE = ("versions", "backend", "device", "devices", "mesh")


def _mesh(template: Any) -> str | None:
    """The mesh on which the state lies, as a flag says it."""
    for leaf in jax.tree.leaves(template):
        if isinstance(leaf.sharding, jax.sharding.NamedSharding):
            return ",".join(f"{name}={size}" for name, size in leaf.sharding.mesh.shape.items() if size > 1) or "data=1"
    return None


def begin(folder: folders.RunFolder, run: RunConfig, template: Any, warn: Callable[[str], None]) -> dict[str, Any]:
    """Write config.json with one entry more, and return it; ``warn`` hears what makes other bits than before.

    ``template``: the state's shapes, with shardings.
    """
    device = jax.devices()[0]
    session = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "versions": folders.versions(),
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "devices": jax.device_count(),
        "mesh": _mesh(template),
        "processes": jax.process_count(),
        **machine.described(),
    }
    sessions = folders.read(folder.path).get("sessions", [])
    if sessions:
        changed = folders.differences(*({name: s.get(name) for name in _DECISIVE} for s in (sessions[-1], session)))
        if changed:
            warn(f"not bit for bit from here: {', '.join(changed)}")
    return folders.write_record(folder, run, sessions=[*sessions, session])


def end(folder: folders.RunFolder, reason: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add how the run ended to config.json: status, step, and its last rows of metrics, one a seed.

    A disk that cannot be written costs the note, not the run.
    """
    result = {"status": reason, "step": step, "metrics": [dict(row) for row in rows]}
    with contextlib.suppress(OSError, errors.UserError):
        folders.note(folder, result=result)
