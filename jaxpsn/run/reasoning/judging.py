"""Judging policies that lie somewhere: which problems, which weights, how many right answers."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxpsn.core import errors
from jaxpsn.core.components import called
from jaxpsn.lm import lora
from jaxpsn.lm.folders import hub
from jaxpsn.lm.tokenizer import CharTokenizer
from jaxpsn.rlvr import base as bases
from jaxpsn.rlvr import data, evaluation, learner, setup, sizes
from jaxpsn.rlvr.base import Base
from jaxpsn.rlvr.config import EvaluationConfig, RlvrConfig, RolloutConfig
from jaxpsn.rlvr.evaluation import Judge
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.program import evaluation_key, perturbations
from jaxpsn.rlvr.template import TemplateConfig
from jaxpsn.run import cache, memory, progress
from jaxpsn.run.checkpoints import store
from jaxpsn.run.reasoning import inputs
from jaxpsn.run.reasoning.evaluate_job import EvaluateJob
from jaxpsn.run.reasoning.origins import BASE, Origin
from jaxpsn.stats import evaluations
from jaxpsn.tasks import file_task, files
from jaxpsn.tasks.problem import TASKS


class Questions(NamedTuple):
    """What is asked; ``task`` judges the answers."""

    task: Any
    problems: Sequence[Any]


class Candidate(NamedTuple):
    """A policy to be judged: what it is, without its weights."""

    name: str
    """How the command line names it."""
    origin: Origin
    form: Base
    config: RlvrConfig
    """Its run's; that of the other policy, or the default, if it has none."""


class Weights(NamedTuple):
    """The weights of a policy, and what its run recorded beside them."""

    params: Any
    step: int | None
    sigma: Any
    """Scale of its perturbation; None if nothing says."""
    hessian: Any = None
    """Of a checkpoint whose noise learns a scale of every weight, the curvature that gives it."""


def task_of(origin: Origin) -> tuple[Any, list[Any], list[Any]]:
    """The task of a run, and the problems that it is trained on and judged by; none if they are generated.

    Raises UserError if a file of problems is not what it was.
    """
    config = origin.config
    if config.data is None:
        return config.task, [], []
    show = progress.Progress()
    inputs.refuse_changed(str(origin.path), config, origin.hashes, show.phase, fields=("data", "test_data"))
    train = files.read(Path(config.data), config.data_kind)
    if config.test_data is None:
        train, test = data.hold_out(train)
    else:
        test = files.read(Path(config.test_data), config.data_kind)
    return file_task.FileTask([*train, *test], config.verifier, Path(config.data).stem), train, test


def questions(wanted: EvaluateJob, run: Origin | None, say: Callable[[str], None] = lambda text: None) -> Questions:
    """The problems that ``wanted`` asks for, else those of ``run``; as many as there may be."""
    own = wanted.data is None and wanted.task is None
    if own and run is None:
        errors.refuse("task", None, "a task or data, as no run says what to judge by")
    if wanted.data is not None:
        problems = files.read(Path(wanted.data), wanted.data_kind, say)
        return Questions(file_task.FileTask(problems, wanted.verifier, Path(wanted.data).stem), problems)
    if own:
        task, _, problems = task_of(run)
    else:
        task, problems = TASKS.make(wanted.task, "task"), []
    return Questions(task, problems or task.distinct("test", wanted.seed, wanted.problems))


def candidate(
    name: str,
    origin: Origin,
    config: RlvrConfig,
    system: str | None = None,
    template: TemplateConfig | None = None,
    now: str | None = None,
) -> Candidate:
    """The policy without its weights; ``config`` is its own, or stands in for it.

    ``system`` and what ``template`` asks for go before those of a run. ``now``: the time that a chat template is told
    where neither says.
    """
    template = template or TemplateConfig()
    if origin.kind == "folder":
        form = bases.outline(origin.path, system, template, now)
    elif config.model is not None:
        _refuse_changed(origin, progress.Progress(), inputs.TEXT)
        form = bases.outline(Path(config.model), system or config.system, template.over(config.template), now)
    else:
        template.refuse(system, f"a model with a chat template; {name} has none")
        form = bases.blank(config, config.task)
    return Candidate(name, origin, form, config)


def fitting(
    asked: Questions, judged: Sequence[Candidate], wanted: EvaluateJob, say: Callable[[str], None]
) -> Questions:
    """The first of the problems whose prompts all ``judged`` can read, ``wanted.problems`` of them if there are."""
    task = asked.task
    for one in judged:
        words = one.form.words
        lacking = sorted(set(task.alphabet) - set(words.alphabet)) if isinstance(words, CharTokenizer) else []
        if lacking:
            errors.refuse("task", task.name, f"a task that {one.name} can read; it knows no {' '.join(lacking)!r}")
    kept = list(asked.problems)
    for one in judged:
        most, _ = limits(one, task, wanted)
        kept = [problem for problem in kept if len(one.form.words.prompt(problem.prompt)) <= most]
        if not kept:
            errors.refuse("max_prompt", most, f"more: no prompt of {task.name} is as short for {one.name}")
    left = len(asked.problems) - len(kept)
    if left:
        say(f"left out for the length of their prompts: {left}")
    if len(kept) < wanted.problems:
        say(f"problems that there are: {len(kept)}")
    return Questions(task, kept[: wanted.problems])


def _own_task(one: Candidate, wanted: EvaluateJob) -> bool:
    """Whether the limits of the policy's run are meant for what is asked."""
    return one.origin.config is not None and wanted.task is None and wanted.data is None


def limits(one: Candidate, task: Any, wanted: EvaluateJob) -> tuple[int, int]:
    """Most tokens of a prompt and of an answer, as the run itself has them where it is a run on its own task."""
    own = one.config.rollout if _own_task(one, wanted) else RolloutConfig()
    given = {name: getattr(wanted, name) or getattr(own, name) for name in ("max_prompt", "max_tokens")}
    config = dataclasses.replace(one.config, rollout=dataclasses.replace(one.config.rollout, **given))
    try:
        return setup.limits(config, one.form, task, not isinstance(task, file_task.FileTask))
    except errors.UserError as error:
        raise errors.UserError(f"{one.name}: {str(error).replace('rollout.', '')}") from None


def refuse_large(judged: Sequence[Candidate], asked: Questions, wanted: EvaluateJob) -> None:
    """Refuse what cannot be decoded side by side in the memory that there is, before a weight is read."""
    place = Placement(wanted.mesh)
    for one in judged:
        width, tokens = limits(one, asked.task, wanted)
        dtype = wanted.dtype or one.config.dtype
        rows = evaluation.rows(wanted.rows, one.form.decoder, width + tokens, dtype)
        rows = -(-min(rows, len(asked.problems) * wanted.samples) // place.parts)
        caches = sizes.decoded(one.form, dtype, rows, 1, width, tokens)
        # At least: those of a checkpoint are float32 until they are used.
        weights = memory.held(sizes.weights(one.form.decoder, place)) * jnp.dtype(dtype).itemsize // 4
        parts = {
            f"weights of {one.name}": (weights, "the size of the model"),
            "caches": (memory.held(caches), "rows, max_tokens, max_prompt"),
        }
        memory.require(parts, place.mesh)


def weights(one: Candidate, place: Placement, dtype: str, show: progress.Progress, apart: bool = False) -> Weights:
    """Read the policy's weights; of a checkpoint these and the scale alone.

    Adapters are merged in; ``apart``: they stay beside the frozen weights, as in the steps of training.
    """
    origin, decoder = one.origin, one.form.decoder
    if origin.kind == "run":
        found = checkpointed(one, place, show)
        if not one.config.lora.rank:
            return found
        make = partial(lora.joined if apart else lora.merged, scale=one.config.lora.scale)
        return found._replace(params=jax.jit(make)(frozen(one, place, show), found.params))
    step, sigma = (None, None) if origin.kind == "folder" else (0, one.config.sigma.start)
    if one.form.folder is not None:
        if origin.kind != "folder":
            _refuse_changed(origin, show, inputs.TENSORS)
        with show.phase(f"reading {one.form.folder}"):
            params = hub.load(one.form.folder, decoder, jnp.dtype(dtype), place.weights(decoder))
        return Weights(params, step, sigma)
    own = origin.path / BASE
    if not own.exists() and origin.versions.get("jax") != jax.__version__:
        show.say(f"{one.name}: made with jax {origin.versions.get('jax')}, remade with {jax.__version__}; may differ")
    config = dataclasses.replace(one.config, mesh=None)
    found = setup.policy(config, config.task, cache.home() / "bases", show.say, progress.teller(show), own=own)
    if origin.base is not None and bases.fingerprint(found.params) != origin.base:
        errors.refuse(BASE, one.name, "the pre-trained policy that the run started from; the one here is another")
    return Weights(place.put(found.params, place.weights(decoder)), step, sigma)


def _refuse_changed(origin: Origin, show: progress.Progress, part: str) -> None:
    """Refuse a model folder that is no longer what the run read; the checkpoint of a run needs none of its weights."""
    inputs.refuse_changed(str(origin.path), origin.config, origin.hashes, show.phase, (part,), ("model",))


def frozen(one: Candidate, place: Placement, show: progress.Progress) -> Any:
    """The weights that the adapters of a run were trained on."""
    return weights(one._replace(origin=dataclasses.replace(one.origin, kind="base")), place, "float32", show).params


def checkpointed(one: Candidate, place: Placement, show: progress.Progress) -> Weights:
    """What a checkpoint holds: the weights, or with LoRA the adapters alone."""
    origin, decoder = one.origin, one.form.decoder
    params = sizes.weights(decoder, place)
    if one.config.lora.rank:
        adapters = learner.trained(one.config, decoder, params)
        params = place.shapes(adapters, jax.tree.map(lambda _: place.whole(), adapters))
    sigma = place.shapes(jax.ShapeDtypeStruct((), jnp.float32), place.whole())
    template = {"params": params, "sigma": {"sigma": sigma}}
    if one.config.noise.learnt:
        template["opt_state"] = {"hessian": _curvature(one, place, params)}
    with show.phase(f"reading a checkpoint of {origin.path}"):
        found = store.read(origin.path / "checkpoints", template, origin.step)
    for text in found.broken:
        show.say(text)
    show.say(f"{origin.path}: step {found.step:,}")
    curved = found.state["opt_state"]["hessian"] if one.config.noise.learnt else None
    return Weights(found.state["params"], found.step, found.state["sigma"]["sigma"], curved)


def _learnt(one: Candidate) -> perturbation.Perturbation:
    return perturbations(one.config, one.form.decoder, sizes.weights(one.form.decoder))[0]


def _curvature(one: Candidate, place: Placement, params: Any) -> Any:
    """The curvature in a checkpoint of a run whose noise learns its scales, as shapes with shardings."""
    noise = _learnt(one)
    optimiser = noise.learnt.optimizer(lambda count: count, 1.0, noise.spec)
    shapes = jax.eval_shape(optimiser.init, params)
    return place.shapes(shapes, place.moments(optimiser, shapes, place.weights(one.form.decoder))).hessian


def drawn_from(one: Candidate, found: Weights) -> Any:
    """What perturbed policies of its run are made of: the weights, with their scales where the noise learns them."""
    if one.origin.config is None or not one.config.noise.learnt:
        return found.params
    noise = _learnt(one)

    @jax.jit
    def made(params: Any, hessian: Any) -> Any:
        start = noise.learnt.begin(params, noise.spec)
        return noise.weights(params, start if hessian is None else start.replace(hessian=hessian))

    return made(found.params, found.hessian)


def judge(
    one: Candidate, asked: Questions, wanted: EvaluateJob, grade: Callable[..., Sequence[float]], out: Path,
    label: Callable[[int | None], str], show: progress.Progress,
) -> evaluations.Evaluation:  # fmt: skip
    """Judge a policy and write ``out/evaluations/<label>.json``; ``label(step)`` names it."""
    place, dtype = Placement(wanted.mesh), wanted.dtype or one.config.dtype
    noise = _noise(one, wanted) if wanted.noisy else None
    found = weights(one, place, dtype, show)
    sigma = found.sigma if wanted.sigma is None else wanted.sigma
    name = label(found.step)
    _, tokens = limits(one, asked.task, wanted)
    show.say(f"judging {name}: {len(asked.problems)} problems, {wanted.samples} answers of up to {tokens} tokens")
    told = progress.teller(show, "answers")
    judged = judge_of(one, asked, wanted, grade, place, dtype).judge(
        found.params if noise is None else drawn_from(one, found), asked.problems, wanted.samples,
        evaluation_key(wanted.seed), noise, None if noise is None else jnp.float32(sigma),
        lambda done, total: told(done, total, {}),
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    path = evaluations.record(
        out, name, step=found.step, n=wanted.samples, temperature=wanted.temperature, noisy=noise is not None,
        task=asked.task.name, problems=[setup.row(asked.task, problem) for problem in judged],
        prompt=getattr(one.form.words, "told", None),
    )  # fmt: skip
    return evaluations.read(path)


def judge_of(
    one: Candidate, asked: Questions, wanted: EvaluateJob, grade: Callable[..., Sequence[float]], place: Placement,
    dtype: str,
) -> Judge:  # fmt: skip
    """Who judges a policy as ``wanted`` says."""
    segment = one.config.rollout.segment if wanted.segment is None else wanted.segment
    settings = EvaluationConfig(
        problems=wanted.problems, samples=wanted.samples, temperature=wanted.temperature,
        top_p=wanted.top_p, top_k=wanted.top_k, rows=wanted.rows,
    )  # fmt: skip
    return Judge(
        one.form.decoder, one.form.words, asked.task, grade, settings, *limits(one, asked.task, wanted), place, dtype,
        segment if wanted.mesh is None else 0,
    )  # fmt: skip


def _noise(one: Candidate, wanted: EvaluateJob) -> perturbation.Perturbation | None:
    """The perturbation of the policy's run, or the default one; every answer has a perturbation of its own."""
    asked = Psn() if one.origin.config is None else one.config.noise
    if not asked.members(1):
        errors.refuse("noisy", True, f"a policy trained with noise; {one.name} has noise = {called(type(asked))}")
    if wanted.sigma is None and one.origin.config is None:
        errors.refuse("sigma", None, f"a number, as {one.name} is no run that says")
    # Pairs of opposite sign serve training; here every answer stands for itself.
    asked = dataclasses.replace(asked, structure=dataclasses.replace(asked.structure, antithetic=False))
    return perturbation.plan(asked, one.form.decoder, sizes.weights(one.form.decoder), 1, 1)
