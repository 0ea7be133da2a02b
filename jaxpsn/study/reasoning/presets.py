"""Named studies of reasoning: the whole one, the one of ten minutes, and the one of the tests; imports no JAX."""

from collections.abc import Callable
from dataclasses import replace

from jaxpsn.core.lazily import Lazy
from jaxpsn.rlvr.config import (
    AlgorithmConfig,
    DecoderSize,
    EvaluationConfig,
    PretrainConfig,
    RlvrConfig,
    RolloutConfig,
)
from jaxpsn.study.reasoning.config import ReasoningStudyConfig


def _shared() -> RlvrConfig:
    # Small enough for some two hundred runs on two cores. At three times this learning rate GRPO itself is unstable on
    # the grid.
    return RlvrConfig(
        decoder=DecoderSize(hidden_size=64, num_layers=2, num_heads=4),
        pretrain=PretrainConfig(steps=600, batch_size=128),
        rollout=RolloutConfig(prompts=16, samples=16),
        algorithm=AlgorithmConfig(learning_rate=1e-4),
        evaluation=EvaluationConfig(problems=128, samples=256, monitor_problems=32, monitor_samples=8),
    )


def _smoke() -> RlvrConfig:
    return replace(
        _shared(),
        decoder=DecoderSize(hidden_size=16, num_layers=1, num_heads=2),
        pretrain=PretrainConfig(steps=20, batch_size=16),
        rollout=RolloutConfig(prompts=4, samples=8),
        evaluation=EvaluationConfig(problems=4, samples=8, monitor_problems=2, monitor_samples=2),
    )


_STUDY = ReasoningStudyConfig(tune_steps=50)
_QUICK_ARMS = ("grpo", "psn-no-tis", "psn", "psn-kl", "pass-at-k", "psn-pass-at-k")
_ALL: dict[str, tuple[Callable[[], RlvrConfig], ReasoningStudyConfig]] = {
    "default": (_shared, _STUDY),
    "quick": (_shared, replace(_STUDY, tasks=_STUDY.tasks[:1], arms=_QUICK_ARMS, seeds=3, tune=False)),
    "smoke": (
        _smoke,
        replace(
            _STUDY, tasks=("chain_sum",), arms=("grpo", "psn"), seeds=2, steps=2, eval_every=1, tune_steps=1,
            tune_problems=2, tune_samples=4, grid=("psn=0.1,0.2",), saturation=2.0,
        ),
    ),
}  # fmt: skip

PRESETS: Lazy[tuple[RlvrConfig, ReasoningStudyConfig]] = Lazy(
    {name: lambda made=made, study=study: (made(), study) for name, (made, study) in _ALL.items()}
)
"""What all arms share, and what is compared, by name."""
