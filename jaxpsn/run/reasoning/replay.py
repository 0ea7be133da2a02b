"""The sample log of a run taken at its word: every answer verified anew, and scored anew where the weights are kept.

The answers of step s were drawn from the weights after s - 1 steps, perturbed by noise that is a function of (seed,
s - 1, member): a checkpoint, or the base for the first step, is all that is needed to know their log-probs again.
"""

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpsn.core import errors, text
from jaxpsn.rlvr import data, evaluation, journal
from jaxpsn.rlvr.placement import Placement
from jaxpsn.run import progress
from jaxpsn.run.checkpoints import store
from jaxpsn.run.reasoning import judging
from jaxpsn.run.reasoning.evaluate_job import EvaluateJob
from jaxpsn.run.reasoning.origins import Origin
from jaxpsn.run.reasoning.rescoring import Gap, Rescorer
from jaxpsn.tasks import grading, rewards

SHOWN = 100
"""Differences that are listed one by one; of more only the number."""
FIELDS: dict[str, type | tuple[type, ...]] = {
    "step": int, "problem": str, "prompt": str, "text": str, "tokens": list, "score": (int, float), "member": int,
    "sigma": (int, float), "length": int, "ended": bool, "log_prob": (int, float),
}  # fmt: skip
"""What a row must hold to be replayed."""


class Row(NamedTuple):
    """A line of the log."""

    line: int
    told: Mapping[str, Any]

    def __str__(self) -> str:
        return f"line {self.line}, step {self.told['step']}, {text.visible(self.told['problem'], 60)}"


class Told(NamedTuple):
    """What a replay has to say, and how much of it differs from the log."""

    lines: list[str]
    differences: int


class _Notes:
    """The differences: all of them counted, the first ones kept."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0

    def add(self, what: str) -> None:
        self.count += 1
        if self.count <= SHOWN:
            self.lines.append(f"differs: {what}")


class _Known:
    """The problems that a run may have been asked, by their ids: a file's, or those of a stream up to ``most``."""

    def __init__(self, source: data.Source | None, listed: Sequence[Any], most: int):
        self._source, self._most, self._next = source, most, 0
        self._found = {problem.id: problem for problem in listed}

    def get(self, name: str) -> Any | None:
        """The problem of that id; None if the run was never asked it."""
        while name not in self._found and self._source is not None and self._next < self._most:
            problem = self._source.problem(self._next)
            self._found.setdefault(problem.id, problem)
            self._next += 1
        return self._found.get(name)


def replay(origin: Origin, job: EvaluateJob, show: progress.Progress) -> Told:
    """Replay the log of a run, or its ``job.step`` alone. Raises UserError if there is no log to read."""
    path = origin.path / journal.FILE
    last = _last(path)
    config, seed = origin.config, origin.job.run.seed
    task, train, _ = judging.task_of(origin)
    group, drawn = config.rollout.prompts * config.rollout.samples, last * config.rollout.prompts
    if config.rollout.pool:
        known = _Known(None, task.distinct("train", seed, config.rollout.pool), 0)
    elif config.data is None:
        known = _Known(data.Generated(task, "train", seed), (), drawn * (config.rollout.refills + 1))
    else:
        known = _Known(None, train, 0)
    notes, steps, answers, gaps = _Notes(), [], 0, []
    one = judging.candidate(str(origin.path), origin, config)
    slots = sum(judging.limits(one, task, job))
    side_by_side = evaluation.rows(job.rows, one.form.decoder, slots, config.dtype)
    rescorer = Rescorer(one, seed, side_by_side, job.tolerance)
    told = progress.teller(show)
    # What a checkpoint counts on was made durable before it; only beyond the last one a step may be half written.
    sure = max(store.steps(origin.path / "checkpoints"), default=0)
    before = 0
    with grading.Grader(task) as grader, rewards.Scorer(config.reward, grader.grade) as scorer:
        for step, rows in _steps(path, notes):
            if step != before + 1:
                notes.add(f"line {rows[0].line}: step {step} comes after step {before}")
            before = step
            if step == last and step > sure and len(rows) < group:
                show.say(f"step {step} is not complete yet and is left out")
            elif job.step in (None, step):
                _verify(rows, known, one.form.words, scorer, notes)
                gaps += _score(rescorer, one, rows, job.mesh, notes, show)
                steps.append(step)
                answers += len(rows)
            told(step, last, {})
    if before < sure:
        notes.add(f"the log ends with step {before}, and there is a checkpoint of step {sure}")
    if not steps:
        errors.refuse("step", job.step, f"a step of {path}, which ends with {last}")
    return _summary(origin.path, task.name, steps, answers, gaps, notes)


def _last(path: Path) -> int:
    """The step of the last whole row."""
    try:
        with path.open("rb") as file:
            ends = deque((line for line in file if line.endswith(b"\n")), maxlen=1)
        return int(json.loads(ends[0])["step"])
    except OSError as error:
        raise errors.UserError(f"{path}: {error.strerror}; nothing to replay") from None
    except (IndexError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        raise errors.UserError(f"{path}: its last line has no step; nothing to replay") from None


def _steps(path: Path, notes: _Notes) -> Iterator[tuple[int, list[Row]]]:
    """The rows of each step. A last line that is being written is passed over."""
    for step, rows in itertools.groupby(_rows(path, notes), key=lambda row: row.told["step"]):
        yield step, list(rows)


def _rows(path: Path, notes: _Notes) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            lacking = _lacking(line)
            if isinstance(lacking, str):
                notes.add(f"line {number}: {lacking}")
            else:
                yield Row(number, lacking)


def _lacking(line: bytes) -> Mapping[str, Any] | str:
    """The row in a line, or why it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return "not valid JSON"
    if not isinstance(row, Mapping):
        return "no JSON object"
    for name, kind in FIELDS.items():
        value = row.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            return f"{name} = {str(value)[:40]!r} cannot be"
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in row["tokens"]):
        return "tokens are no whole numbers"
    return row


def _verify(
    rows: Sequence[Row], known: _Known, words: Any, grade: Callable[..., Sequence[float]], notes: _Notes
) -> None:
    """Tokens and text must agree, the problem must be the run's, and the verifier must say what it said."""
    sound = []
    for row in rows:
        problem = known.get(row.told["problem"])
        if problem is None or problem.prompt != row.told["prompt"]:
            notes.add(f"{row}: {'no problem of this run' if problem is None else 'the prompt is another'}")
            continue
        sound.append((row, problem))
        tokens = row.told["tokens"]
        if row.told["length"] != len(tokens):
            notes.add(f"{row}: length is {row.told['length']}, there are {len(tokens)} tokens")
        if words.decode(tokens) != row.told["text"]:
            notes.add(f"{row}: the text is not that of the tokens")
        if row.told["ended"] != (tokens[-1:] != [] and tokens[-1] in words.ends):
            notes.add(f"{row}: ended is {row.told['ended']}, the last token says otherwise")
    scores = grade([problem for _, problem in sound], [row.told["text"] for row, _ in sound])
    for (row, _), score in zip(sound, scores, strict=True):
        if float(np.float32(score)) != row.told["score"]:
            notes.add(f"{row}: score is {row.told['score']:g}, verified anew {score:g}")


def _kept(origin: Origin, step: int) -> Origin | None:
    """Where the weights lie that the answers of a step were drawn from; None if they are gone."""
    if step == 1:
        return replace(origin, kind="base", step=None)
    kept = step - 1 in store.steps(origin.path / "checkpoints")
    return replace(origin, step=step - 1) if kept else None


def _score(
    rescorer: Rescorer,
    one: judging.Candidate,
    rows: Sequence[Row],
    mesh: str | None,
    notes: _Notes,
    show: progress.Progress,
) -> list[Gap]:
    """Log-probs of a step anew, if its weights are kept."""
    step = rows[0].told["step"]
    where, told = _kept(one.origin, step), [row.told for row in rows]
    if where is None:
        return []
    unlike = rescorer.unlike(told)
    if unlike is not None:
        notes.add(f"{rows[unlike[0]]}: {unlike[1]}")
        return []
    weights = judging.weights(one._replace(origin=where), Placement(mesh), one.config.dtype, show, apart=True)
    with show.phase(f"scoring step {step} anew"):
        gap = rescorer.gap(judging.drawn_from(one, weights), told)
    for place in np.flatnonzero(~(gap.each <= rescorer.tolerance)):
        shown = f"{gap.found[place]:.5f} ({gap.each[place]:.2g} nats a token)"
        notes.add(f"{rows[place]}: log_prob is {told[place]['log_prob']:g}, scored anew {shown}")
    return [gap]


def _summary(path: Path, task: str, steps: Sequence[int], answers: int, gaps: Sequence[Gap], notes: _Notes) -> Told:
    span = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
    lines = [*notes.lines]
    if notes.count > SHOWN:
        lines.append(f"... and {notes.count - SHOWN} more")
    lines.append(f"{path}: {span}, {answers:,} answers to problems of {task} verified anew")
    for gap in gaps:
        source = "the base" if gap.step == 1 else f"checkpoint {gap.step - 1}"
        line = f"step {gap.step}, {len(gap.each):,} answers scored anew with {source} and its noise drawn again: "
        line += f"log-probs within {np.max(gap.each):.2g} nats a token"
        lines.append(line + ("" if np.isnan(gap.clean) else f" (without the noise {gap.clean:.2g} on average)"))
    left = len(steps) - len(gaps)
    if left:
        lines.append(
            f"{left} step{'s' * (left > 1)} not scored: only the first and those after a kept checkpoint can be"
        )
    lines.append("nothing differs" if not notes.count else f"{notes.count:,} difference{'s' * (notes.count > 1)}")
    return Told(lines, notes.count)
