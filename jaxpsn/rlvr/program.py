"""PSN-GRPO as the run loop drives it: gather on the perturbed policy, verify, update the clean one, move sigma."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxpsn.lm import lora
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.noise import scale_rules, scales
from jaxpsn.rlvr import alarms, data, evaluation, gathering, journal, learner, measures, names, response, rollout, scale
from jaxpsn.rlvr.base import Base
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.exploration import perturbation, sigma
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
    params: Any  # float32, clean; with LoRA the adapters alone
    opt_state: Any  # state of the optimiser
    sigma: Any  # state of the scale's rule
    position: Any  # [] int32: problems taken from the stream
    key: Any  # typed key of the run, constant
    solved: Any = None  # [n] bool, problems of the list that an answer has solved; None where none are gated


class Problems(NamedTuple):
    """Where problems come from, and how answers to them are judged."""

    task: Any
    train: data.Source
    test: Sequence[Any]
    grade: Callable[[Sequence[Any], Sequence[str]], Sequence[float]]
    """The verifier's verdicts, by which evaluations judge."""
    reward: Callable[[Sequence[Any], Sequence[str]], Sequence[float]]
    """What the answers are worth in training."""
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
        devices: Sequence[Any] | None = None,
    ):
        """``open_log(path, kept)`` opens a log of rows (``training.sinks.RowLog``); None keeps no samples.

        ``devices``: those to run on, JAX's own if left out.
        """
        self.config, self.problems, self._seed = config, problems, seed
        self._open_log, self.place = open_log, Placement(config.mesh, devices)
        share = config.rollout.prompts // config.algorithm.mini_batches
        self.place.check("rollout.prompts / algorithm.mini_batches", share)
        self._weights = self.place.weights(base.decoder)
        params, decoder = self.place.put(base.params, self._weights), self.place.decoder(base.decoder)
        self.base = base = base._replace(params=params, decoder=decoder)
        self.noise, probe_noise = perturbations(config, base.decoder, base.params)
        self.learner = learner.make(
            config, base.decoder, problems.max_tokens, base.words.vocab_size, self.place, self.noise
        )
        self._gatherer = gathering.Gatherer(
            config,
            base.decoder,
            base.words,
            problems.train,
            problems.reward,
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
            config.dtype,
            config.rollout.segment,
        )
        run = scale_rules.Run(total_steps, base.words.vocab_size)
        rule = config.sigma.build(config.sigma.start, run) if self.noise is not None else scales.constant()
        self._rule = sigma.told(rule)
        self._signals = None if config.probed is None else scale.signals(config.probed, self.learner)
        self._say: Callable[[str], None] = lambda text: None
        self._far: str | None = None
        shapes = jax.eval_shape(self.learner.optimiser.init, learner.trained(config, decoder, base.params))
        self._moments = self.place.moments(self.learner.optimiser, shapes, self._weights)
        self.silences = measures.silences(config)
        self._compile_lazily()
        self._compiled = False
        self._journal: journal.Journal | None = None

    @property
    def _frozen(self) -> tuple[Any, ...]:
        """The weights that an update takes beside those that it trains."""
        return (self.base.params,) if self.config.lora.rank else ()

    @property
    def lower(self) -> dict[str | None, str]:
        """Fields of the config that make parts of the state smaller, by the names of the parts; None for a step."""
        size = names.lowers_weights(self.config.model is not None)
        return {"params": size, "opt_state": size, None: names.LOWERS_ROLLOUT}

    @property
    def compiled(self) -> dict[str, Any]:
        """What :meth:`prepare` compiled, by name."""
        return {"the update": self._update, **self._gatherer.compiled} if self._compiled else {}

    def on(self, problems: Problems, seed: int) -> "Reasoner":
        """The same experiment with another seed and other problems of the same task; what is compiled is shared."""
        other = copy.copy(self)
        other.problems, other._seed, other._journal, other._far = problems, seed, None, None
        other._gatherer = self._gatherer.on(problems.train)
        return other

    def _compile_lazily(self) -> None:
        """The compiled phases besides sampling, each traced at its first call."""
        place = self.place
        whole, wide = place.whole(), place.answers()
        answers = Answers(wide, wide, wide, wide, whole, whole)
        self._batch_places = learner.Batch(place.rows(), answers, wide, wide, wide, whole)
        ins, outs = (self._weights, self._moments, self._batch_places), (self._weights, self._moments, whole)
        self._update = place.jit(self.learner.update, ins, outs, donate_argnums=(0, 1))
        self._score = place.jit(self.learner.log_probs, self.learner.places(), whole)
        self._mismatch = place.jit(self.learner.mismatch, (wide, answers, wide), whole)
        self._move = place.jit(self._rule.update, whole, whole)
        self._count = place.jit(_counted, whole, whole)
        if self.config.noise.learnt:
            ins, outs = (self._weights, self._moments), place.drawn_from(self.base.decoder, self.noise)
            self._posterior = place.jit(self.noise.weights, ins, outs)
        self._merge = jax.jit(partial(lora.merged, scale=self.config.lora.scale))
        advantage = self.config.algorithm.advantage
        self._advantages = jax.jit(lambda rewards, likely: advantage.compute(advantage.shaped(rewards, likely)))

    def init(self) -> RlvrState:
        """The state before the first step; with Variant II whether its target can be reached is measured and said."""
        state = self._first()
        if self._signals is not None:
            reach = response.reach(self, state)
            self._say(reach.told())
            self._far = reach.far()
        return state

    def _first(self) -> RlvrState:
        """The base's weights, copied, as updates are made in place, and all else as it begins."""

        def copied(params: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) + 0.0, params)

        def small() -> RlvrState:
            return RlvrState(
                clock=jnp.int32(0),
                updates=jnp.int32(0),
                params=None,
                opt_state=None,
                sigma=self._rule.init(self.config.sigma.start if self.noise is not None else 0.0),
                position=jnp.int32(0),
                key=jax.random.key(self._seed),
                solved=jnp.zeros(len(self.problems.train), bool) if self.config.rollout.gate != "none" else None,
            )

        optimiser, whole = self.learner.optimiser, self.place.whole()
        if self.config.lora.rank:
            params = learner.adapters(self.config, self.base.decoder, jax.random.key(self._seed))
        else:
            params = jax.jit(copied, out_shardings=self._weights)(self.base.params)
        opt_state = jax.jit(optimiser.init, out_shardings=self._moments)(params)
        return jax.jit(small, out_shardings=whole)().replace(params=params, opt_state=opt_state)

    def whole(self, state: RlvrState) -> RlvrState:
        """``state`` with the weights that passes take for ``params``: itself but with LoRA, whose adapters they are."""
        return state.replace(params=self.learner.whole(state.params, self.base.params))

    def acting(self, state: RlvrState) -> RlvrState:
        """:meth:`whole`, with the scales of a noise that learns them: what perturbed policies are made of."""
        learnt = self.config.noise.learnt
        return state.replace(params=self._posterior(state.params, state.opt_state)) if learnt else self.whole(state)

    def weights(self, state: RlvrState) -> Any:
        """The weights of the policy as a model has them: ``state.params``, or with LoRA the adapters merged in."""
        return self._merge(self.base.params, state.params) if self.config.lora.rank else state.params

    def template(self) -> RlvrState:
        """The state's shapes, dtypes and shardings."""
        shapes = jax.eval_shape(self._first)
        places = jax.tree.map(lambda _: self.place.whole(), shapes.replace(params=None, opt_state=None))
        places = places.replace(params=self._weights, opt_state=self._moments)
        return self.place.shapes(shapes, places)

    def step(self, state: RlvrState) -> tuple[RlvrState, dict[str, Any]]:
        """One training step; ``state.params`` and ``state.opt_state`` are given up to the new state."""
        clock, seen = gathering.Clock(), {}
        decide = None if self._signals is None else self._decider(state, seen)
        found = self._gatherer.gather(self.acting(state), decide, clock)
        rewards, answers = found.experience.rewards, found.experience.answers
        compared = [
            each.reshape(len(rewards) * learner.own_groups(self.config), -1)
            for each in (rewards, rollout.log_likelihood(answers).T)
        ]
        gained = np.asarray(self._advantages(*compared)).reshape(rewards.shape).T
        with clock("update"):
            state, told = self._learn(state.replace(sigma=found.sigma), found, gained)
        if self._journal is not None:
            self._journal.write(int(state.clock), found.experience, gained)
        told |= measures.target(self.config) | seen
        return state, measures.step_columns(self.config, found, gained, told, clock.seconds)

    def _decider(self, state: RlvrState, seen: dict[str, Any]) -> Callable[[scale.Probes], Any]:
        def decide(probes: scale.Probes) -> Any:
            signals = self._signals(self.whole(state).params, probes)
            seen.update({name: signals.pop(name) for name in ("probes_cut",) if name in signals})
            return self._move(state.sigma, signals)

        return decide

    def probe(self, state: RlvrState, sigma: float, turn: int) -> scale.Probes:
        """Probes of the problems that a step of ``state`` would begin with, at ``sigma``; ``turn`` seeds them."""
        count = self.config.rollout.prompts
        problems = data.pick(self.problems.train, int(state.position), count, state.solved).problems
        return self._gatherer.probe(self.whole(state), self._gatherer.pack(problems), turn, np.float32(sigma))

    def indicator(self, state: RlvrState, probes: scale.Probes) -> tuple[float, float]:
        """Variant II's indicator of these probes alone, and the target that it is compared with."""
        signals = self._signals(self.whole(state).params, probes)
        signals.pop("probes_cut", None)
        found = self._move(jax.device_get(self._rule.init(0.0)), signals)  # on the host: any mesh takes it from there
        return float(found.indicator), float(found.target)

    def log_probs(self, params: Any, prompts: Any, answers: Answers) -> np.ndarray:
        """The log-probs [G, P, T] of a step's answers under clean ``params``, on the host."""
        given = (prompts, answers.tokens, answers.lengths)
        return np.asarray(self._score(params, *self.place.put(given, self.learner.places()[1:])))

    def _learn(self, state: RlvrState, found: gathering.Gathered, gained: np.ndarray) -> tuple[RlvrState, dict]:
        algorithm, experience = self.config.algorithm, found.experience
        params, opt_state = state.params, state.opt_state
        updates, apart = algorithm.epochs * algorithm.mini_batches, {}
        whole = learner.Batch(experience.prompts, experience.answers, gained)
        if algorithm.estimator != "clean":
            whole = whole.replace(seed=(state.key, state.clock))
        if updates > 1:
            old = self.log_probs(self.whole(state).params, experience.prompts, experience.answers)
            whole = whole.replace(old=old)
            seen = whole.old, whole.answers, whole.advantages
            places = self._batch_places.old, self._batch_places.answers, self._batch_places.advantages
            apart = self._mismatch(*self.place.put(seen, places))
        if algorithm.kl_coefficient:
            reference = self.log_probs(self.base.params, experience.prompts, experience.answers)
            whole = whole.replace(reference=reference)
        told = []
        for _ in range(algorithm.epochs):
            for part in learner.pieces(whole, algorithm.mini_batches):
                given = (params, opt_state, self.place.put(part, self._batch_places), *self._frozen)
                params, opt_state, metrics = self._update(*given)
                told.append(metrics)
        told = measures.over_updates(jax.device_get(told)) | jax.device_get(apart)
        moved = state.sigma if self._signals is not None else self._move(state.sigma, told)
        made = np.int32(1), np.int32(updates), np.int32(found.drawn)
        clock, updates, position = self._count((state.clock, state.updates, state.position), made)
        solved = None if found.solved is None else self.place.put(found.solved, self.place.whole())
        return RlvrState(clock, updates, params, opt_state, moved, position, state.key, solved), told

    def evaluate(self, state: RlvrState) -> dict[str, float]:
        """Short judgement of the clean policy: pass@1, pass@K and distinct solutions, always on the same problems."""
        settings = self.config.evaluation
        test = self.problems.test[: settings.monitor_problems]
        found = self.judge.judge(self.weights(state), test, settings.monitor_samples, evaluation_key())
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

    def alarms(self) -> list[Any]:
        """What is told once if the rows of metrics show it (``training.alarms``)."""
        bounds, probed = self.config.sigma.bounds, self.config.probed
        if self.noise is None:
            return []
        weights = [alarms.few, alarms.mean, alarms.skipped]
        if bounds is None:
            return weights
        settles = scales.Unsettled(bounds, fields=("sigma.low", "sigma.high"))
        return [*weights, settles] if probed is None else [*weights, lambda row: self._far, response.cut, settles]

    def attach(self, folder: Path, kept: int) -> None:
        """Open the sample log; rows of steps after ``kept`` go."""
        if self._open_log is not None:
            self._journal = journal.Journal(self._open_log(folder / journal.FILE, kept))

    def prepare(self, state_template: RlvrState, say: Callable[[str], None]) -> None:
        """Compile sampling and update."""
        self._say = say
        say(f"{self.base.decoder.parameters:,} parameters, answers of up to {self.problems.max_tokens} tokens")
        for line in () if self.noise is None else self.noise.told(self.config.noise):
            say(line)
        if self._compiled:
            return
        more = self.config.lora.rank or self.config.noise.learnt
        acting = jax.eval_shape(self.acting, state_template) if more else state_template
        prompts, answers = self._gatherer.prepare(acting)
        self._update = self._compile_update(state_template, prompts, answers)
        self._compiled = True

    def _compile_update(self, state: RlvrState, prompts: Any, answers: Answers) -> Any:
        algorithm = self.config.algorithm
        gained = jax.ShapeDtypeStruct(answers.lengths.shape, jnp.float32)
        batch = learner.Batch(prompts, answers, gained)
        if algorithm.estimator != "clean":
            batch = batch.replace(seed=(state.key, state.clock))
        if algorithm.epochs * algorithm.mini_batches > 1:
            batch = batch.replace(old=answers.log_probs)
        if algorithm.kl_coefficient:
            batch = batch.replace(reference=answers.log_probs)
        part = jax.eval_shape(lambda batch: learner.pieces(batch, algorithm.mini_batches)[0], batch)
        return self._update.lower(state.params, state.opt_state, part, *self._frozen).compile()

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

    of_probes = noise(config.probe_members, config.probes, PROBE)
    return noise(config.members, config.noisy_samples, perturbation.PURPOSE), of_probes


def _counted(counts: tuple[Any, ...], made: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(count + more for count, more in zip(counts, made, strict=True))


def evaluation_key(seed: int = 0) -> Any:
    """The key of every evaluation: base and trained policies, whatever the run's seed, share their random numbers."""
    return jax.random.fold_in(jax.random.key(seed), EVALUATION)
