"""Weights in the form of Orbax, for plain Flax code: written from a policy of ours, read as a tree of arrays.

Runs keep their own checkpoints (:mod:`jaxpsn.run.checkpoints`); this is the door to other code.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpsn.core import errors


def save(folder: str | Path, params: Any) -> Path:
    """Write ``params``, such as ``policy.params``, as the Orbax checkpoint ``folder``; returns its absolute path.

    ``orbax.checkpoint.StandardCheckpointer().restore(path)`` reads it anywhere, as the arrays lie on no device. Raises
    UserError if something of that name is there, or if it cannot be written.
    """
    path = Path(folder).expanduser().absolute()
    if path.exists() or path.is_symlink():
        errors.refuse("folder", str(folder), "a folder that is not there yet")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _checkpointer() as checkpointer:
            checkpointer.save(path, jax.tree.map(np.asarray, jax.device_get(params)))
    except OSError as error:
        raise errors.UserError(f"{folder}: not written ({error.strerror or error})") from None
    return path


def load(folder: str | Path, like: Any = None) -> Any:
    """The weights in an Orbax checkpoint, NumPy arrays in nested dicts; ``like``: shapes to hold them to.

    Raises UserError if there is none, and if it holds other weights than ``like``.
    """
    path = Path(folder).expanduser().absolute()
    with _checkpointer() as checkpointer:
        try:
            found = jax.tree.map(np.asarray, checkpointer.restore(path))
        except (OSError, ValueError) as error:
            told = "it is not there" if not path.exists() else errors.short(error, 200)
            errors.refuse("folder", str(folder), f"weights that Orbax reads; {told}")
    if like is not None and _described(found) != _described(like):
        errors.refuse("folder", str(folder), "weights of the same names, shapes and types as those asked for")
    return found


def _checkpointer() -> Any:
    """Of the standard form; one that writes before it returns, and so has no threads to fail in."""
    from orbax.checkpoint import Checkpointer, StandardCheckpointHandler

    return Checkpointer(StandardCheckpointHandler())


def _described(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): (tuple(leaf.shape), np.dtype(leaf.dtype)) for path, leaf in leaves}
