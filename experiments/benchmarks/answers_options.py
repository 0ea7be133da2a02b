"""What the benchmarks of reasoning with long answers are asked for, as frozen dataclasses that check themselves."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from benchmarks.options import Timed, names
from jaxpsn.core import checks, errors

UPDATES = tuple(f"{name}{how}" for how in ("", ", token budget") for name in ("tis", "smoothed", "pooled"))
"""Updates that can be compared: clean and corrected, or at the perturbed weights; all at once, or by a token budget."""


@dataclass(frozen=True)
class Updating(Timed):
    """Price of an update on answers of mixed length: all at once or by a token budget, clean or at perturbed weights.

    Processor seconds of all threads, which other processes of a busy machine do not change much; with every contender
    the tokens that it reads, padding included, and the temporary memory of its program.
    """

    name: ClassVar[str] = "updating"

    arms: tuple[str, ...] = UPDATES
    """What is compared; the first is what all are compared with."""
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
        names("arms", self.arms, UPDATES)
        for name in ("hidden_size", "layers", "vocab", "prompts", "samples", "shortest", "budget", "replicas"):
            checks.whole(name, getattr(self, name), 1, 1 << 20)
        checks.whole("longest", self.longest, self.shortest, 1 << 20)
        if self.samples % self.replicas:
            errors.refuse("replicas", self.replicas, f"a divisor of {self.samples} samples")


ARMS = ("grpo", "tis, fixed", "tis, kl", "composite", "composite, target", "smoothed", "pooled")
"""Steps to compare: plain GRPO, noise for each answer of a group under three rules, gradients at the noise.

Variant II twice: driven to a distance from the clean policy, whose answers are drawn besides, and to a fixed number
(paper), which needs none."""


@dataclass(frozen=True)
class Steps(Timed):
    """Whole training steps with answers of one length, in processor seconds: GRPO, noise, Variant II; others' beside.

    All have the same decoder with random weights, and answers that no token ends; the reward costs nothing.
    """

    name: ClassVar[str] = "steps"

    arms: tuple[str, ...] = ARMS
    """What is compared; the first is what all are compared with."""
    trl: str | None = None
    """Python of an environment with trl, accelerate and datasets, whose GRPO step is timed too; left out, none."""
    tunix: str | None = None
    """Python of an environment with google-tunix, likewise."""
    hidden_size: int = 96
    """Width of the decoder."""
    layers: int = 3
    """Layers."""
    prompts: int = 8
    """Problems of a step."""
    samples: int = 8
    """Answers to each."""
    tokens: int = 100
    """Tokens of every answer."""
    rounds: int = field(default=7, kw_only=True)
    """Timed rounds; in each every contender makes one step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names("arms", self.arms, ARMS)
        for name in ("hidden_size", "layers", "prompts", "samples", "tokens"):
            checks.whole(name, getattr(self, name), 1, 1 << 20)
        if self.samples % 4:
            errors.refuse("samples", self.samples, "a multiple of 4")
        for name in ("trl", "tunix"):
            python = getattr(self, name)
            if python is not None and not Path(python).is_file():
                errors.refuse(name, python, "the Python of an environment; there is no such file")
