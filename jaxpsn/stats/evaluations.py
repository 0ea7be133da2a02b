"""Evaluations of a reasoning run: ``evaluations/<label>.json`` in its folder, one file for each policy that was judged.

A file is an object with ``label``, ``step`` (null if unknown), ``n`` (answers asked for), ``temperature``, ``noisy``
(whether the policy was perturbed), ``task`` and ``problems``, each ``{"id", "prompt", "n", "correct", "distinct",
"solutions"}``: right answers among n, how many of those are different solutions, and how many solutions there are
(both null if unknown). Of a policy with a chat template there may be ``prompt``: what the template was told and what
ends an answer.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpsn.core import checks, errors, files
from jaxpsn.stats import pass_at_k, statistics
from jaxpsn.stats.pass_at_k import Curve
from jaxpsn.stats.statistics import Band

FOLDER = "evaluations"
BASE, TRAINED = "base", "trained"
"""Labels of the policy before and after training; those between are named by their step."""
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MOST = 1 << 31
_LONGEST = 300  # characters of a message: a foreign file may hold anything


@dataclass(frozen=True)
class Evaluation:
    """How one policy did on P problems; NaN in ``distinct`` and ``solutions`` is unknown."""

    label: str
    step: int | None
    n: int
    temperature: float
    noisy: bool
    task: str
    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    samples: Int[np.ndarray, "p"]
    correct: Int[np.ndarray, "p"]
    distinct: Float[np.ndarray, "p"]
    solutions: Float[np.ndarray, "p"]

    @cached_property
    def curve(self) -> Curve:
        """Mean pass@k over the problems for k = 1, 2, 4, ..., 256, with its interval."""
        return pass_at_k.curve(self.correct, self.samples)

    def mean_distinct(self) -> Band | None:
        """Mean number [1] of distinct right solutions of a problem; None if it is unknown for one of them."""
        return None if np.isnan(self.distinct).any() else statistics.mean_curve(self.distinct[:, None])

    def share_of_solutions(self) -> Band | None:
        """Mean share [1] of a problem's solutions that were found, over the problems where both are known."""
        known = np.isfinite(self.distinct) & (self.solutions > 0)
        return statistics.mean_curve((self.distinct / self.solutions)[known, None]) if known.any() else None

    def select(self, ids: Iterable[str]) -> "Evaluation":
        """The same evaluation with its problems in the order of ``ids``."""
        place = {name: index for index, name in enumerate(self.ids)}
        order = [place[name] for name in ids]
        columns = {name: getattr(self, name)[order] for name in ("samples", "correct", "distinct", "solutions")}
        texts = {name: tuple(getattr(self, name)[index] for index in order) for name in ("ids", "prompts")}
        return replace(self, **columns, **texts)


def path(folder: str | Path, label: str) -> Path:
    """Where the evaluation ``label`` of a run folder lies. Raises UserError on a label that is no file name."""
    _check_label(label)
    return Path(folder) / FOLDER / f"{label}.json"


def record(
    folder: str | Path,
    label: str,
    *,
    step: int | None,
    n: int,
    temperature: float,
    noisy: bool,
    task: str,
    problems: Iterable[Mapping[str, Any]],
    prompt: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``evaluations/<label>.json`` of a run folder, whole or not at all; returns its path.

    The fields are those of the module's docstring; ``prompt``: what a chat template was told, if there is one. Raises
    UserError where :func:`read` would.
    """
    target = path(folder, label)
    content = {"label": label, "step": step, "n": n, "temperature": temperature, "noisy": noisy, "task": task}
    content |= {} if prompt is None else {"prompt": dict(prompt)}
    content |= {"problems": [dict(problem) for problem in problems]}
    content = json.loads(json.dumps(content, default=_plain))
    parse(content, str(target), label)
    files.make_folder(target.parent)
    files.write_atomically(target, json.dumps(content) + "\n")
    return target


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def read(file: str | Path) -> Evaluation:
    """Read one evaluation; its label is the file's name. Raises UserError, naming file and field, if it is none."""
    file = Path(file)
    try:
        content = files.read_json(file)
    except OSError as error:
        raise errors.UserError(f"{file}: cannot be read ({error})") from None
    return parse(content, str(file), file.stem)


def read_all(folder: str | Path) -> tuple[list[Evaluation], list[str]]:
    """The evaluations of a run folder, base first and trained last, and a line for each file that cannot be read."""
    found, problems = [], []
    for file in sorted((Path(folder) / FOLDER).glob("*.json")):
        try:
            found.append(read(file))
        except errors.UserError as error:
            problems.append(str(error))
    return sorted(found, key=_rank), problems


def _rank(evaluation: Evaluation) -> tuple[Any, ...]:
    place = {BASE: 0, TRAINED: 2}.get(evaluation.label, 1)
    return evaluation.noisy, place, evaluation.step is None, evaluation.step or 0, evaluation.label


def parse(content: Any, where: str, label: str) -> Evaluation:
    """The evaluation in a JSON value; ``where`` begins the message of the UserError it raises on a malformed one."""
    try:
        return _parse(content, label)
    except errors.UserError as error:
        raise errors.UserError(f"{where}: {str(error)[:_LONGEST]}") from None


def _parse(content: Any, label: str) -> Evaluation:
    _check_label(label)
    content = _object("an evaluation", content, ("step", "n", "temperature", "noisy", "task", "problems"))
    if content["step"] is not None:
        checks.whole("step", content["step"], 0, _MOST)
    checks.whole("n", content["n"], 1, _MOST)
    checks.real("temperature", content["temperature"], 0.0, 1e6)
    if not isinstance(content["noisy"], bool):
        errors.refuse("noisy", content["noisy"], "true or false")
    _string("task", content["task"])
    problems = content["problems"]
    if not isinstance(problems, list) or not problems:
        errors.refuse("problems", type(problems).__name__ if problems else problems, "a list, not empty")
    seen: set[str] = set()
    for index, problem in enumerate(problems):
        _check(f"problems[{index}]", problem, seen)
    columns = [[problem[name] for problem in problems] for name in ("n", "correct", "distinct", "solutions")]
    return Evaluation(
        label=label,
        **{name: content[name] for name in ("step", "n", "noisy", "task")},
        temperature=float(content["temperature"]),
        ids=tuple(problem["id"] for problem in problems),
        prompts=tuple(problem["prompt"] for problem in problems),
        samples=np.array(columns[0], np.int64),
        correct=np.array(columns[1], np.int64),
        distinct=np.array(columns[2], float),  # None becomes NaN
        solutions=np.array(columns[3], float),
    )


def _check_label(label: str) -> None:
    if not _LABEL.fullmatch(label):
        errors.refuse("label", label, "letters, digits, dots, dashes and underscores, at most 100")


def _check(where: str, problem: Any, seen: set[str]) -> None:
    problem = _object(where, problem, ("id", "prompt", "n", "correct", "distinct", "solutions"))
    for name in ("id", "prompt"):
        _string(f"{where}.{name}", problem[name])
    if problem["id"] in seen:
        errors.refuse(f"{where}.id", problem["id"][:60], "an id of its own; another problem has it")
    seen.add(problem["id"])
    checks.whole(f"{where}.n", problem["n"], 1, _MOST)
    checks.whole(f"{where}.correct", problem["correct"], 0, problem["n"])
    if problem["solutions"] is not None:
        checks.whole(f"{where}.solutions", problem["solutions"], 0, _MOST)
    if problem["distinct"] is not None:
        known = problem["correct"] if problem["solutions"] is None else min(problem["correct"], problem["solutions"])
        checks.whole(f"{where}.distinct", problem["distinct"], min(1, known), known)


def _object(where: str, value: Any, fields: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        errors.refuse(where, type(value).__name__, "a JSON object")
    missing = [name for name in fields if name not in value]
    if missing:
        errors.refuse(where, "without " + ", ".join(missing), f"an object with {', '.join(fields)}")
    return value


def _string(field: str, value: Any) -> None:
    if not isinstance(value, str):
        errors.refuse(field, type(value).__name__, "a string")
