"""``jaxpsn.reason``, and the policies of reasoning runs: text in, text out, judged by pass@k."""

import contextlib
import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxpsn.api import reasoning_config, runs, settings, training
from jaxpsn.core import checks, errors
from jaxpsn.core.components import replaced
from jaxpsn.lm import policies, sampler, tokenizer
from jaxpsn.rlvr import evaluation, lengths, rollout, setup
from jaxpsn.rlvr.config import EvaluationConfig, RlvrConfig
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.program import evaluation_key
from jaxpsn.run import folder as folders
from jaxpsn.run import interrupts
from jaxpsn.run import progress as displays
from jaxpsn.run.jobs import rlvr
from jaxpsn.run.loggers import family
from jaxpsn.run.reasoning import curves as explorations
from jaxpsn.run.reasoning.job import PRESETS, restore
from jaxpsn.stats import pass_at_k, statistics
from jaxpsn.tasks import grading, rewards


@dataclasses.dataclass(frozen=True)
class Judged:
    """How many answers of a policy were right."""

    problems: tuple[Any, ...]
    """What was asked."""
    samples: int
    """Answers to each problem."""
    correct: Int[np.ndarray, "problems"]
    """Right ones among them."""

    def pass_at(self, k: int = 1) -> statistics.Estimate:
        """Unbiased pass@k with its 95 % bootstrap interval over problems (Chen et al. 2021, arXiv 2107.03374)."""
        checks.whole("k", k, 1, self.samples)
        scores = pass_at_k.estimate(self.samples, self.correct, k)
        return statistics.bootstrap(scores, statistics.mean)

    def __repr__(self) -> str:
        return f"Judged({len(self.problems)} problems, {self.samples} answers each, pass@1 {self.pass_at(1)})"


class ReasoningPolicy:
    """A language model: weights, tokens and the task that it was trained on.

    ``params`` is the plain tree of its weights, ``decoder`` the architecture (:class:`jaxpsn.lm.config.DecoderConfig`):
    ``jaxpsn.lm.model`` has the forward pass.
    """

    def __init__(
        self, base: Any, params: Any, config: RlvrConfig, step: int, task: Any, problems: Sequence[Any] | None
    ):
        """``base``: a :class:`jaxpsn.rlvr.base.Base`; ``problems``: those it is judged by, if they come of a file."""
        self.decoder, self.tokenizer = base.decoder, base.words
        self.params, self.config, self.step, self.task = params, config, step, task
        self._base, self._problems = base, problems

    def __repr__(self) -> str:
        return f"ReasoningPolicy({self.task.name}, {self.decoder.parameters:,} parameters, step {self.step})"

    def generate(
        self, prompts: str | Sequence[str], samples: int = 1, *, temperature: float = 1.0,
        max_tokens: int | None = None, seed: int = 0,
    ) -> list[list[str]]:  # fmt: skip
        """``samples`` answers to each prompt, a function of ``seed``. Temperature 0 takes the likeliest tokens."""
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        checks.whole("samples", samples, 1, 1 << 16)
        checks.real("temperature", temperature, 0.0, 100.0)
        tokens = [self.tokenizer.prompt(text) for text in texts]
        _, most = lengths.limits(self.config, self._base, self.task, self._problems is None)
        packed = tokenizer.pack(tokens, limit=self.decoder.max_positions - (max_tokens or 1))
        ends, vocab = tuple(self.tokenizer.ends), self.tokenizer.vocab_size
        sampling = sampler.Sampling(
            min(max_tokens or most, self.decoder.max_positions - packed.width), ends, self.tokenizer.pad, vocab=vocab
        )
        key, heat = jax.random.key(seed), jnp.float32(temperature)
        found = _answers((self.decoder, samples, sampling, self.config.dtype), self.params, packed, key, heat)
        drawn, sizes = jax.device_get(found)
        return [
            [self.tokenizer.decode(drawn[s, p, : sizes[s, p]].tolist()) for s in range(samples)]
            for p in range(len(texts))
        ]

    def evaluate(self, problems: int = 64, samples: int = 16, *, temperature: float = 1.0, seed: int = 0) -> Judged:
        """Answers to the first ``problems`` of the test split of its task, or of the file it is judged by."""
        wanted = EvaluationConfig(problems=problems, samples=samples, temperature=temperature)
        checks.whole("seed", seed, 0, (1 << 31) - 1)
        asked = self._problems[:problems] if self._problems else self.task.distinct("test", seed, problems)
        width, most = lengths.limits(self.config, self._base, self.task, self._problems is None)
        with grading.Grader(self.task) as grader:
            judge = evaluation.Judge(
                self.decoder, self.tokenizer, self.task, grader.grade, wanted, width, most, Placement(None),
                self.config.dtype,
            )  # fmt: skip
            found = judge.judge(self.params, asked, samples, evaluation_key(seed))
        return Judged(tuple(one.problem for one in found), samples, np.array([one.correct for one in found]))

    def perturbed(
        self, sigmas: Sequence[float], *, problems: int = 48, members: int = 32, answers: int = 1, seed: int = 0,
        **noise: Any,
    ) -> explorations.Explored:  # fmt: skip
        """How its perturbed forms answer at each of ``sigmas``, at temperature 1; nothing is trained.

        ``members`` perturbations of the form ``noise`` (fields of ``psn``, as ``structure="lowrank(rank=4)"`` or
        ``select="attention"``), each with as many ``answers`` to each of the first ``problems`` of the test split.
        """
        form = perturbation.plan(replaced(Psn(), noise), self.decoder, self.params, members, answers)
        return explorations.perturbed(self._ground(problems), form, sigmas, seed=seed)

    def heated(
        self, temperatures: Sequence[float], *, problems: int = 48, samples: int = 32, seed: int = 0
    ) -> explorations.Explored:
        """The same of the clean policy at each of ``temperatures``: noise on actions in place of weights."""
        return explorations.heated(self._ground(problems), samples, temperatures, seed=seed)

    def _ground(self, problems: int) -> explorations.Ground:
        return explorations.ground(self.config, self._base._replace(params=self.params), self.task, problems)


@partial(jax.jit, static_argnums=0)
def _answers(still: Any, params: Any, prompts: Any, key: Any, temperature: Any) -> Any:
    decoder, samples, sampling, dtype = still
    working = Placement(None).working(decoder, params, dtype)
    rows = rollout.Ids(0, 0, prompts.tokens.shape[0]).rows(samples, prompts.tokens.shape[0])
    policy = policies.Clean(working, samples)
    drawn = rollout.at_once(decoder, policy, prompts, rows, key, temperature, sampling)
    return drawn.tokens, drawn.lengths


class ReasoningRun(runs.Run):
    """A reasoning run: also its policy."""

    policy: ReasoningPolicy
    """The clean policy."""

    @property
    def params(self) -> Any:
        """The clean weights."""
        return self.policy.params


def reason(
    task: Any = None, reward: Any = None, explore: Any = None, *, preset: str = "default",
    steps: int | None = None, seed: int | None = None, folder: str | Path | None = None, resume: bool = False,
    overwrite: bool = False, progress: str = "auto", logger: Any = None, **fields: Any,
) -> ReasoningRun:  # fmt: skip
    """Train a language model with verifiable rewards and parameter-space noise (PSN-GRPO).

    ``task``: such as ``"countdown"`` or ``"countdown(numbers=4)"``. ``reward``: a function of your own,
    ``reward(prompts, answers, problems) -> list of floats``, that is trained for in place of the task's own; the task's
    checker still judges, as pass@k. ``explore``: an arm such as ``"psn-kl"`` or ``"grpo"``, or a mapping such as
    ``{"sigma": "kl(target=0.005)"}``. Whatever else is left out is that of the ``preset``: ``model="FOLDER"``,
    ``data="FILE"``, ``prompts=16``, or a section, ``algorithm={"learning_rate": 1e-4}``.

    ``folder``, ``resume``, ``logger`` and Ctrl-C: as of :func:`jaxpsn.train`. With a ``folder`` base and trained policy
    are judged and exported too; a run with a reward of your own goes on only with the same one. Raises
    :class:`jaxpsn.UserError`.
    """
    path, going_on = settings.place(folder, resume)
    given = None if reward is None else rewards.make(reward)
    base = restore(folders.read(str(path)), given) if going_on else settings.preset(PRESETS, preset)
    of_config, of_run = settings.split(fields)
    config = reasoning_config.config(base.rlvr, task, explore, of_config, given)
    run = settings.run_config(
        base.run, steps=steps, seed=seed, seeds=None, folder=path, resume=going_on, overwrite=overwrite,
        progress=progress, fields=of_run, stepwise=True,
    )  # fmt: skip
    job = dataclasses.replace(base, rlvr=config, run=run)
    trackers = settings.loggers(logger)
    family.require(run.log, folder=path is not None)
    with interrupts.gentle():
        if path is None:
            with rlvr.in_memory(job, trackers) as (trained, rows):
                made = _made(trained, runs.columns(rows), run.seed)
        else:
            with rlvr.train(job, trackers) as trained:
                made = _made(trained, training.written(path), run.seed)
    training.stopped(trained.outcome)
    return made


def base(task: str | None = None, *, preset: str = "default", progress: str = "auto", **fields: Any) -> ReasoningPolicy:
    """The policy that :func:`reason` would start from: a model that is read, or a small decoder, pre-trained or kept.

    ``fields``: as there. Raises :class:`jaxpsn.UserError`.
    """
    from jaxpsn.run import cache

    config = reasoning_config.config(settings.preset(PRESETS, preset).rlvr, task, None, fields)
    cache.enable()
    with contextlib.closing(displays.make(progress)) as show:
        made = config.task
        found = setup.policy(config, made, cache.home() / "bases", show.say, displays.teller(show))
    return ReasoningPolicy(found, found.params, config, 0, made, None)


def _made(trained: Any, columns: Any, seed: int) -> ReasoningRun:
    program, outcome = trained.program, trained.outcome
    made = ReasoningRun(program, outcome, runs.table(columns), (seed,))
    problems = None if program.config.data is None else program.problems.test
    params = jax.device_get(program.weights(outcome.state))
    made.policy = ReasoningPolicy(program.base, params, program.config, outcome.step, program.problems.task, problems)
    return made


def load(text: str) -> ReasoningPolicy:
    """The policy of a reasoning run: ``RUN``, ``RUN:STEP`` or ``RUN:base``, as of :func:`jaxpsn.load`."""
    from jaxpsn.run import cache, draws
    from jaxpsn.run.reasoning import judging, origins

    draws.fix()
    cache.enable()
    origin = origins.find("run", text)
    if origin.config is None:
        errors.refuse("run", text, "a run of reasoning")
    one = judging.candidate("run", origin, origin.config)
    found = judging.weights(one, Placement(None), origin.config.dtype, displays.Progress())
    task, _, problems = judging.task_of(origin)
    return ReasoningPolicy(one.form, found.params, origin.config, found.step or 0, task, problems or None)


def evaluate(policy: Any, seed: int = 0, **asked: Any) -> Judged:
    """:meth:`ReasoningPolicy.evaluate` of whatever :func:`jaxpsn.evaluate` was given."""
    if not isinstance(policy, ReasoningPolicy):
        errors.refuse("policy", type(policy).__name__, "run.policy, or what jaxpsn.load gives")
    known = ("problems", "samples", "temperature")
    for name, value in asked.items():
        if name not in known:
            errors.refuse(name, value, errors.nearest(name, known))
    return policy.evaluate(seed=seed, **asked)
