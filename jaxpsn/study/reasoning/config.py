"""What a study of reasoning is made of; imports no JAX."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from jaxpsn.core import checks, errors
from jaxpsn.run.config import PROGRESS, RunConfig
from jaxpsn.study.control.config import Place

ARMS = (
    "grpo", "grpo-tis", "temperature", "entropy", "psn-no-tis", "psn", "psn-half", "psn-double", "psn-kl",
    "psn-composite", "psn-step", "qerl", "pass-at-k", "psn-pass-at-k",
)  # fmt: skip
"""Arms of the default study, besides the base that all of them start from."""
TASKS = (
    "countdown:countdown(numbers=4)",
    "target:target(pool=2, variety=0)",
    "grid:grid(size=6, walls=0.4, slack=0, variety=0), pretrain.steps=190",
)
"""Three families whose bases stay below saturation: many solutions, learnt in one narrow style, and not too long."""
MAY_CHANGE = frozenset(
    {"arms", "tasks", "grid", "workers", "keep_checkpoints", "out", "name", "resume", "overwrite", "progress"}
)
"""Fields that a resumed study may set anew: arms and tasks are added, none of the others touches what was made."""


@dataclass(frozen=True)
class ReasoningStudyConfig(Place):
    """Which arms are compared on which tasks; all arms have the same base, prompts, number of answers and updates."""

    tasks: Annotated[tuple[str, ...], arg(aliases=["--tasks"])] = TASKS
    """Tasks as [label:]task[(field=value)], such as 'countdown(numbers=5)'."""
    arms: Annotated[tuple[str, ...], arg(aliases=["--arms"])] = ARMS
    """Arms as [label:]name[(field=value)][, path=value], such as 'mine:psn(structure=lowrank(rank=4))'."""
    seeds: Annotated[int, arg(aliases=["--seeds"])] = 5
    """Runs of each arm on each task."""
    seed: Annotated[int, arg(aliases=["--seed"])] = 0
    """First seed; run i of every arm uses seed + i, and with it the same problems."""
    steps: Annotated[int, arg(aliases=["--steps"])] = 80
    """Training steps of each run."""
    eval_every: Annotated[int, arg(aliases=["--eval-every"])] = 20
    """Steps between short evaluations; 0 for none."""
    tune: Annotated[bool, arg(aliases=["--tune"])] = True
    """Choose the scale of the arms that have one first, on seeds and problems that are not reported."""
    tune_seeds: int = 1
    """Runs of each value that is tried."""
    tune_seed: int = 1000
    """First seed of the tuning; the runs of all values share their seeds, and so their problems."""
    tune_steps: int | None = None
    """Training steps of each tuning run; those of the study if left out."""
    tune_problems: int = 64
    """Problems on which the tuning is judged; none of them is reported."""
    tune_samples: int = 64
    """Answers to each of them."""
    grid: tuple[str, ...] = ()
    """Values to try instead of an arm's own, as ARM=0.1,0.2,0.4."""
    saturation: float = 0.95
    """A task is refused if its base reaches this pass@k with all answers: no arm could be told from another."""
    workers: int = 0
    """Processes side by side, each with a share of the cores; 0: one for every core on a CPU, one on accelerators."""
    keep_checkpoints: bool = False
    """Keep the last checkpoint of every finished run."""

    def __post_init__(self) -> None:
        RunConfig(
            steps=self.steps, seed=self.seed, seeds=self.seeds, eval_every=self.eval_every, out=self.out,
            name=self.name, resume=self.resume, overwrite=self.overwrite,
        )  # fmt: skip
        for name in ("tune_seeds", "tune_problems", "tune_samples"):
            checks.whole(f"study.{name}", getattr(self, name), 1, 1 << 16)
        checks.whole("study.tune_seed", self.tune_seed, 0, (1 << 31) - 1)
        if self.tune_steps is not None:
            checks.whole("study.tune_steps", self.tune_steps, 1, 1 << 50)
        checks.real("study.saturation", self.saturation, 0.0, 2.0, open_low=True)
        checks.whole("study.workers", self.workers, 0, 1024)
        checks.choice("progress", self.progress, PROGRESS)
        for name in ("tasks", "arms"):
            if not getattr(self, name):
                errors.refuse(f"study.{name}", getattr(self, name), f"at least one of the {name}")
        first, last = self.tune_seed, self.tune_seed + self.tune_seeds - 1
        if self.tune and first < self.seed + self.seeds and self.seed <= last:
            reported = f"{self.seed} to {self.seed + self.seeds - 1}"
            errors.refuse("study.tune_seed", first, f"seeds {first} to {last} must not meet the reported {reported}")
