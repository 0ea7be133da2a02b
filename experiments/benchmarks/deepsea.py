"""Deep Sea under bootstrapped DQN and parameter noise."""

from typing import Any

from jaxtyping import Array, Bool

from benchmarks import deep
from benchmarks.deep_options import DeepSea
from jaxpsn.control.state import ProgramState


def run(options: DeepSea) -> None:
    """Run what is not there yet, and write the table."""
    deep.run(options, found, deep.tenth)


def found(made: Any, state: ProgramState, earned: Array) -> Bool[Array, ""]:
    """Whether the episode found the treasure."""
    return earned > deep.FAR
