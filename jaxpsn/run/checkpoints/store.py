"""Checkpoints that are whole or not there: digests for their content, the last whole one for a resume.

A checkpoint is committed by renaming its folder, so a killed save leaves only a partial one under another name. A
flipped byte is noticed (SHA-256 of every array as it was in memory and of every file as it was written, committed with
them), a broken checkpoint is named and moved aside, the last whole one is used, and saving goes on below the broken
step. Each process of a run writes what lies on its devices (:mod:`jaxpsn.run.checkpoints.shards`); any number of
devices and processes reads it.
"""

import contextlib
import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxpsn.core import digests, errors, files, placed
from jaxpsn.core.digests import Broken
from jaxpsn.core.placed import is_key
from jaxpsn.run.checkpoints import layout, shards
from jaxpsn.run.checkpoints.layout import ASIDE, PARTIAL, TRASH, steps
from jaxpsn.run.checkpoints.presence import Presence
from jaxpsn.run.cluster.team import ALONE, Team

_LOOKS = 5  # times a reader looks again because a run has deleted what it was reading
CAUSES = re.compile(
    "No space left on device|File too large|Disk quota exceeded|Read-only file system|Permission denied"
)


class CheckpointError(Exception):
    """A checkpoint could not be written (full disk, lost folder); ``step`` says which."""

    def __init__(self, step: int, cause: BaseException):
        text = " ".join(str(cause).split())
        known = CAUSES.search(text)
        self.step, self.reason = step, known.group() if known else text[:300] or type(cause).__name__
        super().__init__(f"checkpoint at step {step:,} was not written: {self.reason}")


class Restored(NamedTuple):
    """A state read back, and what was found on the way."""

    state: Any
    step: int
    info: dict[str, Any]
    """What ``save`` was given."""
    broken: tuple[str, ...]
    """One sentence per newer checkpoint that is not whole."""


def _paths(state: Any) -> list[str]:
    return [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]
    ]


def _arrays(state: Any) -> dict[str, jax.Array]:
    """Every leaf by its path, typed keys as their data."""
    leaves = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in jax.tree.leaves(state)]
    paths = _paths(state)
    if len(set(paths)) < len(paths):
        raise ValueError("two leaves of the state have one path; names in it must not contain dots")
    return dict(zip(paths, leaves, strict=True))


def snapshot(state: Any) -> dict[str, np.ndarray]:
    """Host copies of every leaf by its path, typed keys as their data; safe from later donation of ``state``."""
    arrays = _arrays(state)
    for leaf in arrays.values():
        leaf.copy_to_host_async()
    return {path: np.array(leaf, copy=True) for path, leaf in arrays.items()}


def digest(state: Any) -> str:
    """SHA-256 over paths, types, shapes and bytes of every leaf: equal for states that are equal bit for bit."""
    sha = hashlib.sha256()
    for path, array in snapshot(state).items():
        sha.update(f"{path} {digests.of_array(array)}\n".encode())
    return sha.hexdigest()


def _refuse_other_state(path: Path, manifest: dict[str, Any], template: Any, part: bool) -> None:
    wanted = {}
    for name, leaf in zip(_paths(template), jax.tree.leaves(template), strict=True):
        data = jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf
        wanted[name] = [list(data.shape), data.dtype.name]
    found = {name: [entry["shape"], entry["dtype"]] for name, entry in manifest["arrays"].items()}
    for name in sorted(wanted.keys() if part else wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            shapes = f"{name} is {found.get(name)}, expected {wanted.get(name)}"
            errors.refuse("checkpoint" if part else "resume", str(path), f"holds another state: {shapes}")


def _place(wanted: Any, array: np.ndarray, impl: str | None) -> jax.Array:
    """A leaf on its devices, a shard each if ``wanted`` is a shape with a sharding; ``impl`` of a typed key."""
    made = placed.array(array, wanted.sharding if isinstance(wanted, jax.ShapeDtypeStruct) else None)
    return made if impl is None else jax.random.wrap_key_data(made, impl=impl)


def _assemble(template: Any, arrays: dict[str, np.ndarray], keys: dict[str, str]) -> Any:
    wanted = zip(_paths(template), jax.tree.leaves(template), strict=True)
    leaves = [_place(leaf, arrays[name], keys.get(name)) for name, leaf in wanted]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _whole(path: Path, template: Any, part: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and arrays of a checkpoint; of the latter those in ``template``."""
    manifest = shards.manifest(path)
    _refuse_other_state(path, manifest, template, part)
    return manifest, shards.read(path, manifest, _paths(template))


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, Broken) else f"unreadable ({type(error).__name__})"


def _newest(folder: Path, listed: Sequence[int], template: Any, part: bool) -> tuple[Restored | None, dict[int, str]]:
    """The last whole checkpoint of those ``listed``, and what is said of the broken ones above it, by their steps."""
    broken: dict[int, str] = {}
    for step in reversed(listed):
        try:
            manifest, arrays = _whole(folder / str(step), template, part)
        except (errors.UserError, MemoryError, PermissionError):
            raise
        except Exception as error:  # whatever is made of damaged files, or of files that go away
            broken[step] = f"checkpoint {step} is broken: {_reason(error)}"
            continue
        state = _assemble(template, arrays, manifest["keys"])
        return Restored(state, step, manifest["info"], tuple(broken.values())), broken
    return None, broken


def read(folder: Path, template: Any, step: int | None = None) -> Restored:
    """The newest whole checkpoint in ``folder``, or that of ``step``, for who only looks: nothing there is changed.

    ``template`` (arrays or shapes) may be a part of the state; only its arrays are read. The run may go on meanwhile:
    where it deletes a checkpoint that is being read, all are looked at again. Raises UserError if there is none, if all
    (or that of ``step``) are broken, and if a whole one holds other arrays.
    """
    for _ in range(_LOOKS):
        listed = steps(folder)
        if step is not None and step not in listed:
            errors.refuse("step", step, f"a checkpoint in {folder}; there are: {', '.join(map(str, listed)) or 'none'}")
        found, broken = _newest(folder, listed if step is None else [step], template, part=True)
        if all((folder / str(one)).exists() for one in broken):
            break
    if found is None:
        raise errors.UserError(f"{folder}: no whole checkpoint" + "".join(f"; {text}" for text in broken.values()))
    return found


class Store:
    """The checkpoints of one run folder, each a folder named by its step; one writer at a time (the folder's lock).

    All processes of a ``team`` save and restore alike; process 0 alone commits, deletes and moves. Nothing on the disk
    changes before :meth:`settle`. ``run`` is asked before every save whether the run folder is still where it was.
    """

    def __init__(
        self,
        folder: Path,
        keep: int,
        on_commit: Callable[[int], None] = lambda step: None,
        team: Team = ALONE,
        run: Presence | None = None,
    ):
        self.folder, self.keep, self.on_commit, self.team, self.run = folder, keep, on_commit, team, run
        self._stop = threading.Event()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: tuple[int, Future[None]] | None = None
        self._aside: list[tuple[Path, Path]] = []
        self._settled = False
        self._own: int | None = None  # step of the checkpoint that was read or written last

    def settle(self) -> None:
        """Make the folder ready for saves: broken checkpoints are renamed, what killed saves have left is deleted.

        Raises UserError where the folder is a link.
        """
        if self._settled:
            return
        self._settled = True
        if not self.team.first:
            return
        files.make_folder(self.folder)
        for path, aside in self._aside:
            path.rename(aside)
        for entry in self.folder.iterdir():
            if entry.name.startswith((PARTIAL, TRASH)):
                with contextlib.suppress(OSError):
                    layout.clear(entry)

    def steps(self) -> list[int]:
        """Steps of the committed checkpoints, ascending."""
        return steps(self.folder)

    def path(self, step: int) -> Path:
        """Where the checkpoint of ``step`` lies."""
        return self.folder / str(step)

    def last(self) -> Path | None:
        """The newest committed checkpoint."""
        return self.path(max(self.steps())) if self.steps() else None

    def save(self, step: int, state: Any, info: dict[str, Any]) -> None:
        """Copy ``state`` to the host now and write it in the background; JSON ``info`` comes back with it.

        Raises CheckpointError if the save before this one failed, UserError if the run folder is gone.
        """
        self.wait()
        self._check()
        self.settle()
        if step == self._own and step in self.steps():
            return
        if self.team.first and (self.path(step).exists() or self.path(step).is_symlink()):
            self.path(step).rename(layout.free(self.folder / f"{ASIDE}{step}"))  # not of this run, or it would be known
        keys = {
            name: str(jax.random.key_impl(leaf))
            for name, leaf in zip(_paths(state), jax.tree.leaves(state), strict=True)
            if is_key(leaf)
        }
        arrays = _arrays(state)
        described = {name: {"shape": list(leaf.shape), "dtype": leaf.dtype.name} for name, leaf in arrays.items()}
        description = {"arrays": described, "keys": keys, "info": info}
        own = shards.snapshot(arrays)
        written = self._writer.submit(shards.save, self.path(step), self.team, own, description, self._stop)
        self._pending = step, written

    def _check(self, written: int | None = None) -> None:
        """Raise UserError if the run folder is gone; what was ``written`` meanwhile in a new one of its name goes."""
        try:
            if self.run is not None:
                self.run.check()
        except errors.UserError:
            if written is not None and self.team.first:
                ghost = not (self.folder.parent / "config.json").exists()  # else somebody's run folder, left alone
                for entry in (layout.partial(self.path(written)), *([self.path(written)] if ghost else ())):
                    shutil.rmtree(entry, ignore_errors=True)
                with contextlib.suppress(OSError):
                    self.folder.rmdir()
                    self.folder.parent.rmdir()
            raise

    def poll(self) -> None:
        """Report a background save that has ended: ``on_commit``, or CheckpointError."""
        if self._pending is not None and self._pending[1].done():
            self.wait()

    def wait(self) -> None:
        """Block until nothing is being written; then as ``poll``."""
        if self._pending is None:
            return
        (step, future), self._pending = self._pending, None
        try:
            future.result()
        except Exception as error:
            self._check(step)
            raise CheckpointError(step, error) from error
        self._check(step)
        if step not in self.steps():
            raise CheckpointError(step, OSError("it is gone"))
        self._own = step
        self.on_commit(step)
        for old in self.steps()[: -self.keep] if self.team.first else ():
            self._delete(self.path(old))

    def close(self) -> None:
        """End the writer; a save in flight is finished first, if it needs no other process."""
        self._stop.set()
        self._writer.shutdown(wait=True)
        if self._pending is not None:
            with contextlib.suppress(errors.UserError):
                self._check(self._pending[0])

    def _delete(self, path: Path) -> None:
        # Renamed first: a deletion that is cut off must not leave half a checkpoint under a step's name.
        trash = path.with_name(TRASH + path.name)
        with contextlib.suppress(OSError):
            path.rename(trash)
            shutil.rmtree(trash)

    def restore(self, template: Any) -> Restored | None:
        """The newest whole checkpoint as a state like ``template`` (arrays or shapes), None if there is none.

        Shapes with shardings say where the arrays go, however they were placed when they were saved. Broken ones are
        renamed ``broken-STEP`` by :meth:`settle`. Raises UserError if all are broken, or if a whole one holds arrays
        of other names, shapes or types, or if processes find different ones.
        """
        found = self._restore(template)
        said = self.team.gather(str(found and found.step))
        if len(set(said)) > 1:
            steps_found = ", ".join(f"{step} by process {process}" for process, step in enumerate(said))
            errors.refuse("resume", str(self.folder), f"a folder that all processes see alike; found: {steps_found}")
        self._own = found and found.step
        return found

    def _restore(self, template: Any) -> Restored | None:
        found, broken = _newest(self.folder, self.steps(), template, part=False)
        if found is None and broken:
            said = "; ".join(broken.values())
            errors.refuse("resume", str(self.folder), f"no whole checkpoint is left; {said}")
        self._aside = [(self.path(step), layout.free(self.folder / f"broken-{step}")) for step in broken]
        moved = [f"{text}; moved to {aside}" for text, (_, aside) in zip(broken.values(), self._aside, strict=True)]
        return found and found._replace(broken=tuple(moved))
