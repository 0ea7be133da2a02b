"""What a comparison is made of; imports no JAX."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from jaxpsn.core import checks, errors
from jaxpsn.run.config import PROGRESS, RunConfig

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

MAY_CHANGE = frozenset(
    {"arms", "grid", "threshold", "checkpoint_every", "keep_checkpoints", "out", "name", "resume", "overwrite",
     "progress"}
)  # fmt: skip
"""Fields that a resumed study may set anew: arms are added, and none of the others touches an arm that was made."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a study lies, and how it shows what it does."""

    out: Annotated[str, arg(aliases=["--out"])] = "runs"
    """Folder in which study folders are made."""
    name: Annotated[str | None, arg(aliases=["--name"])] = None
    """Name of the study folder; made up from the date if left out."""
    resume: Annotated[str | None, arg(aliases=["--resume"])] = None
    """Study folder to go on with; --study.arms then adds arms."""
    overwrite: Annotated[bool, arg(aliases=["--overwrite"])] = False
    """Empty the study folder if it exists."""
    progress: Annotated[Literal["auto", "rich", "plain", "none"], arg(aliases=["--progress"])] = "auto"
    """Display on stderr: rich on a terminal, plain lines elsewhere."""


@dataclass(frozen=True)
class StudyConfig(Place):
    """Which arms are compared, on which seeds and for how long; every arm has the same of all but exploration."""

    arms: Annotated[tuple[str, ...], arg(aliases=["--arms"])] = ("parameter", "gaussian", "ou", "pink", "none")
    """Arms as [label:]exploration[, agent=...]: a rule with its fields, pink(std=1), a sum, or a named arm (es)."""
    seeds: Annotated[int, arg(aliases=["--seeds"])] = 5
    """Runs of each arm, side by side."""
    seed: Annotated[int, arg(aliases=["--seed"])] = 0
    """First seed; run i of every arm uses seed + i."""
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
    """Runs of each value that is tried."""
    tune_seed: int = 1000
    """First seed of the tuning; every run of every value has a seed of its own."""
    tune_steps: int | None = None
    """Environment steps of each tuning run; those of the study if left out."""
    grid: tuple[str, ...] = ()
    """Values to try instead of an arm's own, as LABEL=0.1,0.2,0.4."""
    keep_checkpoints: bool = False
    """Keep the checkpoints of finished arms; they hold the replay of all seeds."""

    def __post_init__(self) -> None:
        RunConfig(
            steps=self.steps, seed=self.seed, seeds=self.seeds, chunk=self.chunk,
            checkpoint_every=self.checkpoint_every, out=self.out, name=self.name, resume=self.resume,
            overwrite=self.overwrite,
        )  # fmt: skip
        checks.whole("eval_every", self.eval_every, 1, 1 << 50)
        checks.whole("study.tune_seeds", self.tune_seeds, 1, 4096)
        checks.whole("study.tune_seed", self.tune_seed, 0, (1 << 31) - 1)
        checks.choice("progress", self.progress, PROGRESS)
        if self.tune_steps is not None:
            checks.whole("study.tune_steps", self.tune_steps, 1, 1 << 50)
        if self.threshold is not None:
            checks.real("study.threshold", self.threshold, -1e9, 1e9)
        if not self.arms:
            errors.refuse("study.arms", self.arms, "at least one arm")

    def solved(self, task: str) -> float | None:
        """The evaluation return that counts as solved in ``task``; None if there is none."""
        plain = {name.replace("_", ""): value for name, value in THRESHOLDS.items()}
        return plain.get(task.replace("_", "").lower()) if self.threshold is None else self.threshold
