"""Traced programs kept between runs, beside the compiled ones: a start that finds its own traces nothing.

A file holds one program as ``jax.export`` writes it, under a digest of all that decides it: the config, the sources of
this package, versions, platform and JAX's settings. What cannot be read, was cut off, or belongs to another program is
as good as absent, and is written anew. JAXPSN_KEEP_PROGRAMS=0 turns all of it off.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import export

from jaxpsn.core import files, platforms, plugins
from jaxpsn.core.families import ALL
from jaxpsn.run import folder

SWITCH = "JAXPSN_KEEP_PROGRAMS"
MOST = 256 << 20
"""Bytes that all kept programs may take; those used longest ago go first."""
_SUFFIX = ".program"
_TASKS = ("playground", "pgx", "gymnax")  # packages with environments, beside those of a run folder's record
_SOURCES = ("jaxpsn", "brax", "flax", "optax")  # packages that are traced through
_PLACES = ("cache", "dump", "log", "profile", "coordinat", "cluster", "num_processes", "process_id")


class Lowered(NamedTuple):
    """A program over leaves, as XLA takes it, and the structure of what it returns."""

    lowered: Any
    shapes: tuple[Any, ...]
    """Shape and dtype of each leaf of the arguments."""
    outs: Any
    options: dict[str, str]
    """What XLA is told when it compiles it."""

    def compile(self) -> Any:
        """XLA's executable."""
        return self.lowered.compile(compiler_options=self.options)


class Shelf:
    """The kept programs of one run; ``identity``: all of the run that decides what they are, as JSON."""

    def __init__(self, path: Path, identity: Any):
        self._path, self._common = path, [identity, _surroundings()]
        self._begun: dict[str, Future[Any]] = {}

    def begin(self, names: Sequence[str]) -> None:
        """Load and compile what is kept of ``names`` in threads, while the caller does something else."""
        with_two = platforms.of() == platforms.CPU  # as :class:`jaxpsn.run.compiling.Workshop` has them
        pool = ThreadPoolExecutor(2 if with_two else 1, thread_name_prefix="programs")
        self._begun = {name: pool.submit(self._load, name) for name in names}
        pool.shutdown(wait=False)

    def _load(self, name: str) -> tuple[Lowered, Any] | None:
        found = self._read(name)
        try:
            return found and (found, found.compile())
        except Exception:  # whatever it is, the caller comes upon it again
            return None

    def ready(self, name: str, args: Any) -> tuple[Any, Any] | None:
        """A program that :meth:`begin` compiled, and the structure of what it returns."""
        begun = self._begun.pop(name, None)
        found = begun and begun.result()
        return (found[1], found[0].outs) if found and found[0].shapes == _shapes(args) else None

    def lower(
        self, name: str, function: Callable[..., Any], args: Any, told: Callable[[Any], Any], donate: bool,
        options: dict[str, str],
    ) -> Any:  # fmt: skip
        """The kept program ``name``, or ``function(*args)``, which is then kept; None if it is none that can be.

        ``told``: the structure of what it returns, in JSON. ``donate``: its arguments may be overwritten.
        ``options``: those of XLA.
        """
        found = self._read(name)
        if found is None or found.shapes != _shapes(args):
            leaves, tree = jax.tree.flatten(args)
            outs: list[Any] = []

            def flat(*leaves: Any) -> list[Any]:
                made = function(*jax.tree.unflatten(tree, leaves))
                outs[:] = [told(made)]
                return jax.tree.leaves(made)

            try:
                exported = export.export(jax.jit(flat, donate_argnums=_all(leaves, donate)))(*leaves)
            except (ValueError, NotImplementedError):  # a call of which JAX does not vouch that it stays what it is
                return None
            about = {"outs": outs[0], "donate": donate, "options": options}
            self._write(name, exported, about)
            found = _lowered(exported, **about)
        return found

    def _file(self, name: str) -> Path:
        return self._path / (folder.digest([name, *self._common]) + _SUFFIX)

    def _read(self, name: str) -> Lowered | None:
        path = self._file(name)
        try:
            head, _, body = path.read_bytes().partition(b"\n")
            about = json.loads(head)
            if (about["of"], about["sha256"]) != (path.stem, hashlib.sha256(body).hexdigest()):
                return None
            os.utime(path)
            return _lowered(
                export.deserialize(bytearray(body)), *(about[part] for part in ("outs", "donate", "options"))
            )
        except Exception:  # a file that is not there, or not of ours, whatever it holds
            return None

    def _write(self, name: str, exported: Any, about: dict[str, Any]) -> None:
        """Keep a program; one that cannot be kept (no room, a callback to the host) is made anew by the next run."""
        try:
            body = bytes(exported.serialize())
            path = self._file(name)
            head = json.dumps(about | {"of": path.stem, "sha256": hashlib.sha256(body).hexdigest()}).encode()
            self._path.mkdir(exist_ok=True)
            files.sweep(self._path, held=False)
            files.write_atomically(path, head + b"\n" + body)
            _bound(self._path, MOST)
        except (OSError, ValueError, NotImplementedError):
            return


def shelf(path: Path | None, config: Any, **identity: Any) -> Shelf | None:
    """Kept programs beside the compiled ones in ``path`` (:func:`jaxpsn.run.cache.enable`); None where none are kept.

    ``config``, and ``identity`` in JSON: what decides the programs. None are kept without that folder, if
    JAXPSN_KEEP_PROGRAMS=0 says so, with ``flatbuffers`` missing (JAX writes with it), with several processes, and where
    components are not this package's own (a plugin's, a notebook's): no digest of ours would see those change.
    """
    if path is None or os.environ.get(SWITCH) == "0" or plugins.loaded() or jax.process_count() > 1:
        return None
    registered = (kind for family in ALL.values() for kind in family.kinds.values())
    if not all(map(_ours, (*registered, *_kinds(config)))) or importlib.util.find_spec("flatbuffers") is None:
        return None
    return Shelf(path / "programs", {"config": folder.plain(config)} | identity)


def _kinds(config: Any) -> Iterator[type]:
    """The classes of a config and of all that lies in it."""
    if dataclasses.is_dataclass(config):
        yield type(config)
        for one in dataclasses.fields(config):
            yield from _kinds(getattr(config, one.name))
    elif isinstance(config, tuple | list):
        for one in config:
            yield from _kinds(one)
    else:
        yield type(config)


def _ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in (*_SOURCES, "builtins")


def _lowered(exported: Any, outs: Any, donate: bool, options: dict[str, str]) -> Lowered:
    leaves = exported.in_avals
    call = jax.jit(exported.call, donate_argnums=_all(leaves, donate))
    return Lowered(call.lower(*leaves), _shapes(leaves), outs, options)


def _all(leaves: Sequence[Any], donate: bool) -> tuple[int, ...]:
    return tuple(range(len(leaves))) if donate else ()


def _shapes(args: Any) -> tuple[Any, ...]:
    return tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(args))


def _surroundings() -> dict[str, Any]:
    """What besides the run decides its programs."""
    device = jax.devices()[0]
    settings = {
        name: str(getattr(jax.config, name, value))
        for name, value in jax.config.values.items()
        if not any(word in name for word in _PLACES)
    }
    return origins() | {
        "platform": [platforms.of(), device.device_kind, device.client.platform_version, jax.device_count()],
        "settings": settings,
        "flags": os.environ.get("XLA_FLAGS", ""),
    }


def origins(ours: Sequence[str] = ()) -> dict[str, Any]:
    """Versions, and digests of sources, of all that is traced through; ``ours``: more packages of this checkout."""
    found = {name: version for name in _TASKS if (version := _version(name))}
    sources = {name: _digest(name, name in ("jaxpsn", *ours)) for name in (*_SOURCES, *ours)}
    return {"versions": folder.versions() | found, "sources": sources}


def _version(name: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def _digest(package: str, ours: bool) -> str:
    """Of the contents of our own sources; of another package's, by name, size and time."""
    spec = importlib.util.find_spec(package)
    whole = hashlib.sha256()
    for root in [] if spec is None else spec.submodule_search_locations or []:
        for path in sorted(Path(root).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            status = path.stat()
            told = path.read_bytes() if ours else f"{status.st_size} {status.st_mtime_ns}".encode()
            whole.update(f"{name}\0{len(told)}\0".encode() + told)
    return whole.hexdigest()


def _bound(path: Path, most: int) -> None:
    """Delete those used longest ago until all take at most ``most`` bytes; what another process deleted is gone."""
    found = []
    for one in path.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            found.append((one.stat().st_mtime, one.stat().st_size, one))
    total = sum(size for _, size, _ in found)
    for _, size, one in sorted(found):
        if total <= most:
            return
        with contextlib.suppress(OSError):
            one.unlink()
        total -= size
