"""What a user may choose as the time for which noise is held; the rules themselves are :mod:`jaxpsn.noise.holds`."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from jaxpsn.core import errors
from jaxpsn.core.components import Component, called, spec_of
from jaxpsn.core.families import Family
from jaxpsn.core.fields import Real, Whole
from jaxpsn.noise import colours, holds
from jaxpsn.noise.multiscale import Multiscale
from jaxpsn.noise.structures import Structure

_MOST = 1 << 20
_Mean = Annotated[float, Real(1.0, float(_MOST))]


class HoldRule(Component):
    """How long a perturbation, or another held draw, lasts."""

    single: ClassVar[bool] = True
    """Whether what is held is one draw, as it was drawn."""
    numbered: ClassVar[bool] = True
    """Whether what is held is what was drawn at some number of redraws, and not what became of it since."""

    def build(self) -> holds.Hold:
        """The rule as pure functions."""
        raise NotImplementedError

    def form(self, kind: Structure) -> Structure:
        """The structure of what is held, made of ``kind``. Raises UserError for one that cannot be held so."""
        return kind


HOLDS: Family[HoldRule] = Family("hold", HoldRule, doc="How long noise is held.")


@HOLDS.register("episode")
@dataclass(frozen=True)
class Episode(HoldRule):
    """Noise is held for the whole episode (Plappert et al. 2018, arXiv 1706.01905, section 3)."""

    def build(self) -> holds.Hold:
        return holds.per_episode()


@HOLDS.register("steps")
@dataclass(frozen=True)
class Steps(HoldRule):
    """Noise is held for a number of decisions, or to the end of the episode if that comes first."""

    n: Annotated[int, Whole(1, _MOST)] = 100
    """Decisions of an environment."""

    def build(self) -> holds.Hold:
        return holds.every(self.n)


@HOLDS.register("zeta")
@dataclass(frozen=True)
class Zeta(HoldRule):
    """Noise is held for a random, heavy-tailed number of decisions (Dabney et al. 2021, arXiv 2006.01782)."""

    exponent: Annotated[float, Real(1.0, 10.0, open_low=True)] = 2.0
    """P(length n) is proportional to n to the minus this."""
    most: Annotated[int, Whole(1, _MOST)] = 100
    """Decisions at most."""

    def build(self) -> holds.Hold:
        return holds.zeta(self.exponent, self.most)


@HOLDS.register("geometric")
@dataclass(frozen=True)
class Geometric(HoldRule):
    """Noise is redrawn with the same probability at every decision: correlation falls as under drift."""

    mean: _Mean = 25.0
    """Decisions for which it is held on average."""

    def build(self) -> holds.Hold:
        return holds.geometric(self.mean)


@dataclass(frozen=True)
class _Colour(HoldRule):
    """Components that are held for unequal times."""

    single: ClassVar[bool] = False

    shortest: _Mean = 1.0
    """Decisions for which the fastest component is held on average."""
    longest: _Mean = 256.0
    """The same of the slowest, which the end of an episode redraws too."""
    ratio: Annotated[float, Real(1.5, 1024.0)] = 4.0
    """From one component's hold to the next one's: the smaller it is, the more there are."""

    @property
    def exponent(self) -> float:
        """Power falls as frequency to the minus this."""
        raise NotImplementedError

    def validate(self) -> None:
        """Refuse holds of which there are not two."""
        if self.longest < (least := self.shortest * self.ratio):
            errors.refuse(f"{called(type(self))}.longest", self.longest, f"at least shortest * ratio = {least:g}")

    @cached_property
    def components(self) -> dict[float, float]:
        """Mean hold -> share of the variance, of the components that have any."""
        means = colours.ladder(self.shortest, self.longest, self.ratio)
        return {mean: share for mean, share in zip(means, colours.powers(self.exponent, means), strict=True) if share}

    def build(self) -> holds.Hold:
        return holds.per_component(tuple(self.components))

    def form(self, kind: Structure) -> Structure:
        if kind.antithetic:
            allowed = f"false with hold={spec_of(self)}, as the two of a pair redraw at times of their own"
            errors.refuse("structure.antithetic", True, allowed)
        return Multiscale(kind, tuple(self.components), tuple(self.components.values()))


@HOLDS.register("pink")
@dataclass(frozen=True)
class Pink(_Colour):
    """Pink weight noise: a sum of components held 1, 4, 16, 64 and 256 decisions on average; power falls as 1 / f.

    How they share the variance is told in :func:`jaxpsn.noise.colours.powers`; the end of an episode redraws them all
    (:func:`jaxpsn.noise.holds.per_component`). Beside it noise that is held for an episode is red, and noise that is
    redrawn at every decision white. After pink action noise (Eberhard et al. 2023).
    """

    @property
    def exponent(self) -> float:
        return 1.0


@HOLDS.register("colored")
@dataclass(frozen=True)
class Colored(_Colour):
    """Weight noise of any colour between white and red; as pink, with a spectrum that falls as 1 / f ** beta."""

    beta: Annotated[float, Real(0.0, 2.0)] = 1.0
    """Spectral exponent: 0 white, 1 pink, 2 red."""

    @property
    def exponent(self) -> float:
        return self.beta


@HOLDS.register("drift")
@dataclass(frozen=True)
class Drift(HoldRule):
    """Weights that drift: an autoregression of order one, between noise of every decision and that of episodes.

    ``E' = rho E + sqrt(1 - rho^2) N(0, 1)`` at every decision, a new E at the start of an episode. Source: van Hoof,
    Tanneberg and Peters 2017, generalized exploration in policy search (doi 10.1007/s10994-017-5657-1).
    """

    single: ClassVar[bool] = False
    numbered: ClassVar[bool] = False

    rho: Annotated[float, Real(0.0, 1.0)] = 0.96
    """Correlation from one decision to the next; 1 - 1/n is as far apart as a hold of n."""

    def build(self) -> holds.Hold:
        return holds.drift(self.rho)

    def form(self, kind: Structure) -> Structure:
        if not kind.drifts:
            allowed = f"dense, input_gain or lowrank(factors=normal) with hold={spec_of(self)}; or hold=geometric"
            errors.refuse("structure", spec_of(kind), allowed)
        return kind


HOLDS.alias(
    "tokens", "steps(1)", "A number of tokens, which are a language model's decisions; 1: each has a draw of its own."
)
