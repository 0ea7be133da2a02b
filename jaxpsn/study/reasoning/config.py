"""What a study of reasoning is made of; imports no JAX."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from jaxpsn.core import checks, errors
from jaxpsn.study import config
from jaxpsn.study.config import Comparison

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
MAY_CHANGE = config.MAY_CHANGE | {"tasks"}
"""Fields that a resumed study may set anew."""


@dataclass(frozen=True)
class ReasoningStudyConfig(Comparison):
    """Which arms are compared on which tasks; all arms have the same base, prompts, number of answers and updates."""

    tasks: Annotated[tuple[str, ...], arg(aliases=["--tasks"])] = TASKS
    """Tasks as [label:]task[(field=value)], such as 'countdown(numbers=5)'."""
    arms: Annotated[tuple[str, ...], arg(aliases=["--arms"])] = ARMS
    """Arms as [label:]name[(field=value)][, path=value], such as 'mine:psn(structure=lowrank(rank=4))'."""
    steps: Annotated[int, arg(aliases=["--steps"])] = 80
    """Training steps of each run."""
    eval_every: Annotated[int, arg(aliases=["--eval-every"])] = 20
    """Steps between short evaluations; 0 for none."""
    tune: Annotated[bool, arg(aliases=["--tune"])] = True
    """Choose the scale of the arms that have one first, on seeds and problems that are not reported."""
    tune_seeds: int = 1
    """Runs of each value that is tried; the runs of all values share their seeds, and so their problems."""
    tune_problems: int = 64
    """Problems on which the tuning is judged; none of them is reported."""
    tune_samples: int = 64
    """Answers to each of them."""
    saturation: float = 0.95
    """A task is refused if its base reaches this pass@k with all answers: no arm could be told from another."""
    launcher: Annotated[str, arg(aliases=["--launcher"])] = "local"
    """Who makes the units: local (a worker for every core or GPU), local(workers=2), slurm(gpus=1, time_limit=240)."""

    def __post_init__(self) -> None:
        self.check(self.steps, eval_every=self.eval_every)
        for name in ("tune_seeds", "tune_problems", "tune_samples"):
            checks.whole(f"study.{name}", getattr(self, name), 1, 1 << 16)
        checks.real("study.saturation", self.saturation, 0.0, 2.0, open_low=True)
        for name in ("tasks", "arms"):
            if not getattr(self, name):
                errors.refuse(f"study.{name}", getattr(self, name), f"at least one of the {name}")
        if self.tune:
            self.refuse_shared_seeds(self.tune_seeds)
