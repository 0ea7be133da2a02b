"""Scale rules that read what only a language model shows; formulas are in :mod:`jaxpsn.rlvr.exploration.sigma`."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import jax.numpy as jnp

from jaxpsn.core import checks, errors
from jaxpsn.core.components import Tune, called
from jaxpsn.core.fields import Fraction, Real, Traced, Whole
from jaxpsn.noise.scale_rules import SCALES, Run, ScaleRule
from jaxpsn.noise.scales import Scale, constant
from jaxpsn.rlvr.exploration import sigma
from jaxpsn.rlvr.exploration.likeness import Likeness, Ngram

Sigma = Annotated[float, Real(0.0, 100.0)]
Bound = Annotated[float, Real(0.0, 100.0, open_low=True)]
Rate = Annotated[float, Real(1.0, 10.0, open_low=True)]


@SCALES.register("fixed")
@dataclass(frozen=True)
class Fixed(ScaleRule):
    """The same sigma throughout."""

    value: Traced[Sigma] = 0.2
    """Sigma."""

    tune = Tune("value", (0.1, 0.3, 0.6, 1.0))

    @property
    def initial(self) -> float:  # type: ignore[override]
        """Sigma of the first step."""
        return self.value

    def build(self, start: Any, run: Run) -> Scale:
        return constant()


@SCALES.register("staged")
@dataclass(frozen=True)
class Staged(ScaleRule):
    """Stepwise exponential decay; the first stage has no noise (QeRL, arXiv 2510.11696)."""

    initial: Traced[Sigma] = 0.01
    """Sigma of the second stage."""
    final: Traced[Bound] = 1e-4
    """Sigma of the last stage."""
    stages: Annotated[int, Whole(2, 10_000)] = 10
    """Stages of equal length."""

    annealed = True
    tune = Tune("initial", (0.03, 0.1, 0.3))

    def build(self, start: Any, run: Run) -> Scale:
        checks.whole("steps", run.updates, 1)
        return sigma.staged(self.final, self.stages, run.updates or 1)


class _Bounded(ScaleRule):
    low: float
    high: float

    def validate(self) -> None:
        """Refuse bounds that cross."""
        if self.low > self.high:
            errors.refuse(f"{called(type(self))}.high", self.high, f"a number of at least low = {self.low:g}")

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Lowest and highest sigma."""
        return self.low, self.high


@SCALES.register("kl")
@dataclass(frozen=True)
class Kl(_Bounded):
    """Variant I: less noise where KL(noisy || clean) is above its target, more where below (arXiv 2602.02555)."""

    target: Traced[Bound] = 0.005
    """KL in nats a token to which sigma is driven (paper's code: 0.003)."""
    initial: Traced[Sigma] = 0.2
    """Sigma of the first step."""
    rate: Rate = 1.02
    """Factor of one step (paper's code: 1.01)."""
    dead_band: Annotated[float, Real(1.0, 10.0)] = 1.1
    """Between target / dead_band and target * dead_band sigma rests."""
    low: Sigma = 1e-6
    """Lower bound of sigma."""
    high: Bound = 0.5
    """Upper bound of sigma."""
    estimator: Literal["k1", "k3"] = "k1"
    """Monte-Carlo estimate of the KL: k1 (paper's code; may be negative) or k3."""

    reads = frozenset({"kl"})
    tune = Tune("target", (0.005, 0.02, 0.08))

    @property
    def divergence(self) -> float | None:
        """The target."""
        return self.target

    def build(self, start: Any, run: Run) -> Scale:
        return sigma.kl(self.target, self.rate, self.dead_band, (self.low, self.high), self.estimator)


class Probed(_Bounded):
    """A rule that is told of probes, answers drawn before the rollouts; its fields are those of :class:`Composite`."""

    reads = frozenset({"answers"})

    probes: int
    probe_policy: str
    reuse_probes: bool
    similarity: Any
    relative: bool


@SCALES.register("composite")
@dataclass(frozen=True)
class Composite(Probed):
    """Variant II: more noise where probes are alike and the policy is sure of them, else less (arXiv 2602.02555)."""

    drop: Traced[Annotated[float, Real(0.0, 2.0, open_low=True)] | None] = 0.03
    """How far below the clean policy's indicator on the same problems the probes' is driven; none with a `target`."""
    target: Traced[Annotated[float, Real(-1.0, 1.0)] | None] = None
    """Indicator to which it is driven instead, whatever the clean policy's is (paper); with `drop` = none."""
    initial: Traced[Sigma] = 0.2
    """Sigma of the first step."""
    rate: Rate = 1.02
    """Factor of one step (paper's code: 1.01); with a gain the largest."""
    gain: Annotated[float, Real(0.0, 1000.0, open_low=True)] | None = 4.0
    """Step of log sigma for a distance of 1 between indicator and target; none: always `rate` (paper)."""
    slack: Fraction = 0.0
    """Distance of the indicator from its target within which sigma rests."""
    low: Sigma = 1e-6
    """Lower bound of sigma."""
    high: Bound = 0.5
    """Upper bound of sigma."""
    probes: Annotated[int, Whole(2, 1 << 10)] = 2
    """Probe answers to each problem, drawn before the rollouts."""
    probe_policy: Literal["clean", "noisy"] = "noisy"
    """Who answers the probes: the noisy policy at the last sigma, or the clean one, which sigma does not move."""
    reuse_probes: bool = True
    """Count the probes among the group's answers instead of drawing them in addition."""
    similarity: Likeness = field(default_factory=Ngram)
    """How the likeness of answers is measured."""
    certainty: Literal["uniform_to_policy", "policy_to_uniform"] = "uniform_to_policy"
    """Self-certainty as KL(U || p) (paper) or KL(p || U) = log V - H(p)."""
    normalisation: Literal["running", "fixed", "batch"] = "running"
    """Range that brings certainty to [0, 1]: a slow average of the batches' ranges, 0 to log V (policy_to_uniform
    alone is bounded by it), or each batch's own (paper)."""
    weight: Fraction = 0.5
    """Share of similarity in the indicator; the rest is certainty."""

    tune = Tune("drop", (0.03, 0.1, 0.2))

    def validate(self) -> None:
        """Refuse two goals or none, a range without bounds, and probes that sigma would not move."""
        super().validate()
        if (self.drop is None) == (self.target is None):
            allowed = "none where drop is given, else a number from -1 to 1; drop = none leaves the goal to it"
            errors.refuse("composite.target", self.target, allowed)
        if self.normalisation == "fixed" and self.certainty == "uniform_to_policy":
            allowed = "running or batch, as nothing bounds KL(U || p); 0 to log V is for certainty = policy_to_uniform"
            errors.refuse("composite.normalisation", "fixed", allowed)
        if self.relative and self.probe_policy == "clean":
            allowed = "noisy, as sigma moves no answer of the clean policy; or drop = none and a target (paper)"
            errors.refuse("composite.probe_policy", "clean", allowed)

    @property
    def relative(self) -> bool:  # type: ignore[override]
        """Whether the goal is relative to the clean policy's own indicator."""
        return self.target is None

    def build(self, start: Any, run: Run) -> Scale:
        checks.whole("vocabulary", run.vocabulary, 1)
        return sigma.composite(
            self.drop if self.relative else self.target,
            self.rate,
            self.weight,
            (self.low, self.high),
            self.slack,
            self.certainty,
            self.normalisation,
            span=(0.0, float(jnp.log(run.vocabulary))),
            relative=self.relative,
            gain=self.gain,
        )
