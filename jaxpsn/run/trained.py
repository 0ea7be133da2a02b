"""What a job leaves in the process that ran it; imports no JAX."""

from typing import Any, NamedTuple


class Trained(NamedTuple):
    """A program that was trained, and how that ended."""

    program: Any
    outcome: Any
    """:class:`jaxpsn.run.outcome.Outcome`."""
    first: bool
    """Whether this is the process that writes."""
