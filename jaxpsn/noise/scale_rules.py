"""What a user may choose as the rule for a noise scale; the rules themselves are :mod:`jaxpsn.noise.scales`."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import optax

from jaxpsn.core import checks, errors
from jaxpsn.core.components import Component
from jaxpsn.core.families import Family
from jaxpsn.core.fields import Real, Traced
from jaxpsn.noise import scales

Bound = Annotated[float, Real(0.0, 100.0, open_low=True)]
Target = Traced[Annotated[float, Real(0.0, 100.0, open_low=True)]]


class ScaleRule(Component):
    """How the scale sigma of weight noise follows the distance between perturbed and clean behaviour."""

    annealed: ClassVar[bool] = False
    """Whether it follows the length of the run: it then needs the number of updates, and no run may be extended."""

    @property
    def adapted(self) -> bool:
        """Whether it looks at the distance; it then has a field ``target``."""
        return hasattr(self, "target")

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the greatest sigma that it gives, if it has bounds."""
        return None

    def build(self, start: Any, updates: int | None) -> scales.Scale:
        """The rule as pure functions. ``start``: sigma at first; ``updates``: scale updates of the whole run."""
        raise NotImplementedError

    def scaled(self, factor: Any) -> "ScaleRule":
        """The rule for members whose targets are ``factor`` times its own."""
        return dataclasses.replace(self, target=self.target * factor) if self.adapted else self  # type: ignore[attr-defined]


SCALES: Family[ScaleRule] = Family("scale", ScaleRule, doc="How the scale of weight noise is set or adapted.")


@SCALES.register("constant")
@dataclass(frozen=True)
class Constant(ScaleRule):
    """Sigma stays what it was at the start."""

    def build(self, start: Any, updates: int | None) -> scales.Scale:
        return scales.constant()


@SCALES.register("linear")
@dataclass(frozen=True)
class Linear(ScaleRule):
    """Sigma is annealed over the run, without a look at the distance."""

    annealed: ClassVar[bool] = True

    final: Bound = 1e-5
    """Sigma at the end of the run."""

    def build(self, start: Any, updates: int | None) -> scales.Scale:
        checks.whole("total_adaptations", updates, 0)
        return scales.scheduled(optax.linear_schedule(start, self.final, max(updates or 0, 1)))


@dataclass(frozen=True)
class _Bounded(ScaleRule):
    """A rule that follows the distance within bounds."""

    target: Target = 0.2
    """The distance that is wanted; of actions in [-1, 1] the root mean square."""
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


@SCALES.register("multiplicative")
@dataclass(frozen=True)
class Multiplicative(_Bounded):
    """Sigma times ``rate`` up to the target distance, divided by it beyond (arXiv 1706.01905, section 3)."""

    rate: Annotated[float, Real(1.0, 10.0, open_low=True)] = 1.01
    """Factor of one step (paper: 1.01)."""
    dead_band: Annotated[float, Real(0.0, 100.0)] = 0.0
    """Relative band around the target in which sigma rests."""

    def build(self, start: Any, updates: int | None) -> scales.Scale:
        return scales.adaptive(self.target, self.rate, self.dead_band, (self.low, self.high))


@SCALES.register("first_order")
@dataclass(frozen=True)
class FirstOrder(_Bounded):
    """Sigma times a power of target over distance, by a factor of at most 2 at a time."""

    exponent: Annotated[float, Real(0.0, 4.0, open_low=True)] = 1.0
    """The power: 1 for distances that grow like sigma, 0.5 for those that grow like its square (a divergence)."""

    def build(self, start: Any, updates: int | None) -> scales.Scale:
        return scales.first_order(self.target, self.exponent, bounds=(self.low, self.high))


@SCALES.register("bisection")
@dataclass(frozen=True)
class Bisection(_Bounded):
    """A bracket in the logarithm of sigma is halved, whatever the shape of the response."""

    def build(self, start: Any, updates: int | None) -> scales.Scale:
        return scales.bisection(self.target, bounds=(self.low, self.high))


SCALES.alias("first-order", "first_order", "Another spelling of first_order.")
