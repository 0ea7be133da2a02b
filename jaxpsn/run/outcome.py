"""How a run ended."""

from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxpsn.run.program import State


class Outcome(NamedTuple):
    """How a run ended."""

    state: State
    folder: Path | None
    """The run folder; None of a run that leaves nothing on the disk."""
    finished: bool
    """Whether all steps were made."""
    reason: str
    """``finished``, the name of a signal, or what was not finite."""
    status: int
    """Exit status for the script (``jaxpsn.run.status``)."""
    step: int
    """Environment steps made by each seed."""
    axes: Any = None
    """``program.axes`` of the state if it holds several seeds."""
    signum: int | None = None
    """The signal that came, if one did; in the last chunk it leaves the run finished."""

    def first_seed(self) -> State:
        """The state of the first seed alone."""
        return self.of_seed(0)

    def of_seed(self, index: int) -> State:
        """The state of the run number ``index`` alone."""
        if self.axes is None:
            return self.state
        return jax.tree.map(
            lambda axis, leaf: leaf if axis is None else leaf[index],
            self.axes,
            self.state,
            is_leaf=lambda axis: axis is None,
        )
