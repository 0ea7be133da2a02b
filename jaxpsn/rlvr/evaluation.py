"""Judging a policy: many answers to each of a fixed list of problems, and how many of them are right."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxpsn.lm import policies, sampler, tokenizer
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.rlvr.config import EvaluationConfig
from jaxpsn.rlvr.perturbation import Perturbation
from jaxpsn.rlvr.placement import Placement

NOISE = 0x4A554447


class Found(NamedTuple):
    """What a policy answered to one problem."""

    problem: Any
    samples: int
    correct: int
    distinct: int | None
    """Different correct solutions, None where the task cannot tell."""


class Judge:
    """Judges policies on ``problems``; every answer is a function of (key, sample, problem) alone."""

    def __init__(
        self,
        decoder: DecoderConfig,
        words: Any,
        task: Any,
        grade: Callable[[Sequence[Any], Sequence[str]], Sequence[float]],
        config: EvaluationConfig,
        max_prompt: int,
        max_tokens: int,
        place: Placement,
    ):
        self._decoder, self._words, self._task, self._grade = decoder, words, task, grade
        self._config, self._max_prompt = config, max_prompt
        self._sampling = sampler.Sampling(
            max_tokens, tuple(words.ends), words.pad, top_p=config.top_p, top_k=config.top_k, vocab=words.vocab_size
        )
        self._parts, whole = place.parts, place.whole()
        ins = (place.weights(decoder), place.rows(), place.answers(), whole)
        self._sample = place.jit(self._clean, ins, whole, static_argnums=4)
        self._sample_noisy = place.jit(self._noisy, (*ins, whole), whole, static_argnums=(5, 6))

    def _clean(self, params: Any, prompts: Any, rows: Any, key: PRNGKeyArray, count: int) -> Any:
        policy = policies.Clean(params, count)
        return self._drawn(policy, prompts, rows, key)

    def _noisy(
        self, params: Any, prompts: Any, rows: Any, key: PRNGKeyArray, sigma: Any, count: int, noise: Any
    ) -> Any:
        # A perturbation for every answer, redrawn for every call, as the rows of a call begin with another sample.
        each = noise._replace(members=count, answers=1)
        draw = each.draw(jax.random.fold_in(key, NOISE), rows[0, 0])
        return self._drawn(each.policy(params, draw, sigma), prompts, rows, key)

    def _drawn(self, policy: Any, prompts: Any, rows: Any, key: PRNGKeyArray) -> Any:
        temperature = jnp.float32(self._config.temperature)
        samples = sampler.sample(self._decoder, policy, prompts, rows, key, temperature, self._sampling)
        return samples.tokens, samples.lengths

    def judge(
        self,
        params: Any,
        problems: Sequence[Any],
        samples: int,
        key: PRNGKeyArray,
        noise: Perturbation | None = None,
        sigma: Any = None,
        told: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Found]:
        """``samples`` answers to each problem, in calls of at most ``config.rows`` rows; ``told(done, total)`` answers.

        With ``noise`` and ``sigma`` every answer comes from a perturbation of its own.
        """
        texts: list[list[str]] = [[] for _ in problems]
        block = -(-min(len(problems), self._config.rows) // self._parts) * self._parts
        count = max(1, min(samples, self._config.rows // block))
        for begin in range(0, len(problems), block):
            part = list(problems[begin : begin + block])
            for first in range(0, samples, count):
                found = self._call(
                    params, part, begin, block, first, min(count, samples - first), count, key, noise, sigma
                )
                for place, answers in enumerate(found):
                    texts[begin + place] += answers
                told(sum(map(len, texts)), len(problems) * samples)
        return [self._counted(problem, answers) for problem, answers in zip(problems, texts, strict=True)]

    def _call(self, params, part, begin, block, first, wanted, count, key, noise, sigma) -> list[list[str]]:
        """Answers ``first`` to ``first + wanted`` of one block of problems, filled up with idle rows."""
        filled = part + part[:1] * (block - len(part))
        ids = [self._words.prompt(problem.prompt) for problem in filled]
        prompts = tokenizer.pack(ids, length=self._max_prompt)
        places = np.arange(block, dtype=np.int32)
        rows = (first + np.arange(count, dtype=np.int32))[:, None] * np.int32(1 << 16) + begin + places[None, :]
        idle = (places[None, :] >= len(part)) | (np.arange(count)[:, None] >= wanted)
        rows = np.where(idle, -1, rows).astype(np.int32)
        if noise is None:
            tokens, lengths = self._sample(params, prompts, rows, key, count)
        else:
            tokens, lengths = self._sample_noisy(params, prompts, rows, key, sigma, count, noise)
        tokens, lengths = np.asarray(tokens), np.asarray(lengths)
        return [
            [self._words.decode(tokens[m, r, : lengths[m, r]].tolist()) for m in range(wanted)]
            for r in range(len(part))
        ]

    def _counted(self, problem: Any, answers: Sequence[str]) -> Found:
        right = [
            text for text, grade in zip(answers, self._grade([problem] * len(answers), answers), strict=True) if grade
        ]
        keys = {self._task.canonical(problem, text) for text in right} - {None}
        return Found(problem, len(answers), len(right), len(keys) if keys or not right else None)
