"""A config made into a program: base policy, problems, verifiers; and what is done before and after the training."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxpsn.core import errors
from jaxpsn.rlvr import base as bases
from jaxpsn.rlvr import data, evaluation
from jaxpsn.rlvr.base import Base
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.lengths import check_budget
from jaxpsn.rlvr.lengths import limits as limits
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.program import Problems, Reasoner, RlvrState, evaluation_key
from jaxpsn.stats import evaluations
from jaxpsn.tasks import file_task, files, grading, rewards

TEST_SEED = 0
"""Seed of the evaluation problems: the same for every run of a task."""

Told = Callable[[int, int, dict[str, float]], None]
"""``told(done, total, shown)``: how far something long has come."""
Say = Callable[[str], None]
Grade = Callable[[Sequence[Any], Sequence[str]], Sequence[float]]
"""``grade(problems, texts)``: the score of each text."""


@contextmanager
def reasoner(
    config: RlvrConfig,
    seed: int,
    total_steps: int,
    cache: Path,
    say: Say,
    told: Told,
    open_log: Any = None,
    agreed: Callable[[Grade], Grade] = lambda grade: grade,
    alike: Callable[[dict[str, str]], None] = lambda facts: None,
    own: Path | None = None,
) -> Iterator[Reasoner]:
    """The program of a config, its verifiers running until the block ends.

    ``cache``: folder of pre-trained bases; ``own``: where a resumed run keeps its own. Lengths are checked
    before any weights are read or trained. For processes that share a run ``agreed`` makes them see the same scores,
    and ``alike`` refuses facts in which they differ. Raises UserError for whatever of model,
    data and config does not fit.
    """
    task, train, test = _task(config, say)
    form = outline(config, task)
    asked = _asked(config, form, task, train, test, seed, say)
    base = policy(config, task, cache, say, told, form, own)
    if config.model is None:  # each process makes it or has it kept; on other hardware it is another one
        alike({"pre-trained weights": bases.fingerprint(base.params)})
    with grading.Grader(task) as grader, rewards.Scorer(config.reward, grader.grade) as scorer:
        source, test, *limits = asked
        problems = Problems(task, source, test, agreed(grader.grade), agreed(scorer), *limits)
        yield Reasoner(config, base, problems, seed, total_steps, open_log)


def outline(config: RlvrConfig, task: Any) -> Base:
    """Decoder and tokens of the policy that training starts from, without its weights."""
    if config.model is None:
        return bases.blank(config, task)
    return bases.outline(Path(config.model), config.system, config.template)


def policy(
    config: RlvrConfig, task: Any, cache: Path, say: Say, told: Told, form: Base | None = None, own: Path | None = None
) -> Base:
    """The policy that training starts from. ``form``: its :func:`outline`; ``own``: where a run keeps its own."""
    if config.model is not None:
        form = outline(config, task) if form is None else form
        say(f"reading {form.folder}")
        return bases.loaded(form, shardings=Placement(config.mesh).weights)
    if own is not None and own.exists():
        return bases.kept(own)
    steps = config.pretrain.steps

    def progress(step: int, loss: float) -> None:
        told(step, steps, {"pretraining loss": loss})

    return bases.pretrained(config, task, cache, progress)


def _task(config: RlvrConfig, say: Say) -> tuple[Any, Sequence[Any] | None, Sequence[Any] | None]:
    """The task; with files, also the problems to train on and to be judged by."""
    if config.data is None:
        return config.task, None, None
    train = files.read(Path(config.data), config.data_kind, say)
    if config.test_data is None:
        train, test = data.hold_out(train)
    else:
        test = files.read(Path(config.test_data), config.data_kind, say)
    shared = files.overlap(train, test)
    if shared:  # never of a file that was cut in two
        some = ", ".join(shared[:3])
        errors.refuse("test_data", f"{len(shared)} problems of data, such as {some}", "no problem that is trained on")
    say(f"{len(train)} problems to train on, {len(test)} to be judged by")
    return file_task.FileTask([*train, *test], config.verifier, Path(config.data).stem), train, test


def _asked(config, form, task, train, test, seed, say) -> tuple[data.Source, Sequence[Any], int, int]:
    """The stream to train on, the problems to be judged by, and the limits in tokens."""
    longest, answer = limits(config, form, task, train is None)
    check_budget(config, longest + answer)
    wanted = config.evaluation
    count = max(wanted.problems, wanted.monitor_problems)
    if train is None:
        source = data.stream(task, config.rollout.pool, seed)
        return source, task.distinct("test", TEST_SEED, count), longest, answer
    source = data.Shuffled(_fitting(train, form.words, longest, "data", say), seed)
    if config.rollout.gate != "none" and len(source) < config.rollout.prompts:
        allowed = f"none with {len(source)} problems, fewer than the {config.rollout.prompts} of a step"
        errors.refuse("rollout.gate", config.rollout.gate, allowed)
    return source, _fitting(test, form.words, longest, "test_data", say)[:count], longest, answer


def reseeded(program: Reasoner, seed: int) -> Reasoner:
    """The same experiment on a procedural task with another seed; what was compiled is shared."""
    problems = program.problems
    train = data.stream(problems.task, program.config.rollout.pool, seed)
    return program.on(problems._replace(train=train), seed)


def on_other_problems(program: Reasoner, reported: int, seed: int) -> Reasoner:
    """The same experiment on a procedural task, judged on problems after the first ``reported`` of the evaluation."""
    problems, wanted = program.problems, program.config.evaluation
    count = max(wanted.problems, wanted.monitor_problems)
    test = problems.task.distinct("test", TEST_SEED, reported + count)[reported:]
    return program.on(problems._replace(test=test), seed)


def _fitting(problems: Sequence[Any], words: Any, longest: int, field: str, say: Say) -> list[Any]:
    """The problems whose prompts fit; how many do not is said."""
    kept = [problem for problem in problems if len(words.prompt(problem.prompt)) <= longest]
    if not kept:
        errors.refuse(field, f"{len(problems)} problems", f"prompts of at most rollout.max_prompt = {longest} tokens")
    if len(kept) < len(problems):
        say(f"{field}: {len(problems) - len(kept)} problems left out, their prompts are longer than {longest} tokens")
    return kept


def judge(
    program: Reasoner, params: Any, folder: Path, label: str, step: int, told: Told, state: RlvrState | None = None
) -> None:
    """Write ``evaluations/<label>.json``: how ``params`` do; given a ``state``, how their perturbed form does."""
    settings, task = program.config.evaluation, program.problems.task
    noise = None if state is None else program.noise
    found = program.judge.judge(
        params,
        program.problems.test[: settings.problems],
        settings.samples,
        evaluation_key(),
        noise,
        None if state is None else state.sigma.sigma,
        lambda done, total: told(done, total, {}),
    )
    evaluations.record(
        folder,
        label,
        step=step,
        n=settings.samples,
        temperature=settings.temperature,
        noisy=noise is not None,
        task=task.name,
        problems=[row(task, one) for one in found],
    )


def row(task: Any, found: evaluation.Found) -> dict[str, Any]:
    """A problem of an evaluation file."""
    problem = found.problem
    return {
        "id": problem.id, "prompt": problem.prompt, "n": found.samples, "correct": found.correct,
        "distinct": found.distinct, "solutions": task.count(problem),
    }  # fmt: skip


def base_is_judged(folder: Path) -> bool:
    """Whether that was done before an interruption."""
    return evaluations.path(folder, evaluations.BASE).is_file()


def judge_base(program: Reasoner, folder: Path, told: Told) -> None:
    """Judge the base, unless that was done before an interruption."""
    if not base_is_judged(folder):
        judge(program, program.base.params, folder, evaluations.BASE, 0, told)


def judge_trained(program: Reasoner, state: RlvrState, folder: Path, told: Told) -> None:
    """Judge the trained policy, and its perturbed form if the config asks for it."""
    step = int(state.clock)
    params = program.weights(state)
    judge(program, params, folder, evaluations.TRAINED, step, told)
    if program.config.evaluation.noisy and program.noise is not None:
        params = program.acting(state).params if program.config.noise.learnt else params
        judge(program, params, folder, f"{evaluations.TRAINED}-noisy", step, told, state)


def export(program: Reasoner, state: RlvrState, folder: Path) -> None:
    """Write the trained policy as a Hugging Face folder."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(program.config.dtype)), program.weights(state))
    bases.save(folder, program.base, jax.device_get(params) if program.place.mesh is None else params)
