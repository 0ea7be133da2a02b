"""The price of parameter noise in training: whole steps of one agent, its exploration changed."""

from dataclasses import replace
from typing import Any

import jax
from jaxtyping import Array

from jaxpsn.control import program
from jaxpsn.control.config import ControlConfig


class Chunk:
    """Vector steps of one run; every call continues where the last one stopped."""

    def __init__(self, config: ControlConfig, calls: int):
        made = program.make(config, calls)

        def run(state: Any) -> Any:
            return jax.lax.scan(lambda state, _: (made.step(state)[0], None), state, None, length=calls)[0]

        self._run = jax.jit(run, donate_argnums=0)
        self._state = jax.jit(lambda key: made.init(key, made.hyper))(jax.random.key(0))

    def __call__(self) -> Array:
        """Run one chunk; what it returns is ready when the chunk is done."""
        self._state = self._run(self._state)
        return self._state.clock


def training_contenders(config: ControlConfig, structures: tuple[str, ...], calls: int) -> dict[str, Chunk]:
    """Name -> a chunk of ``calls`` vector steps of ``config``: gaussian first, then parameter noise of each structure.

    There is no warm-up but the first chunk, so that every timed step learns.
    """
    config = replace(config, warmup=config.steps_per_call)

    def chunk(**exploration: Any) -> Chunk:
        return Chunk(replace(config, exploration=replace(config.exploration, **exploration)), calls)

    return {"gaussian": chunk(rule="gaussian")} | {name: chunk(rule="parameter", structure=name) for name in structures}
