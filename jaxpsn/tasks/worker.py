"""One worker process of the grader, set up by ``{"verify": "module:function", "seconds": ...}``; may be killed.

Each message after it is a pair of answers, answered by whether they are equal. math-verify's alarms need the main
thread.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from jaxpsn.core import processes

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


def setup(message: Mapping[str, Any]) -> Callable[[Any], bool]:
    """What judges pairs; an error in it, whatever the model's text or the library made of it, is a wrong answer."""
    seconds = message["seconds"]
    module, name = message["verify"].split(":")
    _limit_memory()
    function = getattr(importlib.import_module(module), name)
    function(r"\frac{1}{x - 1}", r"\frac{x + 1}{x^{2} - 1}", seconds)  # imports what it needs, SymPy's lazy parts too

    def judge(pair: Any) -> bool:
        _limit_processor(seconds)
        return bool(function(*pair, seconds))

    return judge


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


if __name__ == "__main__":
    processes.serve(setup)
