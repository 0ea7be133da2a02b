"""The pattern that the paper reports (arXiv 2602.02555), and questions of our own, as contrasts with a verdict each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxpsn.core import text
from jaxpsn.report.reasoning.study.scores import REFERENCE, Contrast, Results
from jaxpsn.stats.hypotheses import CONTRADICTED, OPEN, SUPPORTED, UNDECIDED, verdict
from jaxpsn.stats.statistics import Estimate

MARGIN = 0.02
"""Two arms are about equal where their difference lies within this, in shares: 2 points."""
_SMALL, _LARGE, _TOP = (1, 2, 4), (64, 256), (256,)


@dataclass(frozen=True)
class Hypothesis:
    """A statement on differences of arms: every one of ``pairs`` at every one of ``ks`` is as expected."""

    name: str
    says: str
    """The statement, without its k."""
    expects: str
    """above, below or equal."""
    pairs: tuple[tuple[str, str], ...]
    ks: tuple[int, ...]
    paper: bool = True

    def places(self, known: Sequence[int]) -> tuple[int, ...]:
        """The k at which it is tested: the largest known one stands for those beyond."""
        return tuple(dict.fromkeys(k if k in known else known[-1] for k in self.ks))


class Part(NamedTuple):
    """One contrast of a hypothesis with its own verdict."""

    contrast: Contrast
    verdict: str


class Answer(NamedTuple):
    """A hypothesis with the contrasts that test it on one task; ``missing`` are arms without numbers."""

    hypothesis: Hypothesis
    sentence: str
    task: str
    parts: tuple[Part, ...]
    verdict: str
    """Supported: every part is. Contradicted: one part is. Undecided: else. Not tested: an arm is missing."""
    missing: tuple[str, ...]

    @property
    def said(self) -> str:
        """The verdict; where it is undecided, within how many points the differences lie."""
        if self.verdict == OPEN:
            return f"{OPEN}: no results of {text.listed(self.missing)}"
        return told(self.verdict, [part.contrast.estimate for part in self.parts if part.verdict == UNDECIDED])


def told(verdict: str, found: Sequence[Estimate]) -> str:
    """A verdict in words; one that is undecided says within how many points the intervals lie."""
    if verdict != UNDECIDED:
        return verdict
    ends = [abs(end) for one in found for end in (one.low, one.high) if end is not None]
    if not ends:
        return f"{UNDECIDED}: one run gives no interval"
    widest = max(ends)
    return f"{UNDECIDED} within \u00b1{100 * widest:.1f} points"


def _one(
    name: str, says: str, expects: str, ours: str, theirs: str, ks: tuple[int, ...] = _TOP, paper: bool = True
) -> Hypothesis:
    return Hypothesis(name, says, expects, ((ours, theirs),), ks, paper)


HYPOTHESES = (
    _one("noise-alone", "Noise alone, without the correction, is about equal to GRPO", "equal",
         "psn-no-tis", REFERENCE),
    _one("correction", "The correction (TIS) carries the gain: noise with it is above noise without", "above",
         "psn", "psn-no-tis"),
    _one("noise", "Noise with the correction is above GRPO", "above", "psn", REFERENCE),
    _one("adaptive-kl", "Sigma adapted by KL (Variant I) is above a fixed one", "above", "psn-kl", "psn"),
    _one("adaptive-composite", "Sigma adapted by the indicator (Variant II) is above a fixed one", "above",
         "psn-composite", "psn"),
    _one("small-k", "Fixed noise loses to GRPO at small k", "below", "psn", REFERENCE, _SMALL),
    _one("large-k", "Fixed noise gains on GRPO at large k", "above", "psn", REFERENCE, _LARGE),
    _one("small-k-composite", "Variant II loses to GRPO at small k", "below", "psn-composite", REFERENCE, _SMALL),
    _one("large-k-composite", "Variant II gains on GRPO at large k", "above", "psn-composite", REFERENCE, _LARGE),
    _one("pass-at-k", "Noise adds to Pass@k training", "above", "psn-pass-at-k", "pass-at-k"),
    _one("members", "A perturbation for each answer is above one draw for the whole step", "above",
         "psn", "psn-step", paper=False),
    _one("correction-alone", "The correction without noise changes nothing", "equal",
         "grpo-tis", REFERENCE, paper=False),
    Hypothesis("rivals", "Noise on the weights is above exploring by actions (temperature, entropy)", "above",
               (("psn", "temperature"), ("psn", "entropy")), _TOP, paper=False),
)  # fmt: skip
"""Each is tested on every task and on their mean."""


def answers(results: Results, task: str | None) -> list[Answer]:
    """Every hypothesis of which the study has an arm, as far as a task can tell; all where ``task`` is None."""
    if task is None:
        return [answer for one in results.tasks for answer in answers(results, one)]
    labels = results.study.labels
    return [
        _answer(results, one, task) for one in HYPOTHESES if all(arm in labels for pair in one.pairs for arm in pair)
    ]


def _answer(results: Results, one: Hypothesis, task: str) -> Answer:
    places = one.places(results.ks)
    sentence = f"{one.says} (k = {', '.join(map(str, places))})."
    arms = dict.fromkeys(arm for pair in one.pairs for arm in pair)
    missing = tuple(arm for arm in arms if (task, arm) not in results.sampled)
    if missing:
        return Answer(one, sentence, task, (), OPEN, missing)
    found = (results.contrast(task, *pair, k) for pair in one.pairs for k in places)
    margin = MARGIN if one.expects == "equal" else 0.0
    parts = tuple(Part(each, verdict(one.expects, each.estimate, margin)) for each in found if each is not None)
    verdicts = {part.verdict for part in parts}
    whole = CONTRADICTED if CONTRADICTED in verdicts else UNDECIDED if UNDECIDED in verdicts else SUPPORTED
    return Answer(one, sentence, task, parts, whole, ())


def rows(results: Results) -> Iterator[Sequence[object]]:
    """The rows of ``hypotheses.csv``: COLUMNS."""
    for answer in answers(results, None):
        about = [answer.hypothesis.name, "paper" if answer.hypothesis.paper else "ours", answer.sentence,
                 answer.hypothesis.expects, answer.task]  # fmt: skip
        for contrast, said in answer.parts:
            yield [*about, *contrast[1:4], *contrast.estimate[:3], contrast.probability, said, answer.said]
        if not answer.parts:
            yield [*about, *[None] * 8, answer.said]


COLUMNS = (
    "hypothesis", "of", "statement", "expects", "task", "ours", "theirs", "k", "difference", "low", "high",
    "probability", "verdict", "whole",
)  # fmt: skip
