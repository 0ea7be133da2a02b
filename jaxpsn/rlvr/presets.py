"""Named reasoning experiments: the default, its rivals, and the forms of the papers and their releases."""

from dataclasses import replace

from jaxpsn.rlvr.algorithms import PassAtK
from jaxpsn.rlvr.config import (
    AlgorithmConfig,
    DecoderSize,
    EvaluationConfig,
    PretrainConfig,
    RlvrConfig,
    RolloutConfig,
)
from jaxpsn.rlvr.corrections import Uncorrected
from jaxpsn.rlvr.noises import NoNoise, Psn
from jaxpsn.rlvr.rules import Composite, Fixed, Kl, Staged
from jaxpsn.tasks.sums import Modular

_DEFAULT = RlvrConfig()

# arXiv 2602.02555 and its release (a verl fork): one dense draw a step on the MLP weights, absolute sigma, token TIS
# with C = 10, k3 KL and entropy at 1e-3, 256 prompts x 8 samples, mini-batches of 12 prompts (here 16: they divide).
# It wants prompts of 2048 tokens and answers of 3072; the paper's Qwen2.5-Math-7B has 4096 positions. Its positions are
# not stretched: the answers keep their length, and prompts have what is left.
_PAPER = RlvrConfig(
    dtype="bfloat16",
    remat=True,
    rollout=RolloutConfig(prompts=256, samples=8, max_prompt=4096 - 3072, max_tokens=3072, segment=256),
    noise=Psn("dense", per="step", relative=False, sigma=Fixed(0.004)),
    algorithm=AlgorithmConfig(
        learning_rate=3e-7, kl_coefficient=1e-3, entropy_coefficient=1e-3, mini_batches=16, micro_batches=8
    ),
    evaluation=EvaluationConfig(problems=500, temperature=0.9, monitor_problems=100, rows=512),
)
_PAPER_KL = replace(_PAPER, noise=replace(_PAPER.noise, sigma=Kl(0.003, initial=0.001, rate=1.01)))
_PAPER_COMPOSITE = replace(_PAPER, noise=replace(_PAPER.noise, sigma=Composite(initial=0.004, rate=1.01)))
# Measured on the default's base (results/response.csv): the indicator lies 0.05 lower at a sigma of about 0.55 and goes
# on falling to 2. A step of 1.2 crosses the range of sigma in some twenty updates.
_COMPOSITE = Psn(sigma=Composite(drop=0.05, rate=1.2, high=2.0))
# QeRL (arXiv 2510.11696): staged noise on the RMSNorm weights of the sampler, and no correction for it.
_QERL = replace(
    _DEFAULT,
    noise=Psn("dense", "norms", per="step", relative=False, sigma=Staged(initial=1e-2, final=1e-4)),
    algorithm=replace(_DEFAULT.algorithm, correction=Uncorrected()),
)
# 3PO (arXiv 2608.09805) with this noise in place of an IVON posterior. B: one draw a step, M: four, each with answers
# and a gradient of its own; C: four draws that share a group and learn at the clean weights, by the masked ratio.
_AT_DRAWS = replace(_DEFAULT.algorithm, estimator="smoothed", correction=Uncorrected())
_B3PO = replace(_DEFAULT, noise=Psn(per="step"), algorithm=_AT_DRAWS)
_M3PO = replace(_DEFAULT, noise=Psn(per="replica", replicas=4), algorithm=_AT_DRAWS)
_C3PO = replace(_M3PO, algorithm=replace(_DEFAULT.algorithm, correction="c3po"))
# Residues below 4 are solved now and then after 20 steps of pre-training, so there is something to learn; the MLP is
# wide enough for its noise to be of low rank.
_SMOKE = RlvrConfig(
    task=Modular(terms=2, high=4, max_modulus=4),
    decoder=DecoderSize(hidden_size=48, num_layers=1, num_heads=2),
    pretrain=PretrainConfig(steps=20, batch_size=32, learning_rate=1e-2),
    rollout=RolloutConfig(prompts=8, samples=8),
    noise=Psn(sigma=Kl(initial=1.0, rate=1.1, high=8.0)),
    algorithm=AlgorithmConfig(learning_rate=3e-3, warmup=0),
    evaluation=EvaluationConfig(problems=16, samples=16, monitor_problems=16, monitor_samples=4),
)

PRESETS: dict[str, RlvrConfig] = {
    "default": _DEFAULT,
    "grpo": replace(_DEFAULT, noise=NoNoise()),
    "composite": replace(_DEFAULT, noise=_COMPOSITE),
    "qerl": _QERL,
    "pass-at-k": replace(_DEFAULT, algorithm=replace(_DEFAULT.algorithm, advantage=PassAtK())),
    "b3po": _B3PO,
    "m3po": _M3PO,
    "c3po": _C3PO,
    "paper-fixed": _PAPER,
    "paper-kl": _PAPER_KL,
    "paper-composite": _PAPER_COMPOSITE,
    "smoke": _SMOKE,
}
"""Experiments by name; those that begin with ``paper`` need a model, data and a GPU."""
