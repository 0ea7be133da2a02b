"""Return over seconds: one run, judged after every chunk."""

import time

from benchmarks import timing
from benchmarks.scale_options import Learning
from benchmarks.seeds import Run
from benchmarks.tables import Table
from jaxpsn.run import cache, startup


def table(options: Learning) -> Table:
    """A row for every evaluation: environment steps, seconds spent on training alone, and the return.

    The first is that of the untrained policy; the last chunk is the first to end after ``options.seconds``.
    """
    cache.enable()  # compiling is not what is timed
    startup.speak(f"compiling {options.env}, {options.num_envs:,} environments, with its evaluation")
    run = Run(options.config(), options.calls, judged=True)
    run.compile()
    seconds, steps, rows = 0.0, 0, []
    while True:
        told = {name: float(value) for name, value in run.judge().items()}
        rows.append({"name": options.env, "num_envs": options.num_envs, "steps": steps, "trained": seconds} | told)
        if seconds >= options.seconds:
            return Table(rows, timing.machine())
        begun = time.perf_counter()
        run().block_until_ready()
        seconds += time.perf_counter() - begun
        steps += run.steps_per_chunk
