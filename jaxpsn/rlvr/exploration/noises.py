"""The perturbation of the sampler's weights, as components; the trained weights stay clean."""

import re
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from jaxpsn.core import checks, errors
from jaxpsn.core.components import called, spec_of
from jaxpsn.core.fields import Fraction, Whole
from jaxpsn.noise import InputGain, LowRank, Structure
from jaxpsn.noise.hold_rules import Episode, HoldRule
from jaxpsn.noise.scale_rules import ScaleRule, begins, refuse_misfit
from jaxpsn.rlvr.exploration.noise_family import NOISES, Noise
from jaxpsn.rlvr.exploration.rules import Fixed, Kl

SELECTIONS = {"mlp": r"/mlp/", "attention": r"/attention/[qkvo]/", "linear": r"/(mlp|attention)/.*(kernel|bias)$"}
"""Patterns on paths of parameters by the names of ``psn.select``; ``norms`` and ``all`` are no patterns."""


def _fits(rule: type[ScaleRule]) -> bool:
    """Whether a scale rule finds its first sigma itself: it says it, or looks at a distance."""
    return bool(begins(rule) or rule.reads)


@NOISES.register("none")
@dataclass(frozen=True)
class NoNoise(Noise):
    """The clean policy gives all answers: plain GRPO, to which all else is compared."""

    sigma: ClassVar[ScaleRule] = Fixed(0.0)
    """Nothing is perturbed."""


@dataclass(frozen=True)
class Perturbed(Noise):
    """Noise on the sampler's weights, drawn anew for each step."""

    structure: Structure = LowRank()
    """Form of the noise; dense noise is added to whole copies of the weights (paper)."""
    select: str = "mlp"
    """Perturbed weights: mlp (paper), attention, linear, norms (QeRL), all, or re:PATTERN on parameter paths."""
    per: Literal["step", "replica", "sample"] = "sample"
    """One perturbation for the whole step (paper), one for each of `replicas`, or one for each answer of a group."""
    replicas: Annotated[int, Whole(1, 1 << 16)] | None = None
    """Samplers with a perturbation of their own (per = replica alone); divides the noisy answers of a group."""

    def validate(self) -> None:
        """Refuse a selection that is none, and replicas where there are none."""
        name = called(type(self))
        if self.select.startswith("re:"):
            try:
                re.compile(self.select[3:])
            except re.error as error:
                errors.refuse(f"{name}.select", self.select, f"a regular expression after re: ({error})")
        else:
            checks.choice(f"{name}.select", self.select, (*SELECTIONS, "norms", "all", "re:PATTERN"))
        if (self.per == "replica") != (self.replicas is not None):
            allowed = "how many samplers there are" if self.per == "replica" else "none, but with per = replica"
            errors.refuse(f"{name}.replicas", self.replicas, allowed)

    @property
    def antithetic(self) -> bool:  # type: ignore[override]
        """Whether perturbations come in pairs of opposite sign."""
        return self.structure.antithetic

    def members(self, answers: int) -> int:
        """Distinct perturbations for that many noisy answers of a group."""
        return {"step": 1, "replica": self.replicas or 1, "sample": answers}[self.per] if answers else 0


@NOISES.register("psn")
@dataclass(frozen=True)
class Psn(Perturbed):
    """Parameter-space noise on the sampler's weights, held over whole answers (PSN-RLVR, arXiv 2602.02555).

    An answer is an episode, a token a decision: hold = episode is the paper's, and hold = tokens(1) the control that
    takes consistency away and leaves the noise of each token as it is. Between them hold = pink and colored(beta=...).
    """

    hold: HoldRule = Episode()
    """How long a perturbation lasts: the whole answer (episode); or within it tokens(n), a random time (geometric,
    zeta), or its components times of their own (pink, colored)."""
    clean_share: Fraction = 0.0
    """Share of a group's answers that the clean policy gives."""
    relative: bool = True
    """Sigma in units of each matrix's root mean square instead of absolute (paper: absolute)."""
    sigma: ScaleRule = field(default_factory=Kl)
    """How large the noise is, and what moves it."""

    def validate(self) -> None:
        """Refuse also holds whose draws cannot be made again, and gains, which have no noise of biases."""
        refuse_misfit("psn.sigma", self.sigma, _fits)
        if not self.hold.numbered:
            allowed = "a hold of which each token's draw can be made again, such as geometric, as correlated, or pink"
            errors.refuse("psn.hold", spec_of(self.hold), allowed)
        self.hold.form(self.structure)
        if isinstance(self.structure, InputGain):
            errors.refuse("psn.structure", "input_gain", "a structure with noise of its own for every weight")
        super().validate()

    @property
    def within(self) -> HoldRule | None:  # type: ignore[override]
        """The hold, if it ends within an answer."""
        return None if isinstance(self.hold, Episode) else self.hold
