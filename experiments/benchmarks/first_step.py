"""One process from its start to its first training step: ``python -m benchmarks.first_step JSON``.

The JSON names the moment the process was started (``begun``, seconds since the epoch) and the ``control`` config. One
line of JSON on stdout is the answer: seconds of each stage, bytes of the compiled step, and the machine.
"""

import importlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from jaxpsn.run import startup

STAGES = ("import", "build", "trace", "compile", "first state", "first step")
"""``import``: the interpreter, JAX with its backend, the physics. ``build``: the task and the program. ``trace``: from
Python to XLA's input. ``compile``: XLA's work. ``first state``: a small program of its own, compiled and run."""

_BYTES = ("argument", "output", "temp", "alias", "generated_code")


class _Clock:
    def __init__(self, begun: float):
        self._last = begun
        self.seconds: dict[str, float] = {}

    def stage(self, name: str) -> None:
        now = time.time()
        self.seconds[name], self._last = now - self._last, now


def planned_bytes(compiled: Any) -> dict[str, int]:
    """What XLA says of the memory of a compiled program, in bytes; empty where the backend does not tell."""
    found = compiled.memory_analysis()
    return {} if found is None else {f"{name}_bytes": getattr(found, f"{name}_size_in_bytes") for name in _BYTES}


def _measured(begun: float, record: dict[str, Any]) -> dict[str, Any]:
    clock = _Clock(begun)
    import jax

    from benchmarks.timing import machine
    from jaxpsn.control import program as programs
    from jaxpsn.control.config import ControlConfig
    from jaxpsn.control.placement import Placement
    from jaxpsn.envs import brax_door
    from jaxpsn.run import cache, chunk, command

    with brax_door.quiet():
        importlib.import_module("brax.envs")
    cache.enable()
    told = machine()  # starts the backend
    clock.stage("import")
    program = programs.make(command.from_record(ControlConfig, record), 1, place=Placement(ours=True))
    init = jax.jit(chunk.make_init(program, 1), compiler_options=program.compiler_options)
    keys = chunk.seed_keys(0, 1)
    template = jax.eval_shape(init, keys)
    clock.stage("build")
    lowered = jax.jit(chunk.make_chunk(program, 1, 1), donate_argnums=0).lower(template)
    clock.stage("trace")
    compiled = lowered.compile(compiler_options=program.compiler_options)
    clock.stage("compile")
    state = jax.block_until_ready(init(keys))
    clock.stage("first state")
    jax.block_until_ready(compiled(state))
    clock.stage("first step")
    device = jax.devices()[0].memory_stats() or {}
    peak = device.get("peak_bytes_in_use")
    return {"seconds": clock.seconds, "bytes": planned_bytes(compiled), "peak_bytes": peak, "machine": told}


@startup.main_guard
def main(argv: Sequence[str]) -> None:
    """Measure what ``argv`` describes and print the answer."""
    told = json.loads(argv[0])
    startup.result(json.dumps(_measured(told["begun"], told["control"])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
