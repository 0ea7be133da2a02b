"""Rewards: what an answer is worth in training. The verifier's verdict by default, or a function of one's own.

A reward of one's own, in one file::

    @REWARDS.register("brevity")
    @dataclass(frozen=True)
    class Brevity(Reward):
        limit: Count = 20
        def score(self, prompts, answers, problems):
            return [float(len(answer) <= self.limit) for answer in answers]

A function ``(prompts, answers, problems) -> one number for each answer`` of a module or a ``.py`` file needs nothing of
this: ``my_rewards:brevity``, or ``rewards/mine.py:brevity(weight=0.1)``. Several are added up, ``verifier +
brevity(weight=0.1)``. Evaluations ask the task's own checker, whatever the reward.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from jaxpsn.core import errors
from jaxpsn.core.components import Component, Sum, called, replaced, terms_of
from jaxpsn.core.families import Family
from jaxpsn.core.fields import Kind, Real
from jaxpsn.tasks import functions
from jaxpsn.tasks.problem import Problem
from jaxpsn.tasks.reward_process import RewardProcess, is_portable

Grade = Callable[[Sequence[Problem], Sequence[str]], Sequence[float]]
"""``grade(problems, answers)``: a number for each answer."""


@dataclass(frozen=True)
class Term(Component):
    """One summand of what answers are worth."""

    weight: Annotated[float, Real(-1e6, 1e6)] = field(default=1.0, kw_only=True)
    """What the scores are multiplied by."""


def _kindred(term: Any) -> str:
    return name_of(term)


REWARDS: Family[Term] = Family(
    "reward", Term, sums=True, doc="What an answer is worth in training.", spelling=functions.spelled, kindred=_kindred
)


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

    def prepare(self) -> None:
        """Called once in its process, before there is a run folder; what it raises ends the start of the run."""


@REWARDS.register("function")
@dataclass(frozen=True)
class NamedFunction(Reward):
    """A Python function of a module or a file, for short ``module:function``, in a process that may be killed."""

    source: str
    """``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``."""

    def validate(self) -> None:
        """Work out the path of a file; refuse what is no name of a function."""
        object.__setattr__(self, "source", functions.whole(self.source))

    def prepare(self) -> None:
        """Import the function."""
        functions.load(self.source)

    def score(self, prompts: Sequence[str], answers: Sequence[str], problems: Sequence[Problem]) -> Any:
        return functions.load(self.source)(prompts, answers, problems)


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
class FunctionReward(Reward):
    """A Python function that no other process can import: a lambda, or one of a notebook or the script itself.

    It runs in a thread of this process: beyond its ``seconds`` the run ends, but nothing can kill it.
    """

    function: Annotated[Any, _Function()]
    """``function(prompts, answers, problems)``: a finite number for each answer."""

    def score(self, prompts: Sequence[str], answers: Sequence[str], problems: Sequence[Problem]) -> Any:
        limit = f"{self.seconds:g} s for {len(answers)} answers; in a module of its own it could be killed"
        return functions.within(self.seconds, limit, self.function, prompts, answers, problems)


def make(value: Any, where: str = "reward") -> Any:
    """The reward, or sum of rewards, that ``value`` is: an object, its text or JSON, a Python function, or several.

    Of several, a list, each may be a pair with its weight: ``["verifier", (brevity, 0.1)]``. A function that another
    process can import is a :class:`NamedFunction`. Raises UserError.
    """
    if isinstance(value, list | tuple) and value:
        return REWARDS.make(Sum(tuple(term for one in value for term in terms_of(_weighed(one, where)))), where)
    if callable(value) and not isinstance(value, Component | Sum):
        try:
            inspect.signature(value).bind((), (), ())
        except (TypeError, ValueError) as error:
            errors.refuse(where, _Function().plain(value), f"{_Function.allowed} ({error})")
        source = functions.source_of(value)
        return FunctionReward(value) if source is None else NamedFunction(source)
    return REWARDS.make(value, where)


def _weighed(one: Any, where: str) -> Any:
    """A reward, or that of a pair with a weight."""
    if not isinstance(one, tuple):
        return make(one, where)
    if len(one) != 2:
        errors.refuse(where, one, "a reward, or a pair of a reward and its weight")
    made = make(one[0], where)
    if isinstance(made, Sum):
        errors.refuse(where, one, "a weight for one reward, not for a sum")
    return replaced(made, {"weight": one[1]}, where)


def look(reward: Any) -> None:
    """Refuse functions whose module or file is not there; nothing of theirs is imported. Raises UserError."""
    for term in terms_of(reward):
        if isinstance(term, NamedFunction):
            functions.file_of(term.source)


class Scorer:
    """Gives answers their rewards; use it in a ``with`` block, which ends its processes.

    ``grade``: the verifier's verdicts (``grading.Grader.grade``). Raises UserError, naming the reward, where one fails,
    takes too long, or gives anything but a finite number for each answer.
    """

    def __init__(self, reward: Any, grade: Grade):
        self._terms, self._grade = terms_of(reward), grade
        self._processes = {term: RewardProcess(term) for term in self._terms if is_portable(term)}

    def __enter__(self) -> "Scorer":
        try:
            for process in self._processes.values():
                process.start()
        except BaseException:
            self.__exit__()
            raise
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
        try:
            return term.score([problem.prompt for problem in problems], list(texts), list(problems))
        except errors.UserError:
            raise
        except Exception as error:
            raise errors.UserError(f"reward {name_of(term)}: {type(error).__name__}: {error}") from error


def name_of(term: Any) -> str:
    """What a reward is called in a message."""
    if isinstance(term, NamedFunction):
        return term.source
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
