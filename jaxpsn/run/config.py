"""How long a run is, how often it reports, where it writes, and which processes make it; imports no JAX."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from jaxpsn.core import checks, errors
from jaxpsn.core.flags import SPEC
from jaxpsn.run.loggers.family import LOGGERS

PROGRESS = ("auto", "rich", "plain", "none")
MAY_CHANGE = frozenset(
    {"steps", "chunk", "eval_every", "checkpoint_every", "keep", "out", "name", "resume", "overwrite", "progress",
     "log"}
)  # fmt: skip
"""Fields that a resumed run may set anew: none of them touches what the state becomes at a given step."""


@dataclass(frozen=True)
class RunConfig:
    """The run itself, whatever it trains; all cadences are in environment steps of one seed."""

    steps: int = 200_000
    """Environment steps of each seed (rounded up to whole chunks)."""
    seed: int = 0
    """First seed; run i of several uses seed + i."""
    seeds: int = 1
    """Runs side by side in one program, each with a seed of its own."""
    chunk: int = 10_000
    """Steps of one compiled chunk; logging, signals and checkpoints happen between chunks."""
    eval_every: int = 50_000
    """Steps between evaluations of the clean policy; 0 for none."""
    checkpoint_every: int = 50_000
    """Steps between checkpoints; 0 for one at the end only."""
    keep: int = 2
    """Checkpoints kept; two or more leave one to fall back to."""
    out: str = "runs"
    """Folder in which run folders are made."""
    name: str | None = None
    """Name of the run folder; made up from the date if left out."""
    resume: str | None = None
    """Run folder to go on with."""
    overwrite: bool = False
    """Empty the run folder if it exists."""
    progress: Literal["auto", "rich", "plain", "none"] = "auto"
    """Display on stderr: rich on a terminal, plain lines elsewhere."""
    log: Annotated[Any, SPEC, LOGGERS] = "csv"
    """Who hears of the metrics: csv (the run's own files), csv + tensorboard, csv + wandb(project=x, tags=(a, b)), or
    one of a plugin. A component, a sum, its text or JSON."""

    def __post_init__(self) -> None:
        checks.whole("steps", self.steps, 1, 1 << 50)
        checks.whole("seed", self.seed, 0, (1 << 31) - 1)
        checks.whole("seeds", self.seeds, 1, 4096)
        checks.whole("chunk", self.chunk, 1, 1 << 40)
        checks.whole("eval_every", self.eval_every, 0, 1 << 50)
        checks.whole("checkpoint_every", self.checkpoint_every, 0, 1 << 50)
        checks.whole("keep", self.keep, 1, 10_000)
        checks.choice("progress", self.progress, PROGRESS)
        object.__setattr__(self, "log", LOGGERS.make(self.log, "log"))
        if not self.out:
            errors.refuse("out", self.out, "the name of a folder")
        if self.name is not None and (self.name in ("", ".", "..") or Path(self.name).name != self.name):
            errors.refuse("name", self.name, "a folder name without slashes")
        if self.resume is not None and not self.resume:
            errors.refuse("resume", self.resume, "a run folder")
        if self.resume is not None and self.overwrite:
            errors.refuse("overwrite", True, "not together with resume")


@dataclass(frozen=True)
class ClusterConfig:
    """Which processes make the run together; under Slurm nothing needs to be said."""

    coordinator: str | None = None
    """HOST:PORT at which process 0 listens (JAX_COORDINATOR_ADDRESS if left out)."""
    processes: int | None = None
    """How many processes there are (JAX_NUM_PROCESSES if left out)."""
    process: int | None = None
    """Which of them this one is, from 0 (JAX_PROCESS_ID if left out)."""
    start_timeout: int = 300
    """Seconds for which processes wait for each other at the start."""
    peer_timeout: int = 60
    """Seconds of silence after which a process counts as gone, and the others end."""

    def __post_init__(self) -> None:
        if self.coordinator is not None and not re.fullmatch(r"[^\s:]+:\d{1,5}|\[[^\s\]]+\]:\d{1,5}", self.coordinator):
            errors.refuse("coordinator", self.coordinator, "written like node1:4321")
        if self.processes is not None:
            checks.whole("processes", self.processes, 1, 1 << 16)
        if self.process is not None:
            checks.whole("process", self.process, 0, 1 << 16)
        checks.whole("start_timeout", self.start_timeout, 1, 86_400)
        checks.whole("peer_timeout", self.peer_timeout, 2, 86_400)
