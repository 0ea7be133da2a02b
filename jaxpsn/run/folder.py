"""The run folder: its layout, its lock, its record of what ran; imports no JAX."""

import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxpsn.core import errors, files, plugins, shapes
from jaxpsn.core.components import Component, Sum, to_json
from jaxpsn.run import interrupts, vacancy
from jaxpsn.run.config import MAY_CHANGE, RunConfig
from jaxpsn.run.lock import LOCK, locked

FORMAT = 3
"""Version of the layout of run folders and checkpoints; another one is refused."""
PACKAGES = ("jaxpsn", "jax", "jaxlib", "flax", "optax", "numpy", "safetensors", "brax", "mujoco", "mujoco-mjx")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A claimed run folder; ``notes`` says what was found when it was claimed."""

    path: Path
    content: Any
    """The config of what is trained, as JSON reads it."""
    resumed: bool = False
    notes: tuple[str, ...] = ()
    shared: Path | None = None
    """The folder of the run, if this one belongs to a process that writes nothing into it but checkpoints."""

    @property
    def config(self) -> Path:
        """What ran: config, versions, command, device (JSON)."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One row per chunk and seed (CSV); ``metrics.jsonl`` holds the same rows."""
        return self.path / "metrics.csv"

    @property
    def events(self) -> Path:
        """What happened: starts, checkpoints, signals (JSONL)."""
        return self.path / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        """One folder per checkpoint, named by its step."""
        return (self.shared or self.path) / "checkpoints"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def plain(config: Any) -> Any:
    """``config`` (dict or dataclass) as it reads back from JSON."""
    return json.loads(json.dumps(_record(config), default=str))


def _record(value: Any) -> Any:
    """Components by name and fields, other dataclasses by their fields alone."""
    if isinstance(value, Component | Sum):
        return to_json(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _record(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: _record(inner) for name, inner in value.items()}
    return [_record(inner) for inner in value] if isinstance(value, list | tuple) else value


def digest(record: Any) -> str:
    """SHA-256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def fixed(record: dict[str, Any]) -> dict[str, Any]:
    """The part of config.json that a resumed run must share."""
    run = {name: value for name, value in record["run"].items() if name not in MAY_CHANGE}
    return {"config": record["config"], "run": run}


def read(path: str | Path, field: str = "resume") -> dict[str, Any]:
    """The config.json of a run folder. Raises UserError, naming ``field``, if there is none or of another format."""
    path = Path(path)
    try:
        record = files.read_json(path / "config.json")
    except OSError:
        errors.refuse(field, str(path), f"a run folder; {_others(path)}")
    version = record.get("format") if isinstance(record, dict) else None
    if version is None:
        errors.refuse(field, str(path), "a run folder; its config.json is none of a run")
    if version != FORMAT:
        errors.refuse(field, str(path), f"a run folder of format {FORMAT}; this one has format {version}")
    return shapes.check(path / "config.json", record, shapes.WHOLE_RUN)


def _others(path: Path) -> str:
    with contextlib.suppress(OSError):
        names = [p.name for p in path.absolute().parent.iterdir() if (p / "config.json").is_file() and p != path]
        if names:
            return errors.nearest(path.name, names)
    return "no config.json there"


def write_record(folder: RunFolder, run: RunConfig, **more: Any) -> dict[str, Any]:
    """Write config.json: format, config, run, versions, command line, and ``more``; returns it.

    What it holds besides stays.
    """
    old = read(folder.path) if folder.config.is_file() else {}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = old | {"format": FORMAT, "name": folder.path.name, "config": folder.content, "run": plain(run)}
    record |= {"versions": versions(), "command": sys.argv, "written": now} | more
    record |= {"plugins": plugins.loaded()}
    files.write_atomically(folder.config, json.dumps(record, indent=2) + "\n")
    return record


def note(folder: RunFolder, **more: Any) -> None:
    """Add ``more`` to config.json."""
    files.write_atomically(folder.config, json.dumps(read(folder.path) | more, indent=2) + "\n")


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {path: tree}
    flat = {}
    if set(tree) == {"name", "fields"}:  # a component: its fields lie below it
        flat, tree = {path: tree["name"]}, tree["fields"]
    elif set(tree) == {"sum"}:
        flat[path] = " + ".join(term["name"] for term in tree["sum"])
        tree = _numbered(tree["sum"])
    for name, value in tree.items():
        flat |= _flat(value, f"{path}.{name}" if path else name)
    return flat


def _numbered(terms: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields of summands by their names; of a second one of a name below ``NAME 2``."""
    found: dict[str, Any] = {}
    for term in terms:
        count = sum(name.partition(" ")[0] == term["name"] for name in found)
        found[f"{term['name']} {count + 1}" if count else term["name"]] = term["fields"]
    return found


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """``field = new (was old)`` for every leaf that differs between two nested dicts."""
    was, now = _flat(old), _flat(new)
    absent = "absent"
    return [
        f"{name} = {now.get(name, absent)!r} (was {was.get(name, absent)!r})"
        for name in sorted(was.keys() | now.keys())
        if was.get(name, absent) != now.get(name, absent)
    ]


def _refuse_other_config(path: Path, old: dict[str, Any], run: RunConfig, config: Any) -> None:
    new = {"config": plain(config), "run": plain(run)}
    found = [text.removeprefix("config.") for text in differences(fixed(old), fixed(new))]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        errors.refuse("resume", str(path), f"made with another config: {', '.join(found[:3])}{more}")


def create(run: Any, default_name: str) -> Path:
    """Make the folder that ``run`` (``out``, ``name``, ``overwrite``) asks for, or take one that may be emptied.

    Without a name it is made up from ``default_name`` and the date. Raises UserError if the folder exists (without
    ``overwrite``) or cannot be made.
    """
    out = Path(run.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        files.sweep(out, held=False)
        if run.name is not None:
            path = out / run.name
            path.mkdir(exist_ok=run.overwrite)
            return path
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        for attempt in range(1000):
            path = out / (f"{default_name}-{stamp}" + (f"-{attempt}" if attempt else ""))
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path
    except FileExistsError:
        taken = out / run.name if run.name and out.is_dir() else out
        if not taken.is_dir():
            errors.refuse("out" if taken == out else "name", str(taken), "a folder; there is a file of that name")
        vacancy.refuse_taken(taken)
    except OSError as error:
        errors.refuse("out", run.out, f"a folder that can be written: {error.strerror}")
    errors.refuse("name", default_name, "no free name left; choose another")


def empty(path: Path, record: str = "config.json", what: str = "run folder") -> None:
    """Delete what an earlier run left; refuses a folder without the file ``record``, which is no ``what``."""
    entries = [entry for entry in path.iterdir() if entry.name != LOCK]
    if entries and not (path / record).is_file():
        errors.refuse("overwrite", True, f"{path} is not a {what}; it is left alone")
    # The record goes last: a deletion that is cut off leaves a folder that can still be overwritten.
    for entry in sorted(entries, key=lambda entry: entry.name == record):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def resumed(run: RunConfig, config: Any) -> Path:
    """The folder that ``run`` goes on with. Raises UserError if it is none, or was made with another config."""
    path = Path(str(run.resume))
    if not path.exists() and (Path(run.out) / path).is_dir():
        path = Path(run.out) / path
    _refuse_other_config(path, read(path), run, config)
    return path


def check(run: RunConfig, config: Any) -> None:
    """Refuse what :func:`claim` would refuse of the folder as it is now; nothing is made, nothing is locked."""
    if run.resume is None:
        vacancy.check(run)
    else:
        resumed(run, config)


def _stopped(path: Path) -> str:
    if not vacancy.resumable(path):
        return "ended before the first step"
    return f"ended; what was saved stands; go on with --resume {path}"


@contextlib.contextmanager
def claim(run: RunConfig, config: Any, default_name: str = "run") -> Iterator[RunFolder]:
    """The run folder, locked for this process: a new one, or the one to resume.

    ``config`` (dict or dataclass) is what is trained; it is written to config.json, and must equal what is there
    when resuming. A new folder goes away again if an error or a signal comes before anything was trained. Raises
    UserError if the folder exists (without ``overwrite``), is in use by another process, is no run folder, or was made
    with another config.
    """
    path = create(run, default_name) if run.resume is None else resumed(run, config)
    with contextlib.ExitStack() as stack:
        stale = stack.enter_context(locked(path))
        if run.resume is None and run.overwrite:
            empty(path)
        folder = RunFolder(path, plain(config), run.resume is not None, (stale,) if stale else ())
        stack.enter_context(interrupts.stage(lambda: _stopped(path)))
        if run.resume is None:
            stack.enter_context(vacancy.provisional(path, vacancy.trained))
            write_record(folder, run)
        yield folder
