"""The command ``jaxpsn bench``: the benchmarks of the checkout that this package lies in."""

import sys
from collections.abc import Sequence
from pathlib import Path

import jaxpsn
from jaxpsn.core import errors

CHECKOUT = Path(jaxpsn.__file__).resolve().parents[1]


def main(argv: Sequence[str]) -> int:
    """Measure what ``argv`` names; returns the exit status. Raises UserError outside of a checkout."""
    scripts = CHECKOUT / "experiments"
    if not (scripts / "benchmarks" / "command.py").is_file():
        allowed = "a command of a checkout, where experiments/benchmark.py measures; the package does not bring it"
        errors.refuse("command", "bench", allowed)
    sys.path.insert(0, str(scripts))
    from benchmarks import command

    command.main(argv)
    return 0
