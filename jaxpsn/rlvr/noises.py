"""The perturbation of the sampler's weights, as components; the trained weights stay clean. No JAX here."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from jaxpsn.core import checks, errors
from jaxpsn.core.components import Component
from jaxpsn.core.families import Family
from jaxpsn.core.fields import Fraction, Whole
from jaxpsn.rlvr.rules import Kl, SigmaRule

SELECTIONS = {"mlp": r"/mlp/", "attention": r"/attention/[qkvo]/", "linear": r"/(mlp|attention)/.*(kernel|bias)$"}
"""Patterns on paths of parameters by the names of ``psn.select``; ``norms`` and ``all`` are no patterns."""


class Form(Component):
    """The form of the noise on a matrix."""

    name: ClassVar[str]

    def structure(self, antithetic: bool) -> Any:
        """The :class:`jaxpsn.noise.Structure`; ``antithetic``: its members come in pairs of opposite sign."""
        from jaxpsn import noise

        return noise.named(self.name, 1, antithetic)


FORMS: Family[Form] = Family("form", Form, doc="The form of the noise on a policy's matrices.")


@FORMS.register("dense")
@dataclass(frozen=True)
class DenseForm(Form):
    """Independent Gaussian noise on every entry, added to whole copies of the weights (paper)."""

    name = "dense"


@FORMS.register("dense-bf16")
@dataclass(frozen=True)
class DenseHalf(Form):
    """Independent Gaussian noise on every entry, kept in bfloat16: half the memory of a draw, and coarser."""

    name = "dense-bf16"


@FORMS.register("flipout")
@dataclass(frozen=True)
class FlipoutForm(Form):
    """One dense draw that every member flips by signs (Wen et al. 2018), of a Hadamard matrix."""

    name = "flipout"


@FORMS.register("flipout-sign")
@dataclass(frozen=True)
class FlipoutSign(Form):
    """Flipout whose members flip by random signs (Wen et al. 2018, arXiv 1803.04386), not by a Hadamard matrix."""

    name = "flipout-sign"


@FORMS.register("flipout-normal")
@dataclass(frozen=True)
class FlipoutNormal(Form):
    """Flipout whose members flip by normal numbers in place of signs (after Wen et al. 2018, arXiv 1803.04386)."""

    name = "flipout-normal"


@FORMS.register("lowrank")
@dataclass(frozen=True)
class LowRankForm(Form):
    """Noise of a low rank, so that no perturbed matrix is ever formed."""

    rank: Annotated[int, Whole(1, 1024)] = 1
    """Rank."""

    name = "lowrank"

    def structure(self, antithetic: bool) -> Any:
        from jaxpsn import noise

        return noise.named(self.name, self.rank, antithetic)


@FORMS.register("factorised")
@dataclass(frozen=True)
class FactorisedForm(Form):
    """Noise as a product of two vectors (Fortunato et al. 2018)."""

    name = "factorised"


class Noise(Component):
    """What perturbs the sampler's weights."""


NOISES: Family[Noise] = Family("noise", Noise, doc="What perturbs the weights that answers are sampled from.")


@NOISES.register("none")
@dataclass(frozen=True)
class NoNoise(Noise):
    """The clean policy gives all answers: plain GRPO, to which all else is compared."""


@NOISES.register("psn")
@dataclass(frozen=True)
class Psn(Noise):
    """Parameter-space noise on the sampler's weights, held over whole answers (PSN-RLVR, arXiv 2602.02555)."""

    structure: Form = field(default_factory=LowRankForm)
    """Form of the noise."""
    select: str = "mlp"
    """Perturbed weights: mlp (paper), attention, linear, norms (QeRL), all, or re:PATTERN on parameter paths."""
    per: Literal["step", "replica", "sample"] = "sample"
    """One perturbation for the whole step (paper), one for each of `replicas`, or one for each answer of a group."""
    replicas: Annotated[int, Whole(1, 1 << 16)] | None = None
    """Samplers with a perturbation of their own (per = replica alone); divides the noisy answers of a group."""
    antithetic: bool = False
    """Perturbations come in pairs of opposite sign."""
    clean_share: Fraction = 0.0
    """Share of a group's answers that the clean policy gives."""
    relative: bool = True
    """Sigma in units of each matrix's root mean square instead of absolute (paper: absolute)."""
    sigma: SigmaRule = field(default_factory=Kl)
    """How large the noise is, and what moves it."""

    def validate(self) -> None:
        """Refuse a selection that is none, and replicas where there are none."""
        if self.select.startswith("re:"):
            try:
                re.compile(self.select[3:])
            except re.error as error:
                errors.refuse("psn.select", self.select, f"a regular expression after re: ({error})")
        else:
            checks.choice("psn.select", self.select, (*SELECTIONS, "norms", "all", "re:PATTERN"))
        if (self.per == "replica") != (self.replicas is not None):
            allowed = "how many samplers there are" if self.per == "replica" else "none, but with per = replica"
            errors.refuse("psn.replicas", self.replicas, allowed)

    def members(self, answers: int) -> int:
        """Distinct perturbations for that many noisy answers of a group."""
        return {"step": 1, "replica": self.replicas or 1, "sample": answers}[self.per] if answers else 0
