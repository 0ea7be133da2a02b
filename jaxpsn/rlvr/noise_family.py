"""The family of what perturbs the sampler's weights; imports no JAX."""

from typing import ClassVar

from jaxpsn.core.components import Component
from jaxpsn.core.families import Family


class Noise(Component):
    """What perturbs the sampler's weights; the trained weights stay clean.

    Its ``sigma``, a field or an attribute of the class, is the scale rule.
    """

    clean_share: ClassVar[float] = 1.0
    """Share of a group's answers that the clean policy gives; a field of noise that leaves a choice."""
    antithetic: ClassVar[bool] = False
    """Whether perturbations come in pairs of opposite sign."""

    def members(self, answers: int) -> int:
        """Distinct perturbations for that many noisy answers of a group."""
        return 0


NOISES: Family[Noise] = Family(
    "noise",
    Noise,
    {"none": "jaxpsn.rlvr.noises", "psn": "jaxpsn.rlvr.noises"},
    doc="What perturbs the weights that answers are sampled from.",
)
