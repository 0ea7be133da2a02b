"""Sweeps for notebooks: seeds and traced hyper-parameters side by side in one compiled program, in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxpsn.api import functions, policies, settings
from jaxpsn.control.agents.family import AGENTS, OffPolicy
from jaxpsn.control.placement import Placement
from jaxpsn.core import checks, errors
from jaxpsn.run import cache, curves
from jaxpsn.run.jobs import control


class Sweep:
    """V values of the swept hyper-parameters, S seeds each."""

    def __init__(self, program: Any, found: curves.Curves, values: int, seeds: int):
        self.program = program
        self.steps: Float[np.ndarray, " points"] = found.steps
        """Environment steps of one run at the end of each chunk."""
        self.metrics: dict[str, np.ndarray] = found.metrics
        """Every metric [V, seeds, points]: its mean over the chunk, or an evaluation's at its end, NaN for none."""
        self.state = found.state
        """The states after the last step, leading axis V * seeds, the seeds of the first value first."""
        self.values, self.seeds = values, seeds

    def policy(self, value: int = 0, seed: int = 0) -> policies.Policy:
        """The policy of the seed number ``seed`` at the value number ``value``."""
        run = self._run(value, seed)
        state = jax.tree.map(
            lambda axis, leaf: leaf if axis is None else leaf[run],
            self.program.axes(self.state), self.state, is_leaf=lambda axis: axis is None,
        )  # fmt: skip
        return policies.of_state(self.program, state, int(self.steps[-1]), seed)

    def observations(self, value: int = 0, seed: int = 0, last: int = 16) -> Array:
        """The raw observations of the ``last`` vector steps of one run, [last * num_envs, O]."""
        kept = self.state.replay.data.obs[self._run(value, seed)]
        checks.whole("last", last, 1, kept.shape[0])
        return kept[-last:].reshape(-1, kept.shape[-1])

    def last(self, metric: str, share: float = 0.25) -> Float[np.ndarray, "values seeds"]:
        """The mean of a metric over the last ``share`` of the points, [V, seeds]."""
        if metric not in self.metrics:
            errors.refuse("metric", metric, errors.nearest(metric, self.metrics))
        return self.metrics[metric][..., -max(int(len(self.steps) * share), 1) :].mean(axis=-1)

    def _run(self, value: int, seed: int) -> int:
        checks.whole("value", value, 0, self.values - 1)
        checks.whole("seed", seed, 0, self.seeds - 1)
        return value * self.seeds + seed


def _whole(agent: Any, steps: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    """``fields``, with a replay that holds all steps if the agent has one and nothing is said."""
    given = None if isinstance(agent, Mapping) else agent
    base = settings.preset(control.PRESETS, fields.get("preset", "default")).control.agent
    learner = base if given is None else AGENTS.make(given, "agent")
    return ({"replay_capacity": steps} if isinstance(learner, OffPolicy) else {}) | dict(fields)


def sweep(
    env: Any = None, agent: Any = None, explore: Any = None, *, values: Mapping[str, Sequence[Any]], steps: int,
    seeds: int = 1, seed: int = 0, points: int = 12, evaluate: bool = True, **fields: Any,
) -> Sweep:  # fmt: skip
    """Train at every one of ``values``, for ``seeds`` seeds each, as one program that is compiled once.

    ``values``: what the traced hyper-parameters are set to, such as ``{"target": [0.1, 0.3], "sigma": [0.1, 0.2]}``:
    several are swept together, and an entry may be a vector, one number a member. All else is as of
    :func:`jaxpsn.make`; replay holds all ``steps`` where nothing is said. Equal seeds are paired. Raises
    :class:`jaxpsn.UserError`.
    """
    cache.enable()
    checks.whole("steps", steps, 1, 1 << 50)
    told = _whole(agent, steps, fields)
    preset, place = told.pop("preset", "default"), Placement(ours=True)
    program = functions.program(env, agent, explore, preset, steps, told, place)
    found = curves.trace(
        program, seeds=seeds, calls=-(-steps // program.steps_per_call), points=points, seed=seed, judge=evaluate,
        **values,
    )  # fmt: skip
    return Sweep(program, found, max(map(len, values.values())) if values else 1, seeds)
