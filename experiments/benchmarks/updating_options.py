"""What the benchmark of the update of long answers is asked for, as a frozen dataclass that checks itself."""

from dataclasses import dataclass, field
from typing import ClassVar

from benchmarks.options import Timed
from jaxpsn.core import checks, errors


@dataclass(frozen=True)
class Updating(Timed):
    """Price of an update on answers of mixed length: all at once or by a token budget, clean or at perturbed weights.

    Processor seconds of all threads, which other processes of a busy machine do not change much; with every contender
    the tokens that it reads, padding included, and the temporary memory of its program.
    """

    name: ClassVar[str] = "updating"

    hidden_size: int = 96
    """Width of a decoder with random weights."""
    layers: int = 3
    """Layers."""
    vocab: int = 256
    """Tokens of the vocabulary."""
    prompts: int = 4
    """Problems of 64 tokens at most."""
    samples: int = 8
    """Answers to each."""
    shortest: int = 100
    """Tokens of the shortest answer; lengths are spread evenly."""
    longest: int = 1000
    """Tokens of the longest answer."""
    budget: int = 4096
    """Token budget."""
    replicas: int = 2
    """Perturbations, for gradients at perturbed weights."""
    rounds: int = field(default=5, kw_only=True)
    """Timed rounds; in each every contender runs once, in another order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden_size", "layers", "vocab", "prompts", "samples", "shortest", "budget", "replicas"):
            checks.whole(name, getattr(self, name), 1, 1 << 20)
        checks.whole("longest", self.longest, self.shortest, 1 << 20)
        if self.samples % self.replicas:
            errors.refuse("replicas", self.replicas, f"a divisor of {self.samples} samples")
