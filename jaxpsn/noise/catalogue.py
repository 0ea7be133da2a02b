"""Perturbation structures by the names that configs use."""

from collections.abc import Callable
from typing import Any

from jaxpsn.core.errors import nearest, refuse
from jaxpsn.noise import inputs
from jaxpsn.noise.dense import Dense, InputGain
from jaxpsn.noise.flipout import Flipout
from jaxpsn.noise.lowrank import Factorised, LowRank
from jaxpsn.noise.structures import Structure


def named(name: Any, rank: Any = 1, antithetic: Any = False) -> Structure:
    """The structure called ``name``; ``rank`` is that of ``lowrank``. Raises UserError for an unknown name."""
    makers: dict[str, Callable[[], Structure]] = {
        "dense": lambda: Dense(antithetic=antithetic),
        "dense-bf16": lambda: Dense(store="bfloat16", antithetic=antithetic),
        "flipout": lambda: Flipout(base="hadamard", antithetic=antithetic),
        "flipout-sign": lambda: Flipout(base="sign", antithetic=antithetic),
        "flipout-normal": lambda: Flipout(base="normal", antithetic=antithetic),
        "lowrank": lambda: LowRank(rank=rank, antithetic=antithetic),
        "factorised": lambda: Factorised(antithetic=antithetic),
        "input-gain": lambda: InputGain(antithetic=antithetic),
    }
    inputs.of_type("structure", name, str, f"a name: {', '.join(makers)}")
    if name not in makers:
        refuse("structure", name, nearest(name, makers))
    return makers[name]()
