"""What every study is made of, whatever it compares; imports no JAX."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tyro.conf import arg

from jaxpsn.core import checks, errors
from jaxpsn.run.config import PROGRESS, RunConfig
from jaxpsn.stats import hypotheses
from jaxpsn.study.launchers import LAUNCHERS

MAY_CHANGE = frozenset(
    {"arms", "grid", "launcher", "keep_checkpoints", "out", "name", "resume", "overwrite", "progress"}
)
"""Fields that a resumed study may set anew: arms are added, and none of the others touches what was made."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Where a study lies, who makes it, on which seeds, and how scales are tuned."""

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
    launcher: Annotated[str, arg(aliases=["--launcher"])] = "local(workers=1)"
    """Who makes the units: local(workers=4), slurm(partition=gpu, gpus=1, time_limit=240), or inline."""
    seeds: Annotated[int, arg(aliases=["--seeds"])] = 5
    """Runs of each arm on each task."""
    seed: Annotated[int, arg(aliases=["--seed"])] = 0
    """First seed; run i of every arm uses seed + i."""
    tune_seed: int = 1000
    """First seed of the tuning, which shares none with what is reported."""
    tune_steps: int | None = None
    """Steps of each tuning run; those of the study if left out."""
    hypotheses: Annotated[tuple[str, ...], arg(aliases=["--hypotheses"])] = ()
    """What it is to find, as 'above(ARM, ARM, METRIC, margin=0.1)'; fixed from the first run on (--describe above)."""
    grid: tuple[str, ...] = ()
    """Values to try instead of an arm's own, as LABEL=0.1,0.2,0.4."""
    keep_checkpoints: bool = False
    """Keep the checkpoints of what is finished; in control they hold the replay of all seeds."""

    def check(self, steps: int, **lengths: Any) -> None:
        """Refuse what cannot be; ``lengths`` are more fields of RunConfig. Raises UserError."""
        RunConfig(
            steps=steps, seed=self.seed, seeds=self.seeds, out=self.out, name=self.name, resume=self.resume,
            overwrite=self.overwrite, **lengths,
        )  # fmt: skip
        checks.choice("progress", self.progress, PROGRESS)
        checks.whole("study.tune_seed", self.tune_seed, 0, (1 << 31) - 1)
        if self.tune_steps is not None:
            checks.whole("study.tune_steps", self.tune_steps, 1, 1 << 50)
        LAUNCHERS.make(self.launcher, "launcher")
        hypotheses.read(self.hypotheses)

    def refuse_shared_seeds(self, count: int, what: str = "") -> None:
        """Refuse ``count`` seeds of the tuning ``what`` that meet the reported ones. Raises UserError."""
        first, last = self.tune_seed, self.tune_seed + count - 1
        if first < self.seed + self.seeds and self.seed <= last:
            reported = f"{self.seed} to {self.seed + self.seeds - 1}"
            errors.refuse(
                "study.tune_seed", first, f"seeds {first} to {last}{what} must not meet the reported {reported}"
            )
