"""A small world of components for the tests: holds, structures, and rules that add up."""

import contextlib
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from jaxpsn.core import (
    Component,
    Count,
    Family,
    Fraction,
    Items,
    NonNegative,
    Positive,
    Real,
    Sum,
    Traced,
    Tune,
    Whole,
    Widths,
    errors,
    families,
)


class Hold(Component):
    """How long."""


class Form(Component):
    """Which law."""


class Rule(Component):
    """How to explore."""


class Policy(Rule):
    """A rule of which a sum has one."""


def one_policy(total: Sum) -> None:
    """Refuse two policies."""
    names = [RULES.name_of(term) for term in total.terms if isinstance(term, Policy)]
    if len(names) > 1:
        errors.refuse("toy-explore", " + ".join(names), "one policy at most")


@contextlib.contextmanager
def unlisted():
    """Families made here are those of this module only: the names that users see stay theirs."""
    before = dict(families.ALL)
    families.ALL.clear()
    try:
        yield
    finally:
        OWN.update(families.ALL)
        families.ALL.clear()
        families.ALL.update(before)


OWN: dict[str, Family] = {}
with unlisted():
    HOLDS = Family("toy-hold", Hold, doc="how long a draw is held")
    FORMS = Family("toy-form", Form)
    RULES = Family("toy-explore", Rule, sums=one_policy)


@HOLDS.register("episode")
@dataclass(frozen=True)
class Episode(Hold):
    """The whole episode."""


@HOLDS.register("steps")
@dataclass(frozen=True)
class Steps(Hold):
    """A number of steps."""

    n: Count = 100
    """Decisions."""


@FORMS.register("dense", stream=0)
@dataclass(frozen=True)
class Dense(Form):
    """Independent entries."""


@FORMS.register("lowrank")
@dataclass(frozen=True)
class LowRank(Form):
    """Products of factors."""

    rank: Annotated[int, Whole(1, 1024)] = 1
    """The rank."""


@RULES.register("gaussian", stream=1)
@dataclass(frozen=True)
class Gaussian(Rule):
    """White noise.

    Every step anew.
    """

    std: Traced[NonNegative] = 0.2
    """Standard deviation
    of the noise."""
    tune = Tune("std", (0.1, 0.3))


@RULES.register("parameter")
@dataclass(frozen=True)
class Parameter(Policy):
    """Perturbed weights."""

    structure: Form = LowRank()
    """Its law."""
    hold: Hold = Episode()
    """How long."""
    target: Traced[Positive] = 0.2
    """Distance."""
    low: NonNegative = 0.0
    """Lower bound."""
    high: Positive = 10.0
    """Upper bound."""

    def validate(self) -> None:
        """Refuse an empty range."""
        if self.low > self.high:
            errors.refuse("parameter.low", self.low, f"at most high = {self.high:g}")

    def tune_field(self) -> Tune:
        """The target."""
        return Tune("target", (0.1, 0.2))


@RULES.register("lattice")
@dataclass(frozen=True)
class Lattice(Policy):
    """Another policy."""

    std: Traced[Positive] = 0.2


@RULES.register("all")
@dataclass(frozen=True)
class Everything(Rule):
    """A field of each kind."""

    needed: Fraction
    name: str = "x"
    maybe: str | None = None
    flag: bool = False
    sort: Literal["a", "b-c", "none"] = "a"
    widths: Widths = (64, 64)
    pair: tuple[float, int] = (0.5, 1)
    texts: Annotated[tuple[str, ...], Items(families.fields.Text())] = ()
    any: int = 0
    free: float = 0.0
    between: Annotated[float, Real(1.0, 10.0)] = 2.0
    holds: tuple[Hold, ...] = ()
    inner: Rule | Sum | None = None
    rate: Traced[Positive | None] = None


RULES.alias("wide", "parameter(structure=lowrank(rank=4), target=0.6)", "A wide one.")
RULES.alias("both", "parameter + gaussian(std=0.1)")


def refused(text: str, call, *given, **named) -> None:
    """The call ends in exactly this message."""
    with pytest.raises(errors.UserError) as caught:
        call(*given, **named)
    assert str(caught.value) == text, str(caught.value)
