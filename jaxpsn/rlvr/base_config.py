"""The small decoder that is pre-trained where no folder is given, as frozen dataclasses; imports no JAX."""

from dataclasses import dataclass
from typing import Literal

from jaxpsn.core import checks, errors


@dataclass(frozen=True)
class DecoderSize:
    """The small decoder that is pre-trained when no folder is given."""

    hidden_size: int = 96
    """Width; the MLP is three times as wide."""
    num_layers: int = 3
    """Layers."""
    num_heads: int = 4
    """Attention heads."""

    def __post_init__(self) -> None:
        for name, most in (("hidden_size", 1 << 16), ("num_layers", 1 << 12), ("num_heads", 1 << 16)):
            checks.whole(f"decoder.{name}", getattr(self, name), 1, most)
        if self.hidden_size % self.num_heads:
            errors.refuse("decoder.num_heads", self.num_heads, f"a divisor of hidden_size = {self.hidden_size}")
        if not 2 <= self.hidden_size // self.num_heads <= 1 << 12:
            allowed = f"so many that each has 2 to 4096 of the hidden_size = {self.hidden_size}"
            errors.refuse("decoder.num_heads", self.num_heads, allowed)


@dataclass(frozen=True)
class LoraConfig:
    """Training of adapters of low rank on a frozen model (LoRA, arXiv 2106.09685) instead of all weights."""

    rank: int = 0
    """Rank of the adapters, which alone are trained and kept in checkpoints; 0 trains all weights."""
    alpha: float | None = None
    """Adapters count alpha / rank; left out, 1."""
    targets: Literal["linear", "attention", "mlp"] = "linear"
    """Adapted layers: both parts (linear), or one of them."""

    def __post_init__(self) -> None:
        checks.whole("lora.rank", self.rank, 0, 1 << 12)
        checks.choice("lora.targets", self.targets, ("linear", "attention", "mlp"))
        if self.alpha is not None:
            checks.real("lora.alpha", self.alpha, 0.0, 1e6, open_low=True)
        for name, default in (("alpha", None), ("targets", "linear")):
            if not self.rank and getattr(self, name) != default:
                errors.refuse(f"lora.{name}", getattr(self, name), "nothing where lora.rank is 0, as none are trained")

    @property
    def scale(self) -> float:
        """What the product of an adapter's factors is multiplied by."""
        return 1.0 if self.alpha is None else self.alpha / max(self.rank, 1)


@dataclass(frozen=True)
class PretrainConfig:
    """Supervised training of the small decoder on narrow solutions, done once and kept."""

    steps: int = 700
    """Gradient steps."""
    batch_size: int = 128
    """Solved problems in one step."""
    learning_rate: float = 3e-3
    """Peak of the rate: a short warm-up, then a cosine to a tenth."""
    seed: int = 0
    """Seed of weights and data; separate from the run's, so that every run starts from the same base."""

    def __post_init__(self) -> None:
        checks.whole("pretrain.steps", self.steps, 0, 1 << 30)
        checks.whole("pretrain.batch_size", self.batch_size, 1, 1 << 20)
        checks.real("pretrain.learning_rate", self.learning_rate, 0.0, 1.0, open_low=True)
        checks.whole("pretrain.seed", self.seed, 0, (1 << 31) - 1)
