"""What a PSN run on tunix asks for beyond tunix's own configs; imports no JAX."""

from dataclasses import dataclass, field
from typing import Any

from jaxpsn.core import checks, errors
from jaxpsn.core.components import called, spec_of, terms_of
from jaxpsn.rlvr.exploration.noise_family import NOISES, Noise
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.exploration.rules import Fixed, Kl
from jaxpsn.rlvr.objective.corrections import CORRECTIONS, Correction, Token


def _paper() -> Psn:
    """One dense perturbation a step. Weights are formed here anyway, so a cheaper structure would save nothing."""
    return Psn("dense", per="step")


@dataclass(frozen=True)
class PSNConfig:
    """Noise, its scale and the correction; everything else is tunix's ``GRPOConfig`` and ``ClusterConfig``.

    With ``noise.per`` = sample every answer of a group has a perturbation of its own, at the price of one pass of the
    sampler for each of them. ``noise.select`` names tunix's layers: mlp, attention, linear (both), norms, all or
    re:PATTERN. Raises UserError for whatever is not offered. Source: PSN-RLVR, arXiv 2602.02555.
    """

    seed: int = 0
    """Seed of the perturbations and of the sampler."""
    noise: Noise | str = field(default_factory=_paper)
    """Which weights of the sampler are perturbed, and how; its sigma is fixed, or moved by kl (Variant I)."""
    correction: Correction | str = field(default_factory=Token)
    """Weights against the noisy sampler: none, token (TIS), sequence, geometric, or your own; each takes a gate."""

    def __post_init__(self) -> None:
        checks.whole("seed", self.seed, 0, (1 << 31) - 1)
        object.__setattr__(self, "noise", NOISES.make(self.noise, "noise"))
        object.__setattr__(self, "correction", CORRECTIONS.make(self.correction, "correction"))
        if not all(gate.counted for gate in terms_of(self.correction.gate)):
            errors.refuse("correction.gate.counted", False, "true on tunix, which has the mask of its loss to itself")
        if self.noise.learnt:
            errors.refuse("noise", called(type(self.noise)), "none or psn on tunix, whose optimiser learns no scales")
        if self.noise.within is not None:
            errors.refuse("noise.hold", spec_of(self.noise.within), "episode on tunix, which samples whole answers")
        if not isinstance(self.sigma, Fixed | Kl):
            errors.refuse("noise.sigma", called(type(self.sigma)), "fixed or kl on tunix")

    @property
    def sigma(self) -> Any:
        """The scale of the noise; without noise 0."""
        return self.noise.sigma

    def members(self, group: int) -> tuple[int, ...]:
        """The perturbation of each answer of a group of this size, -1 for the clean policy.

        Noisy answers come first. Raises UserError where the group cannot be divided as asked.
        """
        asked = self.noise
        noisy = group - round(asked.clean_share * group)
        count = asked.members(noisy)
        if count and noisy % count:
            errors.refuse("noise.replicas", asked.replicas, f"a divisor of the {noisy} noisy answers")
        if asked.antithetic and count % 2:
            errors.refuse("noise.structure.antithetic", True, f"an even number of perturbations; here {count}")
        return tuple(column % count if column < noisy else -1 for column in range(group))
