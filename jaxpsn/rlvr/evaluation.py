"""Judging a policy: many answers to each of a fixed list of problems, and how many of them are right."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, PRNGKeyArray

from jaxpsn.lm import policies, sampler, tokenizer
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.noise import Dense
from jaxpsn.rlvr import rollout
from jaxpsn.rlvr.config import EvaluationConfig
from jaxpsn.rlvr.exploration.perturbation import Perturbation
from jaxpsn.rlvr.placement import Placement

NOISE = 0x4A554447
"""Folded into the key of an evaluation for the perturbations of the policy that is judged."""
HELD, MOST = 1 << 30, 1024
"""Bytes that answers side by side may hold, and how many there are at most, where nothing else is asked for."""
ROW = 1 << 16
"""Row ids of one sample number and the next differ by this: there are fewer problems."""


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
        dtype: str = "float32",
        segment: int = 0,
    ):
        """``dtype`` of the passes; ``segment``: tokens between compactions, in which ended answers leave (0: never)."""
        self._decoder, self._words, self._task, self._grade = place.decoder(decoder), words, task, grade
        self._config, self._max_prompt, self._place = config, max_prompt, place
        self._side_by_side = rows(config.rows, decoder, max_prompt + max_tokens, dtype)
        self._dtype, self._segment = dtype, segment
        self._sampling = sampler.Sampling(
            max_tokens, tuple(words.ends), words.pad, top_p=config.top_p, top_k=config.top_k, vocab=words.vocab_size
        )
        whole = place.whole()
        ins = (place.weights(decoder), place.rows(), place.answers(), whole)
        if segment:
            self._draw = rollout.in_segments(segment, self._side_by_side)
            self._sample, self._sample_noisy = self._clean, self._noisy
            return
        self._draw = rollout.at_once
        self._sample = place.jit(self._clean, ins, whole)
        # What perturbed policies are made of lies where it is: scales that are learnt come with the weights.
        self._sample_noisy = place.jit(self._noisy, (None, *ins[1:], whole), whole, static_argnums=5)

    def _clean(self, params: Any, prompts: Any, rows: Any, key: PRNGKeyArray) -> Any:
        params = self._place.working(self._decoder, params, self._dtype)
        return self._drawn(policies.Clean(params, rows.shape[0]), prompts, rows, key)

    def _noisy(self, params: Any, prompts: Any, rows: Any, key: PRNGKeyArray, sigma: Any, noise: Perturbation) -> Any:
        params = self._place.working(self._decoder, params, self._dtype)
        each, draw = noise.some(jax.random.fold_in(key, NOISE), jnp.asarray(rows)[:, 0] // ROW)
        return self._drawn(each.policy(params, draw, sigma), prompts, rows, key)

    def _drawn(self, policy: Any, prompts: Any, rows: Any, key: PRNGKeyArray) -> Any:
        temperature = jnp.float32(self._config.temperature)
        samples = self._draw(self._decoder, policy, prompts, rows, key, temperature, self._sampling)
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
        """``samples`` answers to each problem, in calls of at most ``evaluation.rows``; ``told(done, total)`` answers.

        ``params`` are those that are kept (float32). With ``noise`` and ``sigma`` sample s of every problem comes from
        the perturbation s of the key, whatever the calls.
        """
        texts = self._answers(params, problems, samples, key, noise, sigma, told)
        return [self._counted(problem, answers) for problem, answers in zip(problems, texts, strict=True)]

    def right(
        self,
        params: Any,
        problems: Sequence[Any],
        samples: int,
        key: PRNGKeyArray,
        noise: Perturbation | None = None,
        sigma: Any = None,
        told: Callable[[int, int], None] = lambda done, total: None,
    ) -> Bool[np.ndarray, "samples problems"]:
        """Which of the answers that :meth:`judge` counts are right."""
        texts = self._answers(params, problems, samples, key, noise, sigma, told)
        pairs = zip(problems, texts, strict=True)
        return np.array([np.asarray(self._grade([problem] * samples, own)) != 0 for problem, own in pairs]).T

    def _answers(self, params, problems, samples, key, noise, sigma, told) -> list[list[str]]:
        """The texts of all answers to each problem, in the order of the samples."""
        texts: list[list[str]] = [[] for _ in problems]
        key = self._place.put(key, self._place.whole())
        dense = noise is not None and isinstance(noise.kind, Dense)  # forms a copy of the weights for each sample
        block, count = shape(len(problems), 1 if dense else samples, self._side_by_side, self._place.parts)
        for begin in range(0, len(problems), block):
            part = list(problems[begin : begin + block])
            for first in range(0, samples, count):
                last = min(first + count, samples)
                rows = self._rows(first, last, count, begin, len(part), block)
                rows = rows[: last - first, : len(part)] if self._segment else rows  # there, shapes vary anyway
                for place, answers in enumerate(self._call(params, part, rows, key, noise, sigma)):
                    texts[begin + place] += answers
                told(sum(map(len, texts)), len(problems) * samples)
        return texts

    @staticmethod
    def _rows(first: int, last: int, count: int, begin: int, problems: int, block: int) -> np.ndarray:
        """Ids of the samples from ``first`` to ``last`` of a block's problems; -1 where there is none: idle rows."""
        samples, places = np.arange(first, first + count)[:, None], np.arange(block)[None, :]
        return np.where((samples < last) & (places < problems), samples * ROW + begin + places, -1).astype(np.int32)

    def _call(self, params: Any, part: list[Any], rows: np.ndarray, key: PRNGKeyArray, noise, sigma) -> list[list[str]]:
        """The answers to each problem of one block."""
        filled = part + part[:1] * (rows.shape[1] - len(part))
        prompts = tokenizer.pack([self._words.prompt(problem.prompt) for problem in filled], length=self._max_prompt)
        placed = self._place.put((prompts, rows), (self._place.rows(), self._place.answers()))
        if noise is None:
            found = self._sample(params, *placed, key)
        else:
            found = self._sample_noisy(params, *placed, key, sigma, noise)
        tokens, lengths = jax.device_get(found)
        return [
            [self._words.decode(tokens[m, r, : lengths[m, r]].tolist()) for m in np.flatnonzero(rows[:, r] >= 0)]
            for r in range(len(part))
        ]

    def _counted(self, problem: Any, answers: Sequence[str]) -> Found:
        right = [
            text for text, grade in zip(answers, self._grade([problem] * len(answers), answers), strict=True) if grade
        ]
        keys = {self._task.canonical(problem, text) for text in right} - {None}
        return Found(problem, len(answers), len(right), len(keys) if keys or not right else None)


def rows(asked: int, decoder: DecoderConfig, slots: int, dtype: str) -> int:
    """Answers side by side in texts of so many ``slots``: as ``asked``, or for 0 as many as hold :data:`HELD` bytes.

    Each holds the keys and values of its text, and some float32 copies of its next logits.
    """
    cache = 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * slots * jnp.dtype(dtype).itemsize
    return asked or max(1, min(MOST, HELD // (cache + 16 * decoder.vocab_size)))


def shape(problems: int, samples: int, rows: int, parts: int) -> tuple[int, int]:
    """Problems and samples of a call of at most ``rows``: many samples of few problems, as a prompt is read once.

    Problems are a multiple of ``parts``, which alone may make a call larger.
    """
    count = max(1, min(samples, rows // parts))
    return min(-(-problems // parts), max(1, rows // count // parts)) * parts, count
