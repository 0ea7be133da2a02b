"""The benchmark job: from the command line to a table, its files and a plot; JAX is imported once all is understood."""

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import replace

from benchmarks import compile_options, tables
from benchmarks.answers_options import Steps, Updating
from benchmarks.compile_options import Compile
from benchmarks.deep_options import COMMANDS as DEEP
from benchmarks.fits_options import Fits
from benchmarks.ladder_options import Ladder
from benchmarks.options import COMMANDS as ALONE
from benchmarks.options import All, Benchmark
from benchmarks.peers_options import Peers
from benchmarks.scale_options import COMMANDS as SCALE
from benchmarks.scale_options import Gpu
from jaxpsn.core import errors
from jaxpsn.run import command, interrupts

_OTHERS = (Peers, Compile, Fits, Ladder, Updating, Steps)
COMMANDS: dict[str, type[Benchmark]] = ALONE | SCALE | DEEP | {kind.name: kind for kind in _OTHERS}
"""Benchmarks by the names of their commands."""


def parse(argv: Sequence[str]) -> Benchmark:
    """The benchmark that ``argv`` names, with its options. Raises UserError in one line for what cannot be."""
    listed = ", ".join(COMMANDS)
    if not argv:
        raise errors.UserError(f"what shall be measured? One of {listed}; each has a --help")
    name, *flags = argv
    name = Peers.name if name == f"--{Peers.name}" else name
    if [name, *flags[:1]] == ["--preset", Gpu.name]:
        name, *flags = flags
    if name in ("-h", "--help"):
        lines = (f"  {each:<10} {(kind.__doc__ or '').splitlines()[0]}" for each, kind in COMMANDS.items())
        print("\n".join(["What can be measured; each has a --help of its own:", *lines]))
        raise SystemExit(0)
    if name not in COMMANDS:
        errors.refuse("benchmark", name, errors.nearest(name, COMMANDS))
    kind = COMMANDS[name]
    if kind is Compile:
        home, flags, other = compile_options.split(flags)
        made = command.flags(kind, flags, replace(Compile(), home=home), inspect.getdoc(kind) or "")
        made = replace(made, flags=tuple(other))
        made.job()
        return made
    return command.flags(kind, flags, kind(), inspect.getdoc(kind) or "")


def run(options: Benchmark) -> None:
    """Measure, print and write."""
    tables.check(options.out)
    for part in options.parts() if isinstance(options, All) else (options,):
        module = importlib.import_module(f"benchmarks.{part.name}")
        if hasattr(module, "run"):  # it writes as it goes, and no table at the end
            module.run(part)
            continue
        found = module.table(part)
        if isinstance(part, Compile):
            module.show(found.rows, found.details["assumptions"])
        else:
            tables.show(found.rows)
        tables.write(part, found)


def main(argv: Sequence[str]) -> None:
    """Run the benchmark that ``argv`` asks for."""
    options = parse(argv)
    with interrupts.stage(f"ended; the measurement under way is lost, tables that were finished are in {options.out}"):
        run(options)
