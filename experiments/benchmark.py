"""Timings and bytes, each a ratio within one run: ``python experiments/benchmark.py all`` (about twelve minutes).

One by one: ``acting``, ``training``, ``startup``, ``memory``; also ``replay``, ``decoding``, ``reasoning``, ``seeds``
(several in one program), ``scaling`` (a CPU split into several devices), ``physics`` (Brax's layout and ours),
``--peers`` (other libraries), ``price`` (noise in each agent); of accelerators that are not here: ``compile``,
``fits``; of deep exploration, timing nothing: ``chain``, ``deepsea``, ``untrained``. ``--help`` after a name lists its
options. Every table is written as CSV, as JSON with its options and machine, and as a plot.

All that a GPU is asked, in ten minutes and one file, and its tables::

    python experiments/benchmark.py --preset gpu
    python -m benchmarks.gpu_tables results/gpu.json

There ``startup`` and ``memory`` want other sizes: ``--preset gpu --env ant --num-envs 4096``.
"""

import sys

from jaxpsn.run import startup


def main() -> None:
    """Measure what the command line names."""
    from benchmarks import command

    command.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(startup.script(main, greeting=None))
