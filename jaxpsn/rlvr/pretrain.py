"""Supervised training of a small decoder on narrow solutions: the base that reinforcement learning starts from."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxpsn.core import compat
from jaxpsn.lm import model, policies, scoring, tokenizer
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.sampler import Prompts
from jaxpsn.rlvr.config import PretrainConfig

CHUNK = 20
"""Steps of one compiled call."""


class Lessons(NamedTuple):
    """Solved problems as arrays; the leading axis counts steps."""

    prompts: Int[np.ndarray, "steps batch prompt"]
    prompt_lengths: Int[np.ndarray, "steps batch"]
    answers: Int[np.ndarray, "steps batch answer"]
    answer_lengths: Int[np.ndarray, "steps batch"]


def lessons(task: Any, words: Any, seed: int, first: int, steps: int, batch: int) -> Lessons:
    """``steps`` batches of demonstrations, a pure function of (seed, number of the problem).

    Problems come from the split that neither training nor evaluation draws from.
    """
    problems = [task.problem(seed, index, "pretrain") for index in range(first, first + steps * batch)]
    solved = [task.demonstration(problem, random.Random(f"{seed} {problem.id}")) for problem in problems]
    prompts = tokenizer.pack([words.prompt(problem.prompt) for problem in problems], length=task.max_prompt)
    answers = np.zeros((len(solved), task.max_answer + 1), np.int32)
    lengths = np.zeros((len(solved),), np.int32)
    for row, text in enumerate(solved):
        ids = [*words.encode(text), words.ends[0]]
        answers[row, : len(ids)], lengths[row] = ids, len(ids)
    shaped = (np.asarray(leaf) for leaf in (prompts.tokens, prompts.lengths, answers, lengths))
    return Lessons(*(leaf.reshape(steps, batch, *leaf.shape[1:]) for leaf in shaped))


def loss(decoder: DecoderConfig, params: Any, batch: Lessons) -> Float[Array, ""]:
    """Mean negative log-likelihood of the answers' tokens, their end included."""
    prompts = Prompts(batch.prompts, batch.prompt_lengths)
    policy = policies.Single(params)
    scores = scoring.score(decoder, policy, prompts, batch.answers[None], batch.answer_lengths[None], jnp.float32(1.0))
    return -jnp.sum(scores.log_probs) / jnp.sum(batch.answer_lengths).astype(jnp.float32)


def run(
    config: PretrainConfig, decoder: DecoderConfig, task: Any, words: Any, told: Callable[[int, float], None]
) -> model.Params:
    """The pre-trained parameters, after ``config.steps`` rounded up to whole chunks; 0 leaves them random.

    ``told(step, loss)`` is called after every chunk.
    """
    calls = -(-config.steps // CHUNK)
    if calls == 0:
        return model.init(decoder, jax.random.key(config.seed))
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, min(50, config.steps // 4), calls * CHUNK, config.learning_rate / 10
    )
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, b2=0.98, weight_decay=0.01))
    params = model.init(decoder, jax.random.key(config.seed))

    def step(carry: tuple[Any, Any], batch: Lessons) -> tuple[tuple[Any, Any], Array]:
        params, memory = carry
        value, gradient = jax.value_and_grad(lambda params: loss(decoder, params, batch))(params)
        with compat.foreign():
            change, memory = optimiser.update(gradient, memory, params)
            return (optax.apply_updates(params, change), memory), value

    chunk = jax.jit(lambda carry, batches: jax.lax.scan(step, carry, batches), donate_argnums=0)
    carry = (params, optimiser.init(params))
    for call in range(calls):
        batches = lessons(task, words, config.seed, call * CHUNK * config.batch_size, CHUNK, config.batch_size)
        carry, values = chunk(carry, batches)
        told(min((call + 1) * CHUNK, config.steps), float(values.mean()))
    return carry[0]
