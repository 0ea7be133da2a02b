"""One worker process of the grader: reads a pair of answers a line, says whether they are equal, may be killed.

Run as ``python -m jaxpsn.tasks.worker MODULE:FUNCTION SECONDS``. It is a plain program, not a `multiprocessing` child:
the user's script is not imported again, nothing is forked from a process that runs JAX, and the check has the main
thread that math-verify's alarms need.
"""

import importlib
import json
import os
import sys
from typing import BinaryIO

MEMORY = 4 << 30
"""Bytes of address space a worker may take."""


def math_verify(gold: str, answer: str, seconds: int) -> bool:
    """Whether two LaTeX answers are equal, by math-verify; gives up after about ``seconds`` by its own alarms.

    Only its LaTeX grammar is used: the plain-expression reader would evaluate Python. Its rewriting of units and of
    malformed LaTeX is off, as the answers come without units and with nothing implied (`answers.question`). An
    inequality and the interval it describes are the same answer. It compares absolutely, to some 15 digits, decimals to
    six places; what it takes for equal is looked at again relatively (`algebra.close`).
    """
    import math_verify as library
    from latex2sympy2_extended import NormalizationConfig

    from jaxpsn.tasks import algebra

    kinds = [library.LatexExtractionConfig(normalization_config=NormalizationConfig(basic_latex=True, boxed="all"))]
    options = {"fallback_mode": "no_fallback", "parsing_timeout": seconds}
    one, other = (library.parse(f"\\boxed{{{text}}}", kinds, **options) for text in (gold, answer))
    if not library.verify(one, other, allow_set_relation_comp=True, timeout_seconds=seconds):
        return False
    return algebra.close(one[0], other[0])


def serve(requests: BinaryIO, replies: BinaryIO, verify: str, seconds: int) -> None:
    """Answer ``[gold, answer]`` lines with ``1`` or ``0`` until the input ends; the first reply says it is ready."""
    module, name = verify.split(":")
    function = getattr(importlib.import_module(module), name)
    function(r"\frac{1}{x - 1}", r"\frac{x + 1}{x^{2} - 1}", seconds)  # imports what it needs, SymPy's lazy parts too
    replies.write(b"ready\n")
    for line in requests:
        _limit_processor(seconds)
        try:
            equal = function(*json.loads(line), seconds)
        except Exception:  # the text came from a model, the check from a library: whatever goes wrong is a wrong answer
            equal = False
        replies.write(b"1\n" if equal else b"0\n")


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on every system; the deadline remains
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_processor(seconds: int) -> None:
    """Let the system end this process soon after its deadline, in case nobody is left to kill it."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(used.ru_utime + used.ru_stime) + 4 * seconds + 10
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main() -> None:
    """Keep the pipes to the grader and leave nothing else on standard output or error."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silent, descriptor)
    _limit_memory()
    serve(requests, replies, sys.argv[1], int(sys.argv[2]))


if __name__ == "__main__":
    main()
