"""What a user may choose as the rule for a noise scale; the rules themselves are :mod:`jaxpsn.noise.scales`."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import optax

from jaxpsn.core import checks, errors
from jaxpsn.core.components import Component, fields_of
from jaxpsn.core.families import Family
from jaxpsn.core.fields import Real, Traced
from jaxpsn.noise import scales

Bound = Annotated[float, Real(0.0, 100.0, open_low=True)]
Target = Traced[Annotated[float, Real(0.0, 100.0, open_low=True)]]


START = 0.2
"""Sigma of the first step where neither a rule nor its home says it."""


class Run(NamedTuple):
    """What a rule may know of the run that it is for."""

    updates: int | None
    """Scale updates of the whole run; None if unknown."""
    vocabulary: int | None = None
    """Tokens of a language model's vocabulary; None for other policies."""


class ScaleRule(Component):
    """How the scale sigma of weight noise is set, and what moves it; one family for control and reasoning.

    A rule says what it ``reads``: ``distance`` between perturbed and clean behaviour (control: root mean square of
    actions; reasoning: KL in nats a token), ``kl`` (reasoning: both estimates of it) or ``answers`` (reasoning: probes
    before the rollouts). A home refuses the rules that read what it does not measure.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    """What its updates are told."""
    annealed: ClassVar[bool] = False
    """Whether it follows the length of the run: it then needs the number of updates, and no run may be extended."""
    positive: ClassVar[bool] = False
    """Whether sigma stays above zero where it was above zero at first."""
    initial: ClassVar[float | None] = None
    """Sigma of the first step, where the rule says it (a field then); None: its home does."""

    @property
    def start(self) -> float:
        """Sigma of the first step of a home that leaves it to the rule."""
        return START if self.initial is None else self.initial

    @property
    def adapted(self) -> bool:
        """Whether it looks at the distance; it then has a field ``target``."""
        return hasattr(self, "target")

    @property
    def divergence(self) -> float | None:
        """The KL(noisy || clean) in nats a token to which it drives a language model; None: to none."""
        return None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the greatest sigma that it gives, if it looks for one within bounds."""
        return None

    def build(self, start: Any, run: Run) -> scales.Scale:
        """The rule as pure functions: ``init(sigma0) -> state`` and ``update(state, measured) -> state``.

        ``start``: sigma at first; ``measured``: a dict with what the rule reads (``distance``; of reasoning the metrics
        of an update, see :mod:`jaxpsn.rlvr.exploration.sigma`).
        """
        raise NotImplementedError

    def scaled(self, factor: Any) -> "ScaleRule":
        """The rule for members whose targets are ``factor`` times its own."""
        return dataclasses.replace(self, target=self.target * factor) if self.adapted else self  # type: ignore[attr-defined]


# The rules of reasoning lie with what they read; their names are known here, so that a home can say what fits.
SCALES: Family[ScaleRule] = Family(
    "scale",
    ScaleRule,
    dict.fromkeys(("fixed", "staged", "kl", "composite"), "jaxpsn.rlvr.exploration.rules"),
    doc="How the scale of weight noise is set or adapted.",
)


def begins(kind: Any) -> bool:
    """Whether a rule, or the class of one, says itself what sigma is at first."""
    own = kind if isinstance(kind, type) else type(kind)
    return own.initial is not None or any(one.name == "initial" for one in fields_of(own))


def refuse_misfit(where: str, rule: ScaleRule, fits: Callable[[type[ScaleRule]], bool]) -> None:
    """Refuse a rule that its home cannot drive, naming those that it can. Raises UserError."""
    if not fits(type(rule)):
        known = [name for name in (*SCALES.modules, *SCALES.kinds) if fits(SCALES.get(name))]
        errors.refuse(where, SCALES.name_of(rule), f"a rule that fits here: {', '.join(dict.fromkeys(known))}")


def _of_distance(rule: scales.Scale) -> scales.Scale:
    return scales.Scale(rule.init, lambda state, measured: rule.update(state, measured["distance"]))


@SCALES.register("constant")
@dataclass(frozen=True)
class Constant(ScaleRule):
    """Sigma stays what it was at the start."""

    positive: ClassVar[bool] = True

    def build(self, start: Any, run: Run) -> scales.Scale:
        return scales.constant()


@SCALES.register("linear")
@dataclass(frozen=True)
class Linear(ScaleRule):
    """Sigma is annealed over the run, without a look at the distance."""

    annealed: ClassVar[bool] = True
    positive: ClassVar[bool] = True

    final: Bound = 1e-5
    """Sigma at the end of the run."""

    def build(self, start: Any, run: Run) -> scales.Scale:
        checks.whole("total_adaptations", run.updates, 0)
        return scales.scheduled(optax.linear_schedule(start, self.final, max(run.updates or 0, 1)))


@dataclass(frozen=True)
class _Bounded(ScaleRule):
    """A rule that follows the distance within bounds."""

    reads: ClassVar[frozenset[str]] = frozenset({"distance"})
    positive: ClassVar[bool] = True

    target: Target = 0.2
    """The distance that is wanted: root mean square of actions in [-1, 1]; of a language model KL in nats a token."""
    low: Bound = 1e-5
    """Lower bound of sigma."""
    high: Bound = 10.0
    """Upper bound of sigma."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            errors.refuse("scale.low", self.low, f"at most high = {self.high:g}")

    @property
    def bounds(self) -> tuple[float, float] | None:
        return self.low, self.high

    @property
    def divergence(self) -> float | None:
        return self.target


@SCALES.register("multiplicative")
@dataclass(frozen=True)
class Multiplicative(_Bounded):
    """Sigma times ``rate`` up to the target distance, divided by it beyond (arXiv 1706.01905, section 3)."""

    rate: Annotated[float, Real(1.0, 10.0, open_low=True)] = 1.01
    """Factor of one step (paper: 1.01)."""
    dead_band: Annotated[float, Real(0.0, 100.0)] = 0.0
    """Relative band around the target in which sigma rests."""

    def build(self, start: Any, run: Run) -> scales.Scale:
        return _of_distance(scales.adaptive(self.target, self.rate, self.dead_band, (self.low, self.high)))


@SCALES.register("first_order")
@dataclass(frozen=True)
class FirstOrder(_Bounded):
    """Sigma times a power of target over distance, by a factor of at most 2 at a time."""

    exponent: Annotated[float, Real(0.0, 4.0, open_low=True)] = 1.0
    """The power: 1 for distances that grow like sigma, 0.5 for those that grow like its square (a divergence)."""

    def build(self, start: Any, run: Run) -> scales.Scale:
        return _of_distance(scales.first_order(self.target, self.exponent, bounds=(self.low, self.high)))


@SCALES.register("bisection")
@dataclass(frozen=True)
class Bisection(_Bounded):
    """A bracket in the logarithm of sigma is halved, whatever the shape of the response."""

    def build(self, start: Any, run: Run) -> scales.Scale:
        return _of_distance(scales.bisection(self.target, bounds=(self.low, self.high)))


SCALES.alias("first-order", "first_order", "Another spelling of first_order.")
