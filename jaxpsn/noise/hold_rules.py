"""What a user may choose as the time for which noise is held; the rules themselves are :mod:`jaxpsn.noise.holds`."""

from dataclasses import dataclass
from typing import Annotated

from jaxpsn.core.components import Component
from jaxpsn.core.families import Family
from jaxpsn.core.fields import Real, Whole
from jaxpsn.noise import holds

_MOST = 1 << 20


class HoldRule(Component):
    """How long a perturbation, or another held draw, lasts."""

    def build(self) -> holds.Hold:
        """The rule as pure functions."""
        raise NotImplementedError


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
