"""What a study is to find, said before its first run, and the verdict of an interval; imports no JAX.

A study takes hypotheses into its config, where they are fixed: ``above(parameter, gaussian, final)`` says that
arm ``parameter`` is better than ``gaussian``. What a metric's difference is, the study's kind says.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxpsn.core import errors
from jaxpsn.core.components import Component
from jaxpsn.core.families import Family
from jaxpsn.core.fields import NonNegative
from jaxpsn.stats.pass_at_k import KS
from jaxpsn.stats.statistics import Estimate

METRICS: dict[str, dict[str, str]] = {
    "control": {
        "final": "final return", "area": "area", "first_reward": "first reward", "threshold": "threshold",
    },
    "reasoning": {f"pass@{k}": f"pass@{k}" for k in KS},
}  # fmt: skip
"""By the kind of a study what it can be about, and what its tables call that.

In control the difference is the probability that a run of ``ours`` does better than one of ``theirs``, less one half;
in reasoning it is that of pass@k on the same problems, in shares, on the mean of the tasks.
"""
SUPPORTED, CONTRADICTED, UNDECIDED, OPEN = "supported", "contradicted", "undecided", "not tested"


@dataclass(frozen=True)
class Hypothesis(Component):
    """A statement on the difference of two arms in a metric."""

    expects: ClassVar[str]
    """above, below or equal."""
    ours: str
    """An arm."""
    theirs: str
    """The arm that it is compared with."""
    metric: str
    """final, area, first_reward or threshold in control; pass@1, pass@2, pass@4 ... pass@256 in reasoning."""
    margin: NonNegative = 0.0
    """How large a difference has to be to count."""
    stop: str = ""
    """A stopping rule, beside the seeds and steps of the config, which are fixed too."""
    says: str = ""
    """The statement in its author's words."""

    def validate(self) -> None:
        """Refuse an arm against itself, and an equality without a margin."""
        if self.ours == self.theirs:
            errors.refuse("theirs", self.theirs, f"another arm than {self.ours}")
        if self.expects == "equal" and not self.margin:
            errors.refuse("margin", self.margin, "above 0, within which the arms count as equal")

    @property
    def sentence(self) -> str:
        """What it says, in the words of its author or in plain ones."""
        return self.says or f"{self.ours} is {self.expects}{' to' if self.expects == 'equal' else ''} {self.theirs}"


HYPOTHESES: Family[Hypothesis] = Family(
    "hypothesis", Hypothesis, doc="What a study is to find, fixed in its config before the first run."
)


@HYPOTHESES.register("above")
@dataclass(frozen=True)
class Above(Hypothesis):
    """``ours`` exceeds ``theirs`` in ``metric`` by more than ``margin``.

    Supported: the 95 % interval of the difference lies above the margin; contradicted: below it.
    """

    expects = "above"


@HYPOTHESES.register("below")
@dataclass(frozen=True)
class Below(Hypothesis):
    """``ours`` falls short of ``theirs`` in ``metric`` by more than ``margin``; else as ``above``."""

    expects = "below"


@HYPOTHESES.register("equal")
@dataclass(frozen=True)
class Equal(Hypothesis):
    """``ours`` and ``theirs`` differ in ``metric`` by less than ``margin``, which is above 0.

    Supported: the 95 % interval of the difference lies within the margin; contradicted: beyond it.
    """

    expects = "equal"


def read(texts: Sequence[str]) -> list[Hypothesis]:
    """The hypotheses of a config. Raises UserError for one that is none."""
    return [HYPOTHESES.make(text, "study.hypotheses") for text in texts]


def refuse_unknown(texts: Sequence[str], arms: Collection[str], kind: str) -> None:
    """Refuse hypotheses on arms that a study of that kind does not have, and on what it does not measure."""
    for one in read(texts):
        for name, known in (("ours", arms), ("theirs", arms), ("metric", METRICS[kind])):
            if getattr(one, name) not in known:
                errors.refuse(f"study.hypotheses.{name}", getattr(one, name), errors.nearest(getattr(one, name), known))


def verdict(expects: str, found: Estimate, margin: float) -> str:
    """What the interval of a difference says to an expectation: supported, contradicted or undecided.

    above: it lies above ``margin`` (or below it); below: the mirror image; equal: it lies within ±``margin`` (or wholly
    beyond). One run, which has no interval, decides nothing.
    """
    if found.low is None or found.high is None:
        return UNDECIDED
    low, high = found.low, found.high
    if expects == "equal":
        return SUPPORTED if max(-low, high) < margin else CONTRADICTED if max(low, -high) > margin else UNDECIDED
    low, high = (low, high) if expects == "above" else (-high, -low)
    return SUPPORTED if low > margin else CONTRADICTED if high < margin else UNDECIDED
