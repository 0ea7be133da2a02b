"""What a decoder is made of; imports no JAX."""

import math
from dataclasses import dataclass, field

from jaxpsn.core import checks, errors
from jaxpsn.lm.model_families import MODELS

MOST = {
    "vocab_size": 1 << 24, "hidden_size": 1 << 17, "intermediate_size": 1 << 20, "num_layers": 1 << 12,
    "num_heads": 1 << 12, "num_kv_heads": 1 << 12, "head_dim": 1 << 12, "max_positions": 1 << 31,
}  # fmt: skip
"""Largest sizes, far above any decoder that there is: what lies beyond is a damaged file."""


@dataclass(frozen=True)
class Llama3Scaling:
    """Frequency scaling of Llama 3.1 and later (``rope_type: llama3``); frequencies in turns per training length."""

    factor: float = 8.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192

    def __post_init__(self) -> None:
        checks.real("factor", self.factor, 1.0)
        checks.real("low_freq_factor", self.low_freq_factor, 0.0, open_low=True)
        checks.real("high_freq_factor", self.high_freq_factor, self.low_freq_factor, open_low=True)
        checks.whole("original_max_positions", self.original_max_positions, 1, MOST["max_positions"])


@dataclass(frozen=True)
class LinearScaling:
    """Positions divided by ``factor`` (``rope_type: linear``)."""

    factor: float = 2.0

    def __post_init__(self) -> None:
        checks.real("factor", self.factor, 1.0)


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding (Su et al. 2021): base and scaling of its frequencies."""

    theta: float = 10_000.0
    scaling: Llama3Scaling | LinearScaling | None = None

    def __post_init__(self) -> None:
        checks.real("rope theta", self.theta, 0.0, open_low=True)


@dataclass(frozen=True)
class DecoderConfig:
    """A pre-norm decoder with rotary positions, grouped-query attention and a gated SiLU MLP.

    Covers Qwen2/2.5 (``qkv_bias``), Qwen3 (``qk_norm``) and Llama 2/3; hashable, so it can be a static argument.
    Raises ``UserError`` for sizes that do not fit each other.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float = 1e-6
    rope: Rope = field(default_factory=Rope)
    tied: bool = False
    """Whether the head is the transposed token embedding."""
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    max_positions: int = 32_768
    """Longest sequence the checkpoint was made for."""
    family: str = "llama"
    """``model_type`` of the Hugging Face folder it is read from or written to."""
    flash: bool = False
    """Whether whole texts may take cuDNN's flash kernel: of passes that are traced for an NVIDIA GPU."""
    apart: bool = False
    """Whether answers are sampled with the layers side by side (``lm.apart``): of large decoders on a CPU."""

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            checks.whole(name, getattr(self, name), 2 if name == "head_dim" else 1, most)
        checks.real("rms_norm_eps", self.rms_norm_eps, 0.0, 1.0)
        checks.choice("family", self.family, MODELS.names())
        if self.num_heads % self.num_kv_heads:
            errors.refuse("num_kv_heads", self.num_kv_heads, f"a divisor of num_heads = {self.num_heads}")
        if self.head_dim % 2:
            errors.refuse("head_dim", self.head_dim, "even, as rotary positions turn pairs")

    @property
    def parameters(self) -> int:
        """Number of parameters, a tied head counted once."""
        heads = self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)
        layer = self.hidden_size * (heads + 3 * self.intermediate_size + 2)
        biases = (
            self.qkv_bias * self.head_dim * (self.num_heads + 2 * self.num_kv_heads) + self.o_bias * self.hidden_size
        )
        biases += self.mlp_bias * (2 * self.intermediate_size + self.hidden_size) + self.qk_norm * 2 * self.head_dim
        tables = self.vocab_size * self.hidden_size * (1 if self.tied else 2)
        return tables + self.num_layers * (layer + biases) + self.hidden_size


def tiny(vocab_size: int, hidden_size: int = 96, num_layers: int = 3, num_heads: int = 4) -> DecoderConfig:
    """A small Qwen3-like decoder for character tasks: MLP ratio 3, tied head."""
    checks.whole("num_heads", num_heads, 1)
    checks.whole("hidden_size", hidden_size, 1)
    head_dim = math.ceil(hidden_size / num_heads / 2) * 2
    return DecoderConfig(
        vocab_size, hidden_size, 3 * hidden_size, num_layers, num_heads, num_heads, head_dim,
        tied=True, qk_norm=True, max_positions=1024, family="qwen3",
    )  # fmt: skip
