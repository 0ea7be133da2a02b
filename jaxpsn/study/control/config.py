"""What a comparison is made of; imports no JAX."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from jaxpsn.core import checks, errors
from jaxpsn.study import config
from jaxpsn.study.config import Comparison

THRESHOLDS = {
    "sparse_mountain_car": 0.9,
    "sparse_mountain_car_light": 0.9,
    "sparse_cartpole_swingup": 200.0,
    "sparse_cartpole_swingup_light": 200.0,
    "sparse_double_pendulum": 50.0,
    "sparse_double_pendulum_light": 50.0,
    "sparse_halfcheetah": 100.0,
    "swimmer_gather": 1.0,
}
"""Evaluation return from which a task counts as solved, where its config names none; dense tasks have none."""

MAY_CHANGE = config.MAY_CHANGE | {"threshold", "checkpoint_every"}
"""Fields that a resumed study may set anew."""


@dataclass(frozen=True)
class StudyConfig(Comparison):
    """Which arms are compared, on which seeds and for how long; every arm has the same of all but exploration."""

    arms: Annotated[tuple[str, ...], arg(aliases=["--arms"])] = ("parameter", "gaussian", "ou", "pink", "none")
    """Arms as [label:]exploration[, agent=...]: a rule with its fields, pink(std=1), a sum, or a named arm (es)."""
    steps: Annotated[int, arg(aliases=["--steps"])] = 200_000
    """Environment steps of each seed (rounded up to whole chunks)."""
    chunk: Annotated[int, arg(aliases=["--chunk"])] = 8000
    """Steps of one compiled chunk; logging, signals and checkpoints happen between chunks."""
    eval_every: Annotated[int, arg(aliases=["--eval-every"])] = 8000
    """Steps between evaluations of the clean policy."""
    checkpoint_every: Annotated[int, arg(aliases=["--checkpoint-every"])] = 40_000
    """Steps between checkpoints of the arm under way; 0 for one at its end only."""
    threshold: float | None = None
    """Evaluation return that counts as solved; the task's own if left out."""
    tune: Annotated[bool, arg(aliases=["--tune"])] = False
    """Choose the scale of each arm first, on seeds that are not reported."""
    tune_seeds: int = 3
    """Runs of each value that is tried; each has a seed of its own."""

    def __post_init__(self) -> None:
        self.check(self.steps, chunk=self.chunk, checkpoint_every=self.checkpoint_every)
        checks.whole("eval_every", self.eval_every, 1, 1 << 50)
        checks.whole("study.tune_seeds", self.tune_seeds, 1, 4096)
        if self.threshold is not None:
            checks.real("study.threshold", self.threshold, -1e9, 1e9)
        if not self.arms:
            errors.refuse("study.arms", self.arms, "at least one arm")

    def solved(self, task: str) -> float | None:
        """The evaluation return that counts as solved in ``task``; None if there is none."""
        plain = {name.replace("_", ""): value for name, value in THRESHOLDS.items()}
        return plain.get(task.replace("_", "").lower()) if self.threshold is None else self.threshold
