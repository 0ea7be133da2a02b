"""Timings and bytes, each a ratio within one run: ``python experiments/benchmark.py all`` (about twelve minutes).

One by one: ``acting``, ``training``, ``startup``, ``memory``; also ``replay``, ``decoding``, ``reasoning``. ``--help``
after a name lists its options. Every table is written as CSV, as JSON with its options and machine, and as a plot.

On a GPU only the sizes are others (dense noise and formed weights of 16384 members take 5 GB each)::

    python experiments/benchmark.py startup --preset gpu --env ant --num-envs 4096
    python experiments/benchmark.py memory --preset gpu --env ant --num-envs 4096
    python experiments/benchmark.py acting --steps 20 --memory-mib 8192 --env-most 16384 --env ant
    python experiments/benchmark.py training --preset gpu --env ant --num-envs 4096 --structures flipout lowrank dense
"""

import sys

from jaxpsn.training import startup


@startup.main_guard
def main() -> None:
    """Measure what the command line names."""
    from jaxpsn.training.benchmarks import command

    command.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
