"""Rewards: what an answer is worth in training. The verifier's verdict by default, or a function of one's own.

A reward of one's own, in one file::

    @REWARDS.register("brevity")
    @dataclass(frozen=True)
    class Brevity(Reward):
        limit: Count = 20
        def score(self, prompts, answers, problems):
            return [float(len(answer) <= self.limit) for answer in answers]

Several are added up, ``verifier + brevity(weight=0.1)``. Evaluations ask the task's own checker, whatever the reward.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from jaxpsn.core import errors
from jaxpsn.core.components import Component, Sum, called, terms_of
from jaxpsn.core.families import Family
from jaxpsn.core.fields import Kind, Real
from jaxpsn.tasks.problem import Problem
from jaxpsn.tasks.reward_process import RewardProcess, is_portable

Grade = Callable[[Sequence[Problem], Sequence[str]], Sequence[float]]
"""``grade(problems, answers)``: a number for each answer."""


@dataclass(frozen=True)
class Term(Component):
    """One summand of what answers are worth."""

    weight: Annotated[float, Real(-1e6, 1e6)] = field(default=1.0, kw_only=True)
    """What the scores are multiplied by."""


REWARDS: Family[Term] = Family("reward", Term, sums=True, doc="What an answer is worth in training.")


@REWARDS.register("verifier")
@dataclass(frozen=True)
class Verifier(Term):
    """1 for an answer that the task's checker accepts, 0 for any other."""


@dataclass(frozen=True)
class Reward(Term):
    """The base of rewards of one's own: a ``score``, which runs in a process that may be killed."""

    seconds: Annotated[float, Real(0.0, 3600.0, open_low=True)] = field(default=60.0, kw_only=True)
    """Time limit for the answers of one batch; a run whose reward takes longer ends."""

    def score(self, prompts: Sequence[str], answers: Sequence[str], problems: Sequence[Problem]) -> Sequence[float]:
        """A finite number for each of the ``answers``; ``prompts`` and ``problems`` are those of each."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Function(Kind):
    """A Python function."""

    type = "function"
    allowed = "a function (prompts, answers, problems) -> one number for each answer"

    def coerce(self, where: str, value: Any) -> Any:
        return value if callable(value) else self.refuse(where, value)

    def write(self, value: Any) -> str:
        return self.plain(value)

    def plain(self, value: Any) -> str:
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"


@dataclass(frozen=True)
class FunctionReward(Term):
    """A Python function as a reward. It has no name on the command line, and runs in this process."""

    function: Annotated[Any, _Function()]
    """``function(prompts, answers, problems)``: a finite number for each answer."""


def make(value: Any, where: str = "reward") -> Any:
    """The reward, or sum of rewards, that ``value`` is: an object, its text or JSON, or a Python function."""
    if callable(value) and not isinstance(value, Component | Sum):
        try:
            inspect.signature(value).bind((), (), ())
        except (TypeError, ValueError) as error:
            errors.refuse(where, _Function().plain(value), f"{_Function.allowed} ({error})")
        return FunctionReward(value)
    return REWARDS.make(value, where)


class Scorer:
    """Gives answers their rewards; use it in a ``with`` block, which ends its processes.

    ``grade``: the verifier's verdicts (``grading.Grader.grade``). Raises UserError, naming the reward, where one fails,
    takes too long, or gives anything but a finite number for each answer.
    """

    def __init__(self, reward: Any, grade: Grade):
        self._terms, self._grade = terms_of(reward), grade
        self._processes = {term: RewardProcess(term) for term in self._terms if is_portable(term)}

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *_: Any) -> None:
        for process in self._processes.values():
            process.close()

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[float]:
        """The reward of each text."""
        if not texts:
            return []
        parts = [
            [term.weight * score for score in _checked(term, self._scores(term, problems, texts), len(texts))]
            for term in self._terms
        ]
        return [sum(each) for each in zip(*parts, strict=True)]

    def _scores(self, term: Any, problems: Sequence[Problem], texts: Sequence[str]) -> Any:
        if isinstance(term, Verifier):
            return self._grade(problems, texts)
        if term in self._processes:
            return self._processes[term].score(problems, texts)
        function = term.function if isinstance(term, FunctionReward) else term.score
        try:
            return function([problem.prompt for problem in problems], list(texts), list(problems))
        except errors.UserError:
            raise
        except Exception as error:
            raise errors.UserError(f"reward {name_of(term)}: {type(error).__name__}: {error}") from error


def name_of(term: Any) -> str:
    """What a reward is called in a message."""
    return _Function().plain(term.function) if isinstance(term, FunctionReward) else called(type(term))


def _checked(term: Any, scores: Any, count: int) -> list[float]:
    name, allowed = f"reward {name_of(term)}", f"a finite number for each of the {count} answers"
    try:
        found = [float(score) for score in scores]
    except (TypeError, ValueError):
        errors.refuse(name, scores, allowed)
    if len(found) != count:
        errors.refuse(name, f"{len(found)} numbers", allowed)
    for score in found:
        if not math.isfinite(score):
            errors.refuse(name, score, allowed)
    return found
