"""Prompts as one left-padded array, and how lists of token ids become one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import struct

from jaxpsn.core.errors import refuse

BUCKET = 16
"""Widths of packed prompts are multiples of this, so that few programs are compiled."""


@struct.dataclass
class Prompts:
    """R prompts, LEFT padded: the text of row r is its last ``lengths[r]`` tokens, whatever the others hold."""

    tokens: Any  # i32[prompts, width]
    lengths: Any  # i32[prompts]

    @property
    def width(self) -> int:
        """Length of the padded rows."""
        return self.tokens.shape[1]


def pack(lists: Sequence[Sequence[int]], length: int | None = None, pad: int = 0, limit: int | None = None) -> Prompts:
    """Lists of token ids as left-padded :class:`Prompts` (NumPy).

    ``length`` is the width; None takes the longest prompt, rounded up to a multiple of 16. ``limit`` bounds the
    length of a prompt. Refuses an empty prompt and one longer than ``length`` or ``limit``, naming its index.
    """
    if not lists:
        refuse("prompts", list(lists), "at least one")
    allowed = min((bound for bound in (length, limit) if bound is not None), default=None)
    for index, ids in enumerate(lists):
        if not ids:
            refuse(f"prompts[{index}]", list(ids), "at least one token")
        if allowed is not None and len(ids) > allowed:
            refuse(f"prompts[{index}]", f"{len(ids)} tokens", f"at most {allowed}")
    longest = max(len(ids) for ids in lists)
    width = length if length is not None else -(-longest // BUCKET) * BUCKET
    tokens = np.full((len(lists), width), pad, np.int32)
    for row, ids in zip(tokens, lists, strict=True):
        row[width - len(ids) :] = ids
    return Prompts(tokens, np.asarray([len(ids) for ids in lists], np.int32))
