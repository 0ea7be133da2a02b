"""PSN-GRPO as the run loop drives it: gather on the perturbed policy, verify, update the clean one, move sigma."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxpsn.lm.config import DecoderConfig
from jaxpsn.rlvr import advantages, data, evaluation, gathering, journal, learner, measures, perturbation, scale
from jaxpsn.rlvr.base import Base
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.rollout import Answers

EVALUATION = 0x4556
"""Folded into a run's key: evaluations share no randomness with training, and all of a run share their own."""
PROBE = 0x50524F42


@struct.dataclass
class RlvrState:
    """All that a run needs to go on: noise and answers are functions of ``key`` and ``clock``."""

    clock: Any  # [] int32: steps made
    updates: Any  # [] int32: gradient steps made
    params: Any  # float32, clean
    memory: Any  # state of the optimiser
    sigma: Any  # state of the scale's rule
    position: Any  # [] int32: problems taken from the stream
    key: Any  # typed key of the run, constant


class Problems(NamedTuple):
    """Where problems come from, and how answers to them are judged."""

    task: Any
    train: data.Source
    test: Sequence[Any]
    grade: Callable[[Sequence[Any], Sequence[str]], Sequence[float]]
    max_prompt: int
    """Tokens."""
    max_tokens: int
    """Tokens of the longest answer, its end included."""


class Reasoner:
    """A host-stepped program (``training.program.HostProgram``): one call is one training step."""

    steps_per_call = 1

    def __init__(
        self,
        config: RlvrConfig,
        base: Base,
        problems: Problems,
        seed: int,
        total_steps: int,
        open_log: Callable[[Path, int], Any] | None = None,
    ):
        """``open_log(path, kept)`` opens a log of rows (``training.sinks.RowLog``); None keeps no samples."""
        self.config, self.base, self.problems, self._seed = config, base, problems, seed
        self._open_log, self.place = open_log, Placement(config.mesh)
        self._learner = learner.make(config, base.decoder, problems.max_tokens, base.words.vocab_size)
        self.noise, probe_noise = perturbations(config, base.decoder, base.params)
        self._gatherer = gathering.Gatherer(
            config,
            base.decoder,
            base.words,
            problems.train,
            problems.grade,
            gathering.plan(config, self.noise, probe_noise),
            problems.max_prompt,
            problems.max_tokens,
            self.place,
        )
        self.judge = evaluation.Judge(
            base.decoder,
            base.words,
            problems.task,
            problems.grade,
            config.evaluation,
            problems.max_prompt,
            problems.max_tokens,
            self.place,
        )
        self._rule = scale.rule(config.sigma, total_steps, base.words.vocab_size)
        self._move = jax.jit(self._rule.update)
        self._signals = scale.signals(config, self._learner) if config.sigma.rule == "composite" else None
        weights, whole = self.place.weights(base.decoder), self.place.whole()
        self._weights = weights
        self._memory = None if weights is None else self._placed_memory(weights)
        batch = learner.Batch(self.place.rows(), self._answer_places(), *[self.place.answers()] * 3)
        ins, outs = (weights, self._memory, batch), (weights, self._memory, whole)
        self._update = self.place.jit(self._learner.update, ins, outs, donate_argnums=(0, 1))
        self._score = self.place.jit(
            lambda *given: self._learner.log_probs(*given).log_probs,
            (weights, self.place.rows(), self._answer_places()),
            whole,
        )
        self._advantages = jax.jit(
            lambda rewards: advantages.advantages(config.algorithm.advantage, rewards, config.algorithm.k)
        )
        self._journal: journal.Journal | None = None

    def _answer_places(self) -> Any:
        """Shardings of answers: all [G, P, ...] but the two that only count samples."""
        wide, whole = self.place.answers(), self.place.whole()
        return Answers(wide, wide, wide, wide, whole, whole)

    def _placed_memory(self, weights: Any) -> Any:
        shapes = jax.eval_shape(self._learner.optimiser.init, self.base.params)
        return self.place.memory(self._learner.optimiser, shapes, weights)

    def init(self) -> RlvrState:
        """The state before the first step: the base's weights, copied, as updates are made in place."""

        def copied(params: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) + 0.0, params)

        def small() -> RlvrState:
            return RlvrState(
                clock=jnp.int32(0),
                updates=jnp.int32(0),
                params=None,
                memory=None,
                sigma=self._rule.init(self.config.sigma.initial if self.noise is not None else 0.0),
                position=jnp.int32(0),
                key=jax.random.key(self._seed),
            )

        optimiser, whole = self._learner.optimiser, self.place.whole()
        params = jax.jit(copied, out_shardings=self._weights)(self.base.params)
        memory = jax.jit(optimiser.init, out_shardings=self._memory)(params)
        return jax.jit(small, out_shardings=whole)().replace(params=params, memory=memory)

    def template(self) -> RlvrState:
        """The state's shapes, dtypes and shardings."""
        shapes = jax.eval_shape(self.init)
        if self.place.mesh is None:
            return shapes
        places = jax.tree.map(lambda _: self.place.whole(), shapes.replace(params=None, memory=None))
        places = places.replace(params=self._weights, memory=self._memory)
        return jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes, places
        )

    def step(self, state: RlvrState) -> tuple[RlvrState, dict[str, Any]]:
        """One training step; ``state.params`` and ``state.memory`` are given up to the new state."""
        clock = gathering.Clock()
        decide = None if self._signals is None else self._decider(state)
        found = self._gatherer.gather(state, decide, clock)
        gained = np.asarray(self._advantages(found.experience.rewards)).T
        with clock("update"):
            state, told = self._learn(state.replace(sigma=found.sigma), found, gained)
        if self._journal is not None:
            self._journal.write(int(state.clock), found.experience, gained)
        told |= measures.target(self.config)
        return state, measures.step_columns(self.config, found, gained, told, clock.seconds)

    def _decider(self, state: RlvrState) -> Callable[..., Any]:
        def decide(prompts: Any, probes: Answers, texts: list[list[str]]) -> Any:
            return self._move(state.sigma, self._signals(state.params, prompts, probes, texts))

        return decide

    def _learn(self, state: RlvrState, found: gathering.Gathered, gained: np.ndarray) -> tuple[RlvrState, dict]:
        algorithm, experience = self.config.algorithm, found.experience
        params, memory = state.params, state.memory
        single = algorithm.epochs * algorithm.mini_batches == 1
        whole = learner.Batch(experience.prompts, experience.answers, gained)
        if not single:
            whole = whole.replace(old=self._score(params, experience.prompts, experience.answers))
        if algorithm.kl_coefficient:
            whole = whole.replace(reference=self._score(self.base.params, experience.prompts, experience.answers))
        told = []
        for _ in range(algorithm.epochs):
            for part in learner.pieces(whole, algorithm.mini_batches):
                params, memory, metrics = self._update(params, memory, part)
                told.append(metrics)
        told = jax.device_get(told)
        told = {name: np.mean([one[name] for one in told], axis=0) for name in told[0]}
        scaled = state.sigma if self._signals is not None else self._move(state.sigma, told)
        state = state.replace(
            clock=state.clock + 1,
            updates=state.updates + jnp.int32(algorithm.epochs * algorithm.mini_batches),
            params=params,
            memory=memory,
            sigma=scaled,
            position=state.position + jnp.int32(found.drawn),
        )
        return state, told

    def evaluate(self, state: RlvrState) -> dict[str, float]:
        """Short judgement of the clean policy: pass@1, pass@K and distinct solutions, always on the same problems."""
        settings = self.config.evaluation
        test = self.problems.test[: settings.monitor_problems]
        params = learner.working(state.params, self.config.dtype)
        found = self.judge.judge(params, test, settings.monitor_samples, evaluation_key())
        return measures.evaluation_columns(found, settings.monitor_samples)

    def metric_names(self) -> list[str]:
        """All columns of a step."""
        return measures.names(self.config)

    def evaluation_names(self) -> list[str]:
        """All columns of an evaluation."""
        return measures.evaluation_names(self.config.evaluation.monitor_samples)

    def watch(self, state: RlvrState, metrics: dict[str, Any]) -> dict[str, Any]:
        """The weights, the loss and the gradient must stay finite."""
        return {"params": state.params, "loss": metrics["loss"], "grad_norm": metrics["grad_norm"]}

    def attach(self, folder: Path, kept: int) -> None:
        """Open the sample log; rows of steps after ``kept`` go."""
        if self._open_log is not None:
            self._journal = journal.Journal(self._open_log(folder / journal.FILE, kept))

    def prepare(self, state_template: RlvrState, say: Callable[[str], None]) -> None:
        """Compile sampling and update."""
        say(f"{self.base.decoder.parameters:,} parameters, answers of up to {self.problems.max_tokens} tokens")
        if self.noise is not None:
            entries = sum(math.prod(leaf.shape) for leaf in self.noise.spec.leaves)
            say(f"{self.noise.members} perturbations a step of {entries:,} weights ({self.config.noise.target})")
        prompts, answers = self._gatherer.prepare(state_template)
        self._update = self._compile_update(state_template, prompts, answers)

    def _compile_update(self, state: RlvrState, prompts: Any, answers: Answers) -> Any:
        algorithm = self.config.algorithm
        gained = jax.ShapeDtypeStruct(answers.lengths.shape, jnp.float32)
        batch = learner.Batch(prompts, answers, gained)
        if algorithm.epochs * algorithm.mini_batches > 1:
            batch = batch.replace(old=answers.log_probs)
        if algorithm.kl_coefficient:
            batch = batch.replace(reference=answers.log_probs)
        part = jax.eval_shape(lambda batch: learner.pieces(batch, algorithm.mini_batches)[0], batch)
        return self._update.lower(state.params, state.memory, part).compile()

    def sync(self) -> None:
        """Make the sample log durable."""
        if self._journal is not None:
            self._journal.sync()

    def close(self) -> None:
        """Close the sample log."""
        if self._journal is not None:
            self._journal.close()


def perturbations(
    config: RlvrConfig, decoder: DecoderConfig, params: Any
) -> tuple[perturbation.Perturbation | None, perturbation.Perturbation | None]:
    """The perturbation of the rollouts and that of noisy probes, each None if there is none; reads shapes alone."""

    def noise(members: int, samples: int, purpose: int) -> perturbation.Perturbation | None:
        found = perturbation.plan(config.noise, decoder, params, members, samples // max(members, 1))
        return None if found is None else found._replace(purpose=purpose)

    probes = config.probes if config.sigma.probe_policy == "noisy" else 0
    of_probes = noise(1 if config.noise.per == "step" else probes, probes, PROBE) if probes else None
    return noise(config.members, config.noisy_samples, perturbation.PURPOSE), of_probes


def evaluation_key(seed: int = 0) -> Any:
    """The key of every evaluation: base and trained policies, whatever the run's seed, share their random numbers."""
    return jax.random.fold_in(jax.random.key(seed), EVALUATION)
