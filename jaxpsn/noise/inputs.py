"""What users hand over: made into arrays where it can be, refused in one line where it cannot."""

import operator
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxpsn.core import compat
from jaxpsn.core.errors import refuse


def is_array(value: Any) -> bool:
    """Whether ``value`` has a shape and a type: an array of JAX or NumPy, a tracer, or a ``ShapeDtypeStruct``."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def said(value: Any) -> Any:
    """``value`` as messages print it: type and shape of an array, the name of anything large."""
    if is_array(value):
        return _Bare(f"{value.dtype}{list(value.shape)}")
    if isinstance(value, bool | int | float | complex | str | None) and len(repr(value)) <= 60:
        return value
    if isinstance(value, list | tuple | dict) and len(repr(value)) <= 60:
        return value
    return _Bare(getattr(value, "__name__", None) or f"a {type(value).__name__}")


class _Bare(str):
    """A string that messages print without quotes."""

    def __repr__(self) -> str:
        return str(self)


def few(paths: Iterable[str]) -> list[str]:
    """The first of many paths, as a message of one line can hold them."""
    paths = list(paths)
    return paths if len(paths) <= 4 else [*paths[:4], _Bare(f"and {len(paths) - 4} more")]


def array(field: str, value: Any, allowed: str) -> Array:
    """``value`` as a JAX array of numbers; lists and NumPy arrays are converted, the rest refused."""
    if isinstance(value, jax.Array):
        return value
    try:
        made = jnp.asarray(value)
    except (TypeError, ValueError, OverflowError):
        refuse(field, said(value), allowed)
    if not isinstance(made, jax.Array):
        refuse(field, said(value), allowed)
    return made


def typed_key(key: Any) -> None:
    """Refuse raw keys, arrays of keys, and implementations that ignore all but the first key under ``vmap``."""
    if not is_array(key) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        refuse("key", said(key), "a typed key, as jax.random.key makes it")
    if key.shape:
        refuse("key", said(key), "one key; vmap over several")
    if "rbg" in str(jax.random.key_impl(key)):
        refuse("key", str(jax.random.key_impl(key)), "threefry2x32 or philox4x32; rbg uses one key for all under vmap")


def mask(field: str, value: Any, like: Array | None = None) -> Array:
    """``value`` as booleans: booleans, or floats as flags (Brax's ``done``); shaped ``like[members]`` where given."""
    allowed = "booleans, or floats that are 0 or 1"
    if like is not None:
        allowed += f", one for each of the {like.shape[-1]} members or one for all"
    made = array(field, value, allowed)
    floating = jnp.issubdtype(made.dtype, jnp.floating)
    if not (floating or made.dtype == jnp.bool_) or (like is not None and made.shape not in ((), like.shape)):
        refuse(field, said(made), allowed)
    if floating:
        made = made != 0
    # Zeros like the members, so that what holds for all is spread over devices as they are.
    return made if like is None or made.shape else made | jnp.zeros_like(like, jnp.bool_)


def numbers(members: Any, key: Any, pairs: bool) -> Array:
    """The global numbers u32[members] of new members: ``members`` itself, or 0 and up if it is a count."""
    allowed = "a whole number of at least 1, or the members' global numbers as integers [members]"
    members = members.item() if isinstance(members, np.generic) else members
    if isinstance(members, list | tuple) or (is_array(members) and members.shape != ()):
        made = array("members", members, allowed)
        if made.ndim != 1 or not made.size or not jnp.issubdtype(made.dtype, jnp.integer):
            refuse("members", said(made), allowed)
        if not isinstance(made, jax.core.Tracer) and np.asarray(made).min() < 0:
            refuse("members", int(np.asarray(made).min()), "numbers of at least 0")
        return made.astype(jnp.uint32)
    if isinstance(members, bool) or not isinstance(members, int) or members < 1:
        refuse("members", said(members), allowed)
    if pairs and members % 2:
        refuse("members", members, "even, as antithetic members come in pairs")
    shared = compat.manual_axes() - compat.varying(key)
    if shared:
        axes = ", ".join(sorted(map(str, shared)))
        refuse(
            "members", members, f"inside shard_map or pmap over {axes} give their global numbers, an array [members]"
        )
    return jnp.arange(members, dtype=jnp.uint32)


def member(value: Any, members: int) -> Any:
    """``value`` if it is the place of one member; a traced one is not looked at."""
    allowed = f"0 to {members - 1}"
    if isinstance(value, jax.core.Tracer):
        if value.shape or not jnp.issubdtype(value.dtype, jnp.integer):
            refuse("member", said(value), f"one integer, {allowed}")
        return value
    try:
        place = operator.index(value)
    except TypeError:
        refuse("member", said(value), f"one integer, {allowed}")
    if isinstance(value, bool | np.bool_) or not 0 <= place < members:
        refuse("member", place if not isinstance(value, bool) else value, allowed)
    return place


def leading(x: Any, members: int) -> None:
    """Refuse inputs of which a leaf has no leading axis of members."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(x):
        if not is_array(leaf) or leaf.shape[:1] != (members,):
            place = jax.tree_util.keystr(path)
            refuse("x" + place, said(leaf), f"an array with a leading axis of the {members} members")


def example(value: Any) -> None:
    """Refuse an example input with leaves that are neither arrays nor numbers."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(value):
        if not is_array(leaf) and not isinstance(leaf, bool | int | float | complex):
            refuse("example" + jax.tree_util.keystr(path), said(leaf), "arrays, shapes (ShapeDtypeStruct) or numbers")


def of_type(field: str, value: Any, wanted: type, allowed: str) -> None:
    """Refuse a value of another type, and say how it is made."""
    if not isinstance(value, wanted):
        refuse(field, said(value), allowed)


def function(field: str, value: Any, allowed: str) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        refuse(field, said(value), allowed)


def flag(field: str, value: Any) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, bool):
        refuse(field, said(value), "True or False")
