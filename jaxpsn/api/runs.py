"""What a training leaves: its metrics, its policy, its state, and the folder if there is one."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpsn.api import policies
from jaxpsn.api.rollouts import Rollout
from jaxpsn.core import errors


class Run:
    """A run that was trained in this process: its metrics and its state."""

    def __init__(self, program: Any, outcome: Any, metrics: Mapping[str, np.ndarray], seeds: Sequence[int]):
        """``outcome``: of :mod:`jaxpsn.run.outcome`; ``metrics``: as of :func:`table`."""
        self.program = program
        self.metrics = metrics
        """``step`` [points]; every other metric [points, seeds], NaN where a point has none. ``eval_...`` judge the
        clean policy."""
        self.seeds = tuple(seeds)
        self._outcome = outcome

    def __repr__(self) -> str:
        where = f", {self.folder}" if self.folder else ""
        return f"{type(self).__name__}({self.step:,} steps, {len(self.seeds)} seeds, {self.status}{where})"

    @property
    def config(self) -> Any:
        """What was trained."""
        return self.program.config

    @property
    def status(self) -> str:
        """``finished``; ``SIGINT`` after Ctrl-C; or which value was not finite, and where."""
        return self._outcome.reason

    @property
    def finished(self) -> bool:
        """Whether all steps were made."""
        return self._outcome.finished

    @property
    def step(self) -> int:
        """Environment steps (reasoning: training steps) made by each seed."""
        return self._outcome.step

    @property
    def folder(self) -> Path | None:
        """The run folder; None if nothing was written."""
        return self._outcome.folder

    @property
    def state(self) -> Any:
        """The last state; of several seeds its arrays, but for the clock, have a leading axis [seeds]."""
        return self._outcome.state

    def curve(self, name: str) -> tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t seeds"]]:
        """Steps [t] and values [t, seeds] of a metric, at those points at which some seed has one."""
        return curve(self.metrics, name)


class ControlRun(Run):
    """A control run: also the policies of all its seeds."""

    @property
    def policy(self) -> policies.Policy:
        """The clean policy of the first seed, a function of raw observations."""
        return self.policies[0]

    @cached_property
    def policies(self) -> tuple[policies.Policy, ...]:
        """The clean policy of each seed."""
        return tuple(
            policies.of_state(self.program, self._outcome.of_seed(index), self.step, seed)
            for index, seed in enumerate(self.seeds)
        )

    def rollout(self, members: int = 4, **asked: Any) -> Rollout:
        """The clean policy of the first seed and perturbed members side by side (:meth:`Policy.rollout`)."""
        return self.policy.rollout(members, **asked)

    @property
    def params(self) -> dict[str, Any]:
        """The clean weights of the first seed as Flax variables, for ``run.policy.module``."""
        return self.policy.params


def curve(metrics: Mapping[str, np.ndarray], name: str) -> tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t seeds"]]:
    """Steps [t] and values [t, seeds] of a metric of a :func:`table`, at those points at which some seed has one."""
    if name not in metrics or name == "step":
        errors.refuse("metric", name, errors.nearest(name, [known for known in metrics if known != "step"]))
    seen = np.isfinite(metrics[name]).any(axis=1)
    return metrics["step"][seen], metrics[name][seen]


def table(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows by column, one of each step and seed, as ``step`` [points] and every other metric [points, seeds]."""
    steps, point = np.unique(columns["step"], return_inverse=True)
    seeds, seed = np.unique(columns["seed"], return_inverse=True)
    found = {"step": steps}
    for name, column in columns.items():
        if name not in ("step", "seed"):
            found[name] = np.full((len(steps), len(seeds)), np.nan)
            found[name][point, seed] = column
    return found


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Rows of metrics as columns of numbers; what is absent is NaN."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in names}


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
