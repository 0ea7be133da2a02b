"""Branches, of which a program that knows the answer while it is traced has none."""

from collections.abc import Callable
from typing import Any

from jax import lax


def when(flag: Any, yes: Callable[..., Any], no: Callable[..., Any], *operands: Any) -> Any:
    """``lax.cond``; where ``flag`` is a ``bool`` of Python, the branch itself: nothing waits, nothing is copied."""
    if isinstance(flag, bool):
        return (yes if flag else no)(*operands)
    return lax.cond(flag, yes, no, *operands)
