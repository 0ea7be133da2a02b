"""The price of one insert into replay, by capacity."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from benchmarks.options import Replay
from benchmarks.tables import Table
from benchmarks.timing import interleaved, machine
from jaxpsn.control import replay
from jaxpsn.control.state import Transition


def table(options: Replay) -> Table:
    """A row for every capacity; the first is what all are compared with."""
    contenders = replay_contenders(options.capacities, options.num_envs, options.sizes, options.inserts)
    return Table([timing._asdict() for timing in interleaved(contenders, options.rounds)], machine())


class Inserts:
    """``count`` inserts of one vector step into a donated ring of ``rows`` rows."""

    def __init__(self, rows: int, example: Transition, count: int):
        def run(ring: replay.Replay, clock: Array, row: Transition) -> tuple[replay.Replay, Array]:
            def insert(carry: Any, _: None) -> tuple[Any, None]:
                ring, clock = carry
                # Other values every time: what does not change could be written once.
                fresh = row.replace(reward=row.reward + clock.astype(jnp.float32))
                return (replay.insert(ring, clock, fresh), clock + 1), None

            return jax.lax.scan(insert, (ring, clock), None, length=count)[0]

        self._run = jax.jit(run, donate_argnums=0)
        self._ring, self._clock, self._row = replay.init(rows, example), jnp.int32(0), example

    def __call__(self) -> Array:
        """Insert on; what it returns is ready when all inserts are done."""
        self._ring, self._clock = self._run(self._ring, self._clock, self._row)
        return self._clock


def replay_contenders(
    capacities: tuple[int, ...], num_envs: int, sizes: tuple[int, int], count: int
) -> dict[str, Callable[[], Array]]:
    """Name -> ``count`` inserts of ``num_envs`` transitions, for every capacity; the first is the baseline.

    ``capacities`` are in transitions; ``sizes``: of observation and action.
    """
    wide = [jnp.ones((num_envs, size), jnp.float32) for size in sizes]
    number, flag = jnp.ones((num_envs,), jnp.float32), jnp.zeros((num_envs,), bool)
    example = Transition(wide[0], wide[1], number, flag, flag, wide[0])
    return {
        f"{capacity:,} transitions": Inserts(max(1, capacity // num_envs), example, count) for capacity in capacities
    }
