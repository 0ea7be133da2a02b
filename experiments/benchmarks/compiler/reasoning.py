"""The programs of a reasoning run, from shapes alone: a decoding step, a whole rollout, and an update."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.compile_options import DECODING, ROLLOUT, UPDATE, Compile
from benchmarks.compiler import counts
from benchmarks.compiler.compiling import Compiled, Compiler, bytes_of
from benchmarks.compiler.counts import Phases
from benchmarks.shapes import SHAPES, Words
from jaxpsn.core import override, spec_of
from jaxpsn.lm import decoding, policies, sharding
from jaxpsn.lm.prompts import Prompts
from jaxpsn.noise import Posterior
from jaxpsn.rlvr import gathering, learner, lengths, names, rollout, setup, sizes
from jaxpsn.rlvr.base import Base
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.exploration.noises import NoNoise, Psn
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.program import perturbations
from jaxpsn.rlvr.rollout import Answers

CLEAN = "none"
_Shape = jax.ShapeDtypeStruct


class Programs:
    """One arm's programs as shapes; ``shape``: the decoder's name where it is none of the config."""

    def __init__(self, compiler: Compiler, config: RlvrConfig, shape: str | None = None):
        self._compiler, self._config = compiler, config
        self._place = Placement(config.mesh, compiler.devices)
        self._place.check("rollout.prompts / algorithm.mini_batches", self._share)
        task = None if config.data is not None else config.task
        if shape is None:
            form = setup.outline(config, task)
            self._prompt, self._answer = setup.limits(config, form, task, task is not None)
        else:
            form = Base(SHAPES[shape], None, Words(SHAPES[shape].vocab_size), None)
            self._prompt, self._answer = config.rollout.max_prompt, config.rollout.max_tokens
            lengths.check(form.decoder.max_positions, self._prompt, self._answer)
        self._decoder, self._words = self._place.decoder(form.decoder), form.words
        self._params = sizes.weights(self._decoder)
        self._noise, self._probe_noise = perturbations(config, self._decoder, self._params)
        self._learner = learner.make(
            config, self._decoder, self._answer, self._words.vocab_size, self._place, self._noise
        )
        self._moments = jax.eval_shape(self._learner.optimiser.init, self._params)
        # None of the arguments below: a key's shape is the same for all.
        self._key = jax.eval_shape(lambda: jax.random.key(0))

    @property
    def _acting(self) -> Any:
        """What perturbed policies are made of: the weights, with their scales where those are learnt."""
        return self._params if self._noise is None else jax.eval_shape(self._noise.weights, self._params, self._moments)

    @property
    def _parts(self) -> Any:
        return gathering.plan(self._config, self._noise, self._probe_noise)

    @property
    def _part(self) -> Any:
        """The answers of the policy that is compiled: not all of a problem's, if some are the clean policy's."""
        return self._parts.rest[-1]

    @property
    def _share(self) -> int:
        return self._config.rollout.prompts // self._config.algorithm.mini_batches

    @property
    def kept(self) -> dict[str, int]:
        """Bytes on a device of what a run holds all the time: the weights, those of the start, the moments."""
        place, weights = self._place, self._place.weights(self._decoder)
        held = bytes_of(self._params, weights)
        moments = bytes_of(self._moments, place.moments(self._learner.optimiser, self._moments, weights))
        return {"weights": held, "start": held, "moments": moments}

    def decoding(self) -> tuple[Compiled, Phases]:
        """One more token in every row of a block of problems, caches given up to the next ones."""
        config, decoder, noise = self._config, self._decoder, self._noise
        samples, asked = self._part.count, config.rollout
        problems = gathering.block(asked.prompts, samples, asked.rows, self._place.parts)
        members = samples if noise is None else noise.members
        rows = _Shape((members, samples * problems // members), jnp.int32)
        ends, pad, vocab = tuple(self._words.ends), self._words.pad, self._words.vocab_size
        sampling = decoding.Sampling(max_tokens=self._answer, ends=ends, pad=pad, vocab=vocab)
        params = jax.eval_shape(lambda acting: Placement().working(decoder, acting, config.dtype), self._acting)
        draw = None if noise is None else jax.eval_shape(noise.draw, self._key, _Shape((), jnp.int32))
        one = _Shape((), jnp.float32)

        def policy(params: Any, draw: Any, sigma: Any) -> Any:
            return policies.Clean(params, members) if draw is None else noise.policy(params, draw, sigma)

        def begin(params: Any, draw: Any, sigma: Any, prompts: Any, rows: Any, key: Any) -> Any:
            return decoding.begin(decoder, policy(params, draw, sigma), prompts, rows, key, jnp.float32(1.0), sampling)

        def step(params: Any, draw: Any, sigma: Any, state: Any, key: Any) -> Any:
            stop = jnp.int32(self._answer)
            return decoding.advance(decoder, policy(params, draw, sigma), state, key, jnp.float32(1.0), sampling, stop)

        state = jax.eval_shape(begin, params, draw, one, self._prompts(problems), rows, self._key)
        ins = outs = None
        if self._place.mesh is not None:
            whole, wide = self._place.whole(), self._place.answers()
            caches = self._place.sharding(None, None, "data", None, "model")
            outs = jax.tree.map(lambda leaf: wide if leaf.ndim else whole, state)
            outs = outs.replace(cache=jax.tree.map(lambda _: caches, state.cache))
            weights, acting = sharding.shardings(decoder, self._place.mesh), self._place.drawn_from(decoder, noise)
            acting = acting.replace(mean=weights) if isinstance(acting, Posterior) else weights
            ins = (acting, whole, whole, outs, whole)
        given = params, draw, one, state, self._key
        found = self._compiler.compile(
            "a decoding step", step, given, ins, outs, names.LOWERS_ROLLOUT, donate_argnums=3
        )
        return found, counts.count(found.text).loop(None)

    def rollout(self) -> tuple[Compiled, Phases]:
        """A block of answers as a step samples them: prompts read, then a token after the other, of the kept weights.

        Counted are the reading and a single token, as nobody knows how many there will be.
        """
        config, place = self._config, self._place
        part = self._part
        given = config, self._decoder, self._words, None, None, self._parts, self._prompt, self._answer, place
        gatherer = gathering.Gatherer(*given)
        problems = gathering.block(config.rollout.prompts, part.count, config.rollout.rows, place.parts)
        number = _Shape((), jnp.int32)
        shapes = (
            self._acting, self._prompts(problems), self._key, number, number, _Shape((), jnp.float32), number,
        )  # fmt: skip
        whole = place.whole()
        acting = place.drawn_from(self._decoder, self._noise)
        ins = (acting, place.rows(), *(5 * [whole])) if place.mesh is not None else None
        function = partial(gatherer.sampled, part, rollout.at_once)
        found = self._compiler.compile("a rollout", function, shapes, ins, whole, names.LOWERS_ROLLOUT)
        return found, counts.count(found.text).entry()

    def update(self) -> tuple[Compiled, Phases]:
        """One gradient step on a mini-batch, weights and moments given up to the next ones."""
        place, algorithm = self._place, self._config.algorithm
        problems = self._share
        grid = (self._config.rollout.samples, problems)
        number, log_probs = _Shape(grid, jnp.float32), _Shape((*grid, self._answer), jnp.float32)
        tokens, lengths = _Shape((*grid, self._answer), jnp.int32), _Shape(grid, jnp.int32)
        member, sigma = _Shape(grid[:1], jnp.int32), _Shape(grid[:1], jnp.float32)
        answers = Answers(tokens, log_probs, lengths, _Shape(grid, jnp.bool), member, sigma)
        old = log_probs if algorithm.epochs * algorithm.mini_batches > 1 else None
        reference = log_probs if algorithm.kl_coefficient else None
        seed = None if algorithm.estimator == "clean" else (self._key, _Shape((), jnp.int32))
        batch = learner.Batch(self._prompts(problems), answers, number, old, reference, seed)
        ins = outs = None
        if place.mesh is not None:
            wide, whole, weights = place.answers(), place.whole(), place.weights(self._decoder)
            held = place.moments(self._learner.optimiser, self._moments, weights)
            spread = learner.Batch(place.rows(), Answers(wide, wide, wide, wide, whole, whole), wide, wide, wide, whole)
            ins, outs = (weights, held, spread), (weights, held, whole)
        given = self._params, self._moments, batch
        found = self._compiler.compile(
            "an update", self._learner.update, given, ins, outs, names.LOWERS_ROLLOUT, donate_argnums=(0, 1)
        )
        return found, counts.count(found.text).entry()

    def _prompts(self, problems: int) -> Prompts:
        return Prompts(_Shape((problems, self._prompt), jnp.int32), _Shape((problems,), jnp.int32))


def arms(config: RlvrConfig, structures: Sequence[str]) -> dict[str, RlvrConfig]:
    """What is compiled: without noise, as asked for, and its structures."""
    still = replace(config.algorithm, estimator="clean")
    found = {CLEAN: replace(config, noise=NoNoise(), algorithm=still)}
    if not isinstance(config.noise, NoNoise):
        found[spec_of(config.noise)] = config
    asked = config.noise if isinstance(config.noise, Psn) else Psn()
    for name in structures:
        found[name] = replace(config, noise=override(asked, {"structure": name}))
    return found


def compile_all(compiler: Compiler, options: Compile) -> None:
    """Rows of everything; an update is the clean policy's, whatever the noise, but where it is learnt at."""
    found = arms(options.job().rlvr, options.structures)
    for name, config in found.items():
        made = Programs(compiler, config, options.shape)
        kept = made.kept
        state = sum(kept.values())
        answers = options.clean or name != CLEAN or len(found) == 1
        if DECODING in options.chosen and answers:
            compiler.add("decoding step", name, *made.decoding())
        if ROLLOUT in options.chosen and answers:
            compiler.add("rollout", name, *made.rollout(), beside=state - kept["weights"])
        if UPDATE in options.chosen and (name == CLEAN or config.algorithm.estimator != "clean"):
            compiler.add("update", name, *made.update(), beside=kept["start"], state_bytes=state)
