"""The family of what perturbs the sampler's weights; imports no JAX."""

from typing import Any, ClassVar

from jaxpsn.core.components import Component
from jaxpsn.core.families import Family


class Noise(Component):
    """What perturbs the sampler's weights; the trained weights stay clean.

    Its ``sigma``, a field or an attribute of the class, is the scale rule. Noise that has members also says how they
    are drawn: ``structure`` (:class:`jaxpsn.noise.Structure`), ``select`` and ``relative``, as psn does.
    """

    clean_share: ClassVar[float] = 1.0
    """Share of a group's answers that the clean policy gives; a field of noise that leaves a choice."""
    per: ClassVar[str] = "sample"
    """For what each perturbation is drawn; ``step``: one for all answers of a step, probes too."""
    replicas: ClassVar[int | None] = None
    """Samplers with a perturbation of their own."""
    within: ClassVar[Any] = None
    """Hold rule by which noise is redrawn within an answer, its tokens the decisions; None: it is held for all."""
    antithetic: ClassVar[bool] = False
    """Whether perturbations come in pairs of opposite sign."""
    learnt: ClassVar[bool] = False
    """Whether each weight has a scale of its own, which an optimiser of the noise's learns with the weights; it then
    says ``optimizer``, ``begin`` and ``scales``, as ivon does."""

    def members(self, answers: int) -> int:
        """Distinct perturbations for that many noisy answers of a group."""
        return 0


NOISES: Family[Noise] = Family(
    "noise",
    Noise,
    {
        "none": "jaxpsn.rlvr.exploration.noises",
        "psn": "jaxpsn.rlvr.exploration.noises",
        "ivon": "jaxpsn.rlvr.exploration.posterior",
    },
    doc="What perturbs the weights that answers are sampled from.",
)
