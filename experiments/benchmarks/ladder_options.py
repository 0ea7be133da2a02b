"""Options of the ladder of like choices."""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.options import Benchmark
from jaxpsn.core import checks


@dataclass(frozen=True)
class Ladder(Benchmark):
    """What consistency of noise is worth on an untrained base, over the number of like choices; times nothing."""

    name: ClassVar[str] = "ladder"
    fixed: ClassVar[tuple[str, ...]] = (
        "kl", "members", "redrawn", "prompts", "hidden_size", "num_layers", "pretrain_steps", "batch_size",
    )  # fmt: skip
    """What the seeds of a table share; where it is the same, those that are there are kept."""

    seeds: int = 5
    """Bases, each pre-trained with a seed of its own."""
    kl: float = 0.05
    """KL of every arm to the base, in nats a choice."""
    members: int = 8192
    """Perturbations that are held for the answer; the mean of long answers rests on few of them."""
    redrawn: int = 512
    """Answers whose perturbation is drawn anew at every token."""
    prompts: int = 2
    """Prompts that each of them answers."""
    hidden_size: int = 64
    """Width of the decoder."""
    num_layers: int = 2
    """Its layers."""
    pretrain_steps: int = 300
    """Steps of the pre-training."""
    batch_size: int = 32
    """Texts in each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("seeds", "prompts", "hidden_size", "num_layers", "pretrain_steps", "batch_size"):
            checks.whole(name, getattr(self, name), 1, 1 << 16)
        for name in ("members", "redrawn"):
            checks.whole(name, getattr(self, name), 128, 1 << 24)
        checks.real("kl", self.kl, 0.0, 0.5, open_low=True)
