"""The numbers of a reasoning study: pass@k of every arm on every task and averaged, contrasts, and its training."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpsn.report.reasoning.study import draws
from jaxpsn.report.reasoning.study import training as trainings
from jaxpsn.report.reasoning.study.draws import Sampled
from jaxpsn.report.reasoning.study.folder import Cell, Study, Task
from jaxpsn.stats import pass_at_k
from jaxpsn.stats.evaluations import BASE, Evaluation
from jaxpsn.stats.hypotheses import Hypothesis
from jaxpsn.stats.statistics import Estimate

ALL = "all"
"""The task that stands for the mean over tasks."""
REFERENCE = "grpo"
"""The arm to which all others are compared."""
CONTRASTS = (1, 2, 4, 16, 64, 256)
"""The k at which arms are compared."""
_COUNTS = ("new", "lost")


class Contrast(NamedTuple):
    """pass@k of ``ours`` minus that of ``theirs`` on a task, paired, and the share of samples in which it is above."""

    task: str
    ours: str
    theirs: str
    k: int
    estimate: Estimate
    probability: float


class Solved(NamedTuple):
    """Problems that an arm solves and the base never does in its answers, and the reverse, on a task or on all."""

    new: Estimate
    """Mean over seeds."""
    lost: Estimate
    new_by_any: int
    """Solved by at least one seed."""
    lost_by_all: int
    """Solved by no seed."""
    hard: int
    """Problems that the base never solves."""


@dataclass(frozen=True)
class Results:
    """All numbers of a study; ``sampled`` and ``training`` hold those of (task, arm), ``averaged`` the tasks of ALL."""

    study: Study
    ks: tuple[int, ...]
    measures: tuple[str, ...]
    sampled: Mapping[tuple[str, str], Sampled]
    averaged: tuple[str, ...]
    training: Mapping[tuple[str, str], Mapping[str, Any]]

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that have numbers; ALL first, where several tasks are averaged."""
        found = tuple(task.label for task in self.study.tasks if (task.label, BASE) in self.sampled)
        return (ALL, *found) if len(self.averaged) > 1 else found

    @property
    def chief(self) -> str | None:
        """The task in which the findings are told: ALL, or the only one that can stand for it."""
        return ALL if len(self.averaged) > 1 else next(iter(self.averaged or self.tasks), None)

    @property
    def largest(self) -> int:
        """The largest k."""
        return self.ks[-1]

    def arms(self, task: str) -> tuple[str, ...]:
        """The arms with numbers on a task, the base first."""
        return tuple(label for label in (BASE, *self.study.labels) if (task, label) in self.sampled)

    def estimate(self, task: str, arm: str, measure: str) -> Estimate | None:
        """A number with its interval; None where it is not known."""
        found = self.sampled.get((task, arm))
        if found is None:
            return None
        estimate = found.estimate(self.measures.index(measure))
        return None if np.isnan(estimate.value) else estimate

    def passed(self, task: str, arm: str, k: int) -> Estimate | None:
        """pass@k with its interval; None where it is not known."""
        return self.estimate(task, arm, f"pass@{k}") if k in self.ks else None

    def contrast(self, task: str | None, ours: str, theirs: str, k: int) -> Contrast | None:
        """The difference of two arms; None where one of them has no numbers."""
        mine, other = (self.sampled.get((task or "", arm)) for arm in (ours, theirs))
        if mine is None or other is None or task is None or k not in self.ks:
            return None
        difference, index = mine - other, self.ks.index(k)
        return Contrast(task, ours, theirs, k, difference.estimate(index), difference.above(index))

    def difference(self, asked: Hypothesis) -> Estimate | None:
        """pass@k of ``asked.ours`` minus ``theirs`` on the mean of the tasks; None until both have all their seeds."""
        places = [(task.label, arm) for task in self.study.tasks for arm in (asked.ours, asked.theirs)]
        if any(len(self.study.cells[place].finished) != self.study.seeds for place in places):
            return None
        found = self.contrast(self.chief, asked.ours, asked.theirs, int(asked.metric.removeprefix("pass@")))
        return None if found is None else found.estimate

    def contrasts(self) -> Iterable[Contrast]:
        """Every arm against the reference, on every task, at each of CONTRASTS that there is."""
        for task, arm, k in itertools.product(self.tasks, self.study.labels, CONTRASTS):
            found = self.contrast(task, arm, REFERENCE, k)
            if found is not None and arm != REFERENCE:
                yield found

    def trained(self, task: str, arm: str, name: str) -> Estimate | None:
        """A number of the training (a key of :data:`trainings.NUMBERS`), interval over seeds."""
        found = [(one, self.training.get((one, arm))) for one in self.parts(task)]
        if any(numbers is None for _, numbers in found):
            return None
        return draws.over_seeds(
            [(one, *numbers.get(name, ((), np.zeros(0)))) for one, numbers in found if numbers is not None]
        )

    def parts(self, task: str) -> tuple[str, ...]:
        """The tasks that ``task`` stands for."""
        return self.averaged if task == ALL else (task,)

    def cells(self, task: str, arm: str) -> list[Cell]:
        """The cells of an arm on a task, or on all that are averaged."""
        return [self.study.cells[one, arm] for one in self.parts(task)]

    def solved(self, task: str, arm: str) -> Solved | None:
        """Problems gained and lost against the base; None where the numbers of answers differ."""
        new, lost = (self.estimate(task, arm, name) for name in _COUNTS)
        if new is None or lost is None or arm == BASE:
            return None
        bases = {one.label: one.base for one in self.study.tasks}
        any_new = all_lost = hard = 0
        for cell in self.cells(task, arm):
            base = bases[cell.task]
            if base is None:
                return None
            solves = np.array([one.evaluation.correct > 0 for one in cell.finished])
            any_new += int((solves.any(axis=0) & (base.correct == 0)).sum())
            all_lost += int((~solves.any(axis=0) & (base.correct > 0)).sum())
            hard += int((base.correct == 0).sum())
        return Solved(new, lost, any_new, all_lost, hard)


def compute(study: Study) -> Results:
    """Every number of ``study``, from the seeds that are complete."""
    ks = _ks(study)
    measures = (*(f"pass@{k}" for k in ks), "distinct", *_COUNTS)
    sampled: dict[tuple[str, str], Sampled] = {}
    for task in study.tasks:
        if task.base is not None:
            sampled |= _task(study, task, task.base, ks)
    done = {task.label: {arm for arm in study.labels if (task.label, arm) in sampled} for task in study.tasks}
    averaged = _averaged(done)
    if len(averaged) > 1:
        sums = np.array([len(averaged) if name in _COUNTS else 1 for name in measures])
        for arm in (BASE, *sorted(set.intersection(*(done[task] for task in averaged)))):
            mean = draws.average([sampled[task, arm] for task in averaged])
            sampled[ALL, arm] = Sampled(mean.value * sums, mean.draws * sums, mean.seeds)
    training = {(task, arm): trainings.numbers(study, task, arm, REFERENCE)
                for task, arms in done.items() for arm in arms}  # fmt: skip
    return Results(study, ks, measures, sampled, averaged, training)


def _ks(study: Study) -> tuple[int, ...]:
    """The k that every evaluation allows."""
    judged = [task.base for task in study.tasks if task.base is not None]
    judged += [one.evaluation for cell in study.cells.values() for one in cell.finished]
    fewest = min((int(one.samples.min()) for one in judged), default=1)
    return tuple(k for k in pass_at_k.KS if k <= fewest)


def _averaged(done: Mapping[str, set[str]]) -> tuple[str, ...]:
    """The tasks over which an average says most: as many arms on as many tasks as possible, more tasks first.

    While a study is under way, an average over all tasks would leave out every arm that still lacks one of them.
    """
    begun = [task for task, arms in done.items() if arms]
    if any(REFERENCE in done[task] for task in begun):
        begun = [task for task in begun if REFERENCE in done[task]]
    choices = [some for size in range(1, len(begun) + 1) for some in itertools.combinations(begun, size)]
    return max(
        choices, key=lambda some: (len(set.intersection(*(done[task] for task in some))) * len(some), len(some)),
        default=(),
    )  # fmt: skip


def _task(study: Study, task: Task, base: Evaluation, ks: Sequence[int]) -> dict[tuple[str, str], Sampled]:
    """The base and every arm that has seeds, on the same draws of problems."""
    label, by_problem = task.label, draws.problems(task.label, len(base.ids))
    found = {(label, BASE): draws.sample(_scores([base], base, ks), by_problem, _alone())}
    for arm in study.labels:
        cell = study.cells[label, arm]
        if cell.finished:
            scores = _scores([one.evaluation for one in cell.finished], base, ks)
            by_seed = draws.seeds(label, cell.seeds)
            found[label, arm] = draws.sample(scores, by_problem, by_seed)
    return found


def _alone() -> Float[np.ndarray, "b 1"]:
    return np.ones((draws.RESAMPLES, 1))


def _scores(judged: Sequence[Evaluation], base: Evaluation, ks: Sequence[int]) -> Float[np.ndarray, "s p m"]:
    """pass@k of each seed and problem, its distinct solutions, and whether it is new or lost against the base.

    Where the numbers of answers are not those of the base the last three are not comparable: NaN. New and lost are in
    problems of the task: their mean over problems is a count.
    """
    samples, correct = (np.array([getattr(one, name) for one in judged]) for name in ("samples", "correct"))
    passed = [pass_at_k.estimate(samples, correct, k) for k in ks]
    alike = samples == base.samples
    distinct = np.where(alike, [one.distinct for one in judged], np.nan)
    counts = [(correct > 0) & (base.correct == 0), (correct == 0) & (base.correct > 0)]
    return np.stack([*passed, distinct, *(np.where(alike, count * len(base.ids), np.nan) for count in counts)], axis=-1)
