"""What a PSN run on tunix asks for beyond tunix's own configs; imports no JAX."""

from dataclasses import dataclass, field

from jaxpsn.core import checks, errors
from jaxpsn.rlvr import names
from jaxpsn.rlvr.config import NoiseConfig, SigmaConfig

RULES = ("fixed", "kl")


def _paper() -> NoiseConfig:
    """One dense perturbation a step. Weights are formed here anyway, so a cheaper structure would save nothing."""
    return NoiseConfig(structure="dense", per="step")


@dataclass(frozen=True)
class PSNConfig:
    """Noise, its scale and the correction; everything else is tunix's ``GRPOConfig`` and ``ClusterConfig``.

    With ``noise.per`` = sample every answer of a group has a perturbation of its own, at the price of one pass of the
    sampler for each of them. ``noise.target`` names tunix's layers: mlp, attention, linear (both), norms, all or
    re:PATTERN. Raises UserError for whatever is not offered. Source: PSN-RLVR, arXiv 2602.02555.
    """

    seed: int = 0
    """Seed of the perturbations and of the sampler."""
    noise: NoiseConfig = field(default_factory=_paper)
    """Which weights of the sampler are perturbed, and how."""
    sigma: SigmaConfig = field(default_factory=SigmaConfig)
    """Scale of the noise: rule fixed, or kl (Variant I)."""
    correction: str = "token"
    """Weights against the noisy sampler: none, token (TIS), sequence, geometric, each also as _mask."""
    cap: float | None = None
    """Upper bound of a weight. None: 10 (paper), or for a _mask what noise at sigma.kl_target seldom exceeds."""
    floor: float | None = None
    """Lower bound of a weight; truncated weights are raised to it. None: 0, or for a _mask as cap."""

    def __post_init__(self) -> None:
        checks.whole("seed", self.seed, 0, (1 << 31) - 1)
        names.check_bounds("", self.correction, self.cap, self.floor)
        if self.sigma.rule not in RULES:
            errors.refuse("sigma.rule", self.sigma.rule, f"one of {', '.join(RULES)} on tunix")

    def members(self, group: int) -> tuple[int, ...]:
        """The perturbation of each answer of a group of this size, -1 for the clean policy.

        Noisy answers come first. Raises UserError where the group cannot be divided as asked.
        """
        asked = self.noise
        noisy = 0 if asked.structure == "none" else group - round(asked.clean_share * group)
        count = {"step": 1, "replica": asked.replicas, "sample": noisy}[asked.per] if noisy else 0
        if count and noisy % count:
            errors.refuse("noise.replicas", asked.replicas, f"a divisor of the {noisy} noisy answers")
        if asked.antithetic and count % 2:
            errors.refuse("noise.antithetic", True, f"an even number of perturbations; here {count}")
        return tuple(column % count if column < noisy else -1 for column in range(group))
