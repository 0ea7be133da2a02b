"""Decoders by their shape alone: sizes of published models, whose weights nobody needs to compile for; no JAX."""

from dataclasses import dataclass

from jaxpsn.lm.config import DecoderConfig, Rope


def _qwen(vocab: int, width: int, inner: int, layers: int, heads: int, kv_heads: int, tied: bool) -> DecoderConfig:
    return DecoderConfig(
        vocab, width, inner, layers, heads, kv_heads, head_dim=width // heads, rope=Rope(1e6), tied=tied, qkv_bias=True,
        family="qwen2",
    )  # fmt: skip


SHAPES: dict[str, DecoderConfig] = {
    "qwen2.5-0.5b": _qwen(151_936, 896, 4_864, 24, 14, 2, tied=True),
    "qwen2.5-1.5b": _qwen(151_936, 1_536, 8_960, 28, 12, 2, tied=True),
    "qwen2.5-7b": _qwen(152_064, 3_584, 18_944, 28, 28, 4, tied=False),
}
"""Sizes of the models' ``config.json`` (Qwen2.5 technical report, arXiv 2412.15115, table 1)."""


@dataclass(frozen=True)
class Words:
    """As much of a tokenizer as a program depends on."""

    vocab_size: int
    ends: tuple[int, ...] = (0,)
    pad: int = 0
