"""The price of seeds: several runs in one compiled program, as the run loop compiles them."""

from typing import Any

from jaxtyping import Array

from benchmarks import timing
from benchmarks.scale_options import Seeds
from benchmarks.tables import Table
from jaxpsn.control import placement, program
from jaxpsn.control.config import ControlConfig
from jaxpsn.run import cache, cadence, engine, progress, startup
from jaxpsn.run.config import RunConfig


class Run:
    """A run without its folder; every call is one chunk of ``calls`` vector steps of all its seeds."""

    def __init__(
        self, config: ControlConfig, calls: int, seeds: int = 1, mesh: str | None = None, judged: bool = False
    ):
        made = program.make(config, calls, place=placement.Placement(mesh, ours=True))
        chunk = calls * made.steps_per_call
        run = RunConfig(steps=chunk, chunk=chunk, seeds=seeds, eval_every=chunk if judged else 0)
        self._engine = engine.make(made, run)
        self._plan = cadence.plan(run, made.steps_per_call)
        self._state: Any = None
        self.steps_per_chunk = chunk * seeds

    def compile(self) -> None:
        """Compile all, and draw the first state."""
        self._engine.prepare(self._plan, self._engine.template(), progress.Progress(), lambda *told: None)
        self._state = self._engine.init()

    def __call__(self) -> Array:
        """Make one chunk; what is returned is ready when the chunk is done."""
        self._state = self._engine.advance(self._state, self._plan.calls, lambda calls: True, {}).state
        return self._state.clock

    def judge(self) -> dict[str, Any]:
        """An evaluation of the clean policy, on the host."""
        return self._engine.judge(self._state)


def table(options: Seeds) -> Table:
    """A row for every number of seeds: seconds of a chunk, and environment steps a second of all seeds together.

    ``ratio`` is to the first number of seeds, ``per_seed`` that for each of its seeds: below one, seeds share costs.
    """
    cache.enable()  # compiling is not what is timed
    runs = {count: Run(options.config(), options.calls, count) for count in options.seeds}
    names = {count: f"{count} seed{'s' * (count > 1)}" for count in runs}
    for count, run in runs.items():
        startup.speak(f"compiling for {names[count]}")
        run.compile()
    seconds = timing.measure({names[count]: run for count, run in runs.items()}, options.rounds, limit=options.seconds)
    rows = []
    for count, found in zip(runs, timing.compare(list(names.values()), seconds), strict=True):
        rate = runs[count].steps_per_chunk / found.seconds
        shared = {"seeds": count, "steps_per_second": rate, "rounds": len(seconds)}
        rows.append(found._asdict() | shared | {"per_seed": found.ratio * options.seeds[0] / count})
    return Table(rows, timing.machine())
