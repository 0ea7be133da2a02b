"""Which of two choices is the one that leads to the right, state by state."""

import numpy as np
from jaxtyping import Int


def rightward(kind: str, shape: tuple[int, ...], seed: int) -> Int[np.ndarray, "..."]:
    """The choice (0 or 1) that goes right in each state: 1 everywhere if ``fixed``, else fair coins of ``seed``.

    The coins are NumPy's, drawn as bsuite draws those of Deep Sea: with its seed the mapping is its own.
    """
    if kind == "fixed":
        return np.ones(shape, np.int32)
    return np.random.RandomState(seed).binomial(1, 0.5, shape).astype(np.int32)
