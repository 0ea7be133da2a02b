"""The price of noise in training: whole steps of one agent, its exploration changed."""

from typing import Any

import jax
from jaxtyping import Array

from benchmarks import timing
from benchmarks.options import Training
from benchmarks.tables import Table
from jaxpsn.control import program
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.placement import Placement
from jaxpsn.run import cache, startup

WITHOUT = "none"


class Chunk:
    """Vector steps of one run; every call continues where the last one stopped."""

    def __init__(self, config: ControlConfig, calls: int, env: Any = None):
        made = program.make(config, calls, env, Placement(ours=True))
        self._options = made.compiler_options

        def run(state: Any) -> Any:
            return jax.lax.scan(lambda state, _: (made.step(state)[0], None), state, None, length=calls)[0]

        self._state = jax.jit(lambda key: made.init(key, made.hyper), compiler_options=self._options)(jax.random.key(0))
        # Traced here, one after the other, as Brax's warnings are hushed for all threads alike.
        self._run: Any = jax.jit(run, donate_argnums=0).lower(self._state)
        self._chunks = 0

    def compile(self) -> None:
        """Compile what was traced; others may be compiled meanwhile."""
        self._run = self._run.compile(compiler_options=self._options)

    def __call__(self) -> Array:
        """Run one chunk; what it returns is ready when the chunk is done."""
        self._state = self._run(self._state)
        self._chunks += 1
        return self._state.clock

    def updates(self) -> float:
        """Critic updates of one chunk."""
        return int(self._state.updates) / max(self._chunks, 1)


def table(options: Training) -> Table:
    """Rows of every arm: seconds of a chunk, its ratio to the first rule and to no noise, steps and updates a second.

    ``steps_per_second`` and ``updates_per_second`` belong to the median chunk; their ratio to another arm's is one
    over that of the seconds.
    """
    cache.enable()  # compiling is not what is timed
    chunks, arms = {}, options.arms()
    for name, config in arms.items():
        startup.speak(f"building: {name}")
        chunks[name] = Chunk(config, options.calls)
    startup.speak("compiling, then timing")
    timing.together([chunk.compile for chunk in chunks.values()])
    seconds = timing.measure(chunks, options.rounds, limit=options.seconds)
    names, rows = list(chunks), []
    for index, found in enumerate(timing.compare(names, seconds)):
        row = found._asdict() | {
            "steps_per_second": options.calls * arms[found.name].steps_per_call / found.seconds,
            "updates_per_second": chunks[found.name].updates() / found.seconds,
            "rounds": len(seconds),
        }
        if WITHOUT in names:
            ratio = timing.ratio(seconds[:, index], seconds[:, names.index(WITHOUT)])
            row |= {"none_ratio": ratio.median, "none_ratio_low": ratio.low, "none_ratio_high": ratio.high}
        rows.append(row)
    return Table(rows, timing.machine())
