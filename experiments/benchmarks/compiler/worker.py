"""Compiles in the environment of a compiler: ``python -m benchmarks.compiler.worker TASK FILE``.

The task is JSON: fields of :class:`Compile`. The rows go to the file, progress to stderr.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compile_options import Compile
from jaxpsn.run import startup


@startup.main_guard
def main(argv: Sequence[str]) -> None:
    """Compile what the task names."""
    task, out = json.loads(argv[0]), Path(argv[1])
    options = Compile(**{name: tuple(value) if isinstance(value, list) else value for name, value in task.items()})
    from benchmarks.compiler import compiling, targets

    compiler = compiling.Compiler(targets.parse(options.target))
    if options.home == "control":
        from benchmarks.compiler import control

        control.compile_all(compiler, options)
    else:
        from benchmarks.compiler import reasoning

        reasoning.compile_all(compiler, options)
    out.write_text(json.dumps(compiler.rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
