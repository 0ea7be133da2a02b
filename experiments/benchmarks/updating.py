"""The price of an update on answers of mixed length, and of the gradient at perturbed weights."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.answers_options import Updating
from benchmarks.tables import Table
from benchmarks.timing import compare, machine, measure
from jaxpsn.lm import model, packing
from jaxpsn.lm.config import DecoderConfig, tiny
from jaxpsn.lm.sampler import Prompts
from jaxpsn.rlvr import learner, program
from jaxpsn.rlvr.config import AlgorithmConfig, RlvrConfig, RolloutConfig
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.rollout import Answers

PROMPT = 64
"""Tokens of the longest prompt."""


def arms(options: Updating) -> dict[str, AlgorithmConfig]:
    """The updates that are compared; the first is what all are compared with."""

    def of(name: str) -> AlgorithmConfig:
        estimator, _, budget = name.partition(", ")
        asked = {} if estimator == "tis" else {"estimator": estimator, "correction": "none"}
        return AlgorithmConfig(**asked, token_budget=options.budget if budget else 0)

    return {name: of(name) for name in options.arms}


def table(options: Updating) -> Table:
    """A row for every one of :func:`arms`."""
    decoder = tiny(options.vocab, options.hidden_size, options.layers, max(1, options.hidden_size // 32))
    batch = experience(options)
    contenders, more = {}, {}
    for name, algorithm in arms(options).items():
        contenders[name], more[name] = prepared(options, decoder, algorithm, batch)
    seconds = measure(contenders, options.rounds, clock=time.process_time)
    timings = compare(list(contenders), seconds)
    return Table([timing._asdict() | more[timing.name] for timing in timings], machine() | {"clock": "processor"})


def experience(options: Updating) -> learner.Batch:
    """Random answers whose lengths are spread evenly from the shortest to the longest, in an order of no meaning."""
    drawn, shape = np.random.default_rng(0), (options.samples, options.prompts)
    spread = np.linspace(options.shortest, options.longest, options.samples * options.prompts).astype(np.int32)
    lengths = drawn.permutation(spread).reshape(shape)
    tokens = drawn.integers(0, options.vocab, (*shape, options.longest), np.int32)
    noisy = np.full(tokens.shape, -np.log(options.vocab), np.float32)
    member = np.repeat(np.arange(options.replicas, dtype=np.int32), options.samples // options.replicas)
    sigma = np.full(options.samples, 0.1, np.float32)
    answers = Answers(tokens, noisy, lengths, lengths < options.longest, member, sigma)
    asked = drawn.integers(0, options.vocab, (options.prompts, PROMPT), np.int32)
    prompts = Prompts(asked, drawn.integers(PROMPT // 2, PROMPT + 1, options.prompts).astype(np.int32))
    gained = drawn.normal(size=shape).astype(np.float32)
    return learner.Batch(prompts, answers, gained, seed=(jax.random.key(0), jnp.int32(0)))


def prepared(
    options: Updating, decoder: DecoderConfig, algorithm: AlgorithmConfig, batch: learner.Batch
) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The compiled update of ``batch``, and what it reads and holds."""
    config = RlvrConfig(
        rollout=RolloutConfig(prompts=options.prompts, samples=options.samples),
        noise=Psn(sigma="fixed(0.1)", per="replica", replicas=options.replicas),
        algorithm=algorithm,
    )
    params = model.init(decoder, jax.random.key(1), jnp.float32)
    noise, _ = program.perturbations(config, decoder, params)
    made = learner.make(config, decoder, options.longest, options.vocab, Placement(None), noise)
    opt_state = made.optimiser.init(params)
    update = jax.jit(made.update).lower(params, opt_state, batch).compile()
    held = update.memory_analysis().temp_size_in_bytes
    return partial(update, params, opt_state, batch), {"tokens": read(options, algorithm, batch), "temp_bytes": held}


def read(options: Updating, algorithm: AlgorithmConfig, batch: learner.Batch) -> int:
    """Tokens of one pass with a gradient, padding included. All at once a problem's prompt is read once, if clean."""
    answers, problems = options.samples * options.prompts, options.prompts
    if not algorithm.token_budget:
        prompts = problems if algorithm.estimator == "clean" else answers
        return prompts * PROMPT + answers * options.longest
    members = 1 if algorithm.estimator == "clean" else options.replicas
    whole = (batch.answers.lengths + batch.prompts.lengths[None]).reshape(members, -1)
    cut = packing.plan(algorithm.token_budget, members, whole.shape[1], PROMPT + options.longest)
    return sum(members * width * rows for width, rows in cut.pieces(whole))
