"""The programs of a reasoning run, from shapes alone: a decoding step of the rollout, and an update."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.compiler import counts
from benchmarks.compiler.compiling import Compiled, Compiler
from benchmarks.compiler.counts import Phases
from jaxpsn.core import override, spec_of
from jaxpsn.lm import decoding, policies, sharding
from jaxpsn.lm.prompts import Prompts
from jaxpsn.rlvr import gathering, learner, names, setup, sizes
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.noises import NoNoise, Psn
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.program import perturbations
from jaxpsn.rlvr.rollout import Answers
from jaxpsn.run.reasoning.job import RlvrJob

CLEAN = "none"
_Shape = jax.ShapeDtypeStruct


class Programs:
    """One arm's programs as shapes."""

    def __init__(self, compiler: Compiler, config: RlvrConfig):
        self._compiler, self._config = compiler, config
        self._place = Placement(config.mesh, compiler.devices)
        task = None if config.data is not None else config.task
        form = setup.outline(config, task)
        self._prompt, self._answer = setup.limits(config, form, task, task is not None)
        self._decoder, self._words = self._place.decoder(form.decoder), form.words
        self._params = sizes.weights(self._decoder)
        self._noise, _ = perturbations(config, self._decoder, self._params)
        self._learner = learner.make(config, self._decoder, self._answer, self._words.vocab_size, self._place)

    def decoding(self) -> tuple[Compiled, Phases]:
        """One more token in every row of a block of problems, caches given up to the next ones."""
        config, decoder, noise = self._config, self._decoder, self._noise
        samples, asked = config.rollout.samples, config.rollout
        problems = gathering.block(asked.prompts, samples, asked.rows, self._place.parts)
        members = 1 if noise is None else noise.members
        rows = _Shape((members, samples * problems // members), jnp.int32)
        ends, pad, vocab = tuple(self._words.ends), self._words.pad, self._words.vocab_size
        sampling = decoding.Sampling(max_tokens=self._answer, ends=ends, pad=pad, vocab=vocab)
        params = jax.tree.map(lambda leaf: _Shape(leaf.shape, jnp.dtype(config.dtype)), self._params)
        key = jax.eval_shape(lambda: jax.random.key(0))
        draw = None if noise is None else jax.eval_shape(noise.draw, key, _Shape((), jnp.int32))
        one = _Shape((), jnp.float32)

        def policy(params: Any, draw: Any, sigma: Any) -> Any:
            return policies.Clean(params, 1) if draw is None else noise.policy(params, draw, sigma)

        def begin(params: Any, draw: Any, sigma: Any, prompts: Any, rows: Any, key: Any) -> Any:
            return decoding.begin(decoder, policy(params, draw, sigma), prompts, rows, key, jnp.float32(1.0), sampling)

        def step(params: Any, draw: Any, sigma: Any, state: Any, key: Any) -> Any:
            stop = jnp.int32(self._answer)
            return decoding.advance(decoder, policy(params, draw, sigma), state, key, jnp.float32(1.0), sampling, stop)

        state = jax.eval_shape(begin, params, draw, one, self._prompts(problems), rows, key)
        ins = None
        if self._place.mesh is not None:
            whole = self._place.whole()
            ins = (sharding.shardings(decoder, self._place.mesh), whole, whole, None, whole)
        given = params, draw, one, state, key
        found = self._compiler.compile(
            "a decoding step", step, given, ins, fields=names.LOWERS_ROLLOUT, donate_argnums=3
        )
        return found, counts.count(found.text).entry()

    def update(self) -> tuple[Compiled, Phases]:
        """One gradient step on a mini-batch, weights and moments given up to the next ones."""
        place, algorithm = self._place, self._config.algorithm
        problems = self._config.rollout.prompts // algorithm.mini_batches
        grid = (self._config.rollout.samples, problems)
        number, log_probs = _Shape(grid, jnp.float32), _Shape((*grid, self._answer), jnp.float32)
        tokens, lengths = _Shape((*grid, self._answer), jnp.int32), _Shape(grid, jnp.int32)
        member, sigma = _Shape(grid[:1], jnp.int32), _Shape(grid[:1], jnp.float32)
        answers = Answers(tokens, log_probs, lengths, _Shape(grid, jnp.bool), member, sigma)
        old = log_probs if algorithm.epochs * algorithm.mini_batches > 1 else None
        reference = log_probs if algorithm.kl_coefficient else None
        batch = learner.Batch(self._prompts(problems), answers, number, old, reference)
        moments = jax.eval_shape(self._learner.optimiser.init, self._params)
        ins = outs = None
        if place.mesh is not None:
            wide, whole, weights = place.answers(), place.whole(), place.weights(self._decoder)
            held = place.moments(self._learner.optimiser, moments, weights)
            spread = learner.Batch(place.rows(), Answers(wide, wide, wide, wide, whole, whole), wide, wide, wide)
            ins, outs = (weights, held, spread), (weights, held, whole)
        given = self._params, moments, batch
        found = self._compiler.compile(
            "an update", self._learner.update, given, ins, outs, names.LOWERS_ROLLOUT, donate_argnums=(0, 1)
        )
        return found, counts.count(found.text).entry()

    def _prompts(self, problems: int) -> Prompts:
        return Prompts(_Shape((problems, self._prompt), jnp.int32), _Shape((problems,), jnp.int32))


def arms(config: RlvrConfig, structures: Sequence[str]) -> dict[str, RlvrConfig]:
    """What is compiled: without noise, as asked for, and its structures."""
    found = {CLEAN: replace(config, noise=NoNoise())}
    if isinstance(config.noise, Psn):
        found[spec_of(config.noise)] = config
    asked = config.noise if isinstance(config.noise, Psn) else Psn()
    for name in structures:
        found[name] = replace(config, noise=override(asked, {"structure": name}))
    return found


def compile_all(compiler: Compiler, job: RlvrJob, structures: Sequence[str]) -> None:
    """Rows of everything; an update is the clean policy's, whatever the noise."""
    for name, config in arms(job.rlvr, structures).items():
        made = Programs(compiler, config)
        compiler.add("decoding step", name, *made.decoding())
        if name == CLEAN:
            compiler.add("update", name, *made.update())
