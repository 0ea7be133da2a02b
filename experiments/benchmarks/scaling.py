"""The price of several devices: one run cut over them, in a process for every number, chunk by chunk in turns.

``python -m benchmarks.scaling JSON`` is one of the processes: it compiles, says on what machine in a
line of JSON, and then makes a chunk for every line on stdin.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks import paths, timing
from benchmarks.scale_options import Scaling
from benchmarks.seeds import Run
from benchmarks.tables import Table
from jaxpsn.control.config import ControlConfig
from jaxpsn.core import errors
from jaxpsn.run import cache, command, folder, startup, status


class Worker:
    """A process of its own with ``devices`` CPU devices; every call makes one chunk there."""

    def __init__(self, options: Scaling, devices: int):
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        own = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags.strip(), "PYTHONPATH": paths.search_path()}
        told = json.dumps({"devices": devices, "calls": options.calls, "control": folder.plain(options.config())})
        self._said = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scaling", told], env=os.environ | own, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
        )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        """The next line it says. Raises UserError with its own words where the options are at fault."""
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._said.seek(0)
        said = self._said.read().strip()
        if code == status.USER_ERROR:
            raise errors.UserError(said.splitlines()[-1].removeprefix("error: "))
        raise RuntimeError(f"a process for several devices ended with status {code}:\n{said}")

    def __call__(self) -> None:
        """One chunk."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.answer()

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()
        self._said.close()


def table(options: Scaling) -> Table:
    """A row for every number of devices: seconds of a chunk, its ratio to the first number, steps a second."""
    workers: dict[int, Worker] = {}
    machine: dict[str, Any] = {}
    names = {devices: f"{devices} device{'s' * (devices > 1)}" for devices in options.devices}
    try:
        for devices in options.devices:
            startup.speak(f"compiling for {names[devices]}, in a process of its own")
            workers[devices] = Worker(options, devices)
            machine = workers[devices].answer()  # one after the other, as compiling takes all cores
        startup.speak("timing")
        contenders = {names[devices]: worker for devices, worker in workers.items()}
        seconds = timing.measure(contenders, options.rounds, limit=options.seconds)
    finally:
        for worker in workers.values():
            worker.close()
    steps, rows = options.calls * options.config().steps_per_call, []
    for devices, found in zip(options.devices, timing.compare(list(names.values()), seconds), strict=True):
        row = {"devices": devices, "steps_per_second": steps / found.seconds, "rounds": len(seconds)}
        rows.append(found._asdict() | row)
    return Table(rows, machine)


@startup.main_guard
def main(argv: Sequence[str]) -> None:
    """Be one of the processes."""
    told = json.loads(argv[0])
    cache.enable()  # compiling is not what is timed
    mesh = f"data={told['devices']}" if told["devices"] > 1 else None
    run = Run(command.from_record(ControlConfig, told["control"]), told["calls"], mesh=mesh)
    run.compile()
    startup.result(json.dumps(timing.machine()))
    for _ in sys.stdin:
        run().block_until_ready()
        startup.result("{}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
