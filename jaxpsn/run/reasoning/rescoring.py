"""Log-probs of logged answers, from the weights and the noise that they were drawn with."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxpsn.lm import policies, scoring, tokenizer
from jaxpsn.lm.sampler import Prompts
from jaxpsn.noise import Posterior
from jaxpsn.rlvr import gathering, rollout, sizes
from jaxpsn.rlvr.gathering import Part
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.program import perturbations
from jaxpsn.run.reasoning import judging

TOLERANCE = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.1}
"""Nats a token by which a log-prob may differ from what was logged, by the dtype of the passes."""
COARSE = 0.01
"""The same for float32 on an accelerator, whose matrix products have fewer digits."""
_WIDTH = 16  # answers are padded to a multiple of it
_SMALL, _CHUNK = 4096, 128  # of vocabularies above the first, logits of the second number of positions at once


class Gap(NamedTuple):
    """How far the answers of a step are from what was logged, one entry for each row."""

    step: int
    found: np.ndarray
    """Log-prob of the whole answer."""
    each: np.ndarray
    """Distance from the logged one, in nats a token."""
    clean: float
    """Mean distance if the perturbed answers are scored by the clean weights; NaN if there are none."""


class Rescorer:
    """Scores the answers of whole steps; ``rows`` answers are scored side by side."""

    def __init__(self, one: judging.Candidate, seed: int, rows: int, tolerance: float | None):
        self._config, self._decoder, self._words = one.config, one.form.decoder, one.form.words
        self._key, self._rows = jax.random.key(seed), rows
        least = 0.0 if jax.default_backend() == "cpu" else COARSE
        self.tolerance = max(TOLERANCE[gathering.sampled_in(one.config)], least) if tolerance is None else tolerance
        noise, probe_noise = perturbations(one.config, self._decoder, sizes.weights(self._decoder))
        plan = gathering.plan(one.config, noise, probe_noise)
        early = [plan.probes] if plan.probes is not None and one.config.early_samples else []
        self._parts: list[Part] = [*early, *plan.rest]
        self._score = [jax.jit(partial(self._part, part)) for part in self._parts]

    def unlike(self, rows: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
        """The first row that this run cannot have written in its place, and why."""
        samples, wanted = self._config.rollout.samples, self._config.rollout.prompts
        if len(rows) != samples * wanted:
            return 0, f"the step has {len(rows)} answers, not {wanted} times {samples}"
        for part in self._parts:
            for place, row in self._of(part, rows):
                member = rollout.CLEAN
                if part.noise is not None:
                    member = part.first_member + (place % samples - part.first) // part.noise.answers
                sigma = 0.0 if part.noise is None else rows[part.first]["sigma"]
                if row["member"] != member:
                    return place, f"member is {row['member']}, this sample is of member {member}"
                if row["sigma"] != sigma:
                    return place, f"sigma is {row['sigma']:g}, that of the step is {sigma:g}"
                if row["problem"] != rows[place - place % samples]["problem"]:
                    return place, "another problem than that of its group"
                if not row["tokens"] or not all(0 <= token < self._decoder.vocab_size for token in row["tokens"]):
                    return place, "tokens that the model has not"
        return None

    def _of(self, part: Part, rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
        """The rows of a part, sample by sample, each with its place."""
        samples = self._config.rollout.samples
        numbers = range(part.first, part.first + part.count)
        return [(place, rows[place]) for number in numbers for place in range(number, len(rows), samples)]

    def gap(self, params: Any, rows: Sequence[Mapping[str, Any]]) -> Gap:
        """Score the rows of one step, problem by problem as they were logged, with the weights it began with."""
        step = rows[0]["step"]
        found, clean = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        width = -(-max(len(row["tokens"]) for row in rows) // _WIDTH) * _WIDTH
        for part, score in zip(self._parts, self._score, strict=True):
            own = self._of(part, rows)
            places = np.array([place for place, _ in own]).reshape(part.count, -1)
            sigma = jnp.float32(own[0][1]["sigma"])
            block = max(1, self._rows // part.count)
            for begin in range(0, places.shape[1], block):
                here = places[:, begin : begin + block]
                filled = np.pad(here, ((0, 0), (0, block - here.shape[1])), mode="edge") if begin else here
                both = score(params, self._key, jnp.int32(step - 1), sigma, *self._packed(rows, filled, width))
                for sums, into in zip(both, (found, clean), strict=True):
                    into[here] = np.asarray(sums)[:, : here.shape[1]]
        logged = np.array([row["log_prob"] for row in rows])
        lengths = np.array([row["length"] for row in rows])
        noisy = np.array([row["member"] != rollout.CLEAN for row in rows])
        apart = np.abs(clean - logged)[noisy] / lengths[noisy]
        return Gap(step, found, np.abs(found - logged) / lengths, float(np.mean(apart)) if noisy.any() else np.nan)

    def _packed(
        self, rows: Sequence[Mapping[str, Any]], places: np.ndarray, width: int
    ) -> tuple[Prompts, np.ndarray, np.ndarray]:
        """Prompts, tokens and lengths of the rows at ``places`` [samples, problems]."""
        prompts = tokenizer.pack([self._words.prompt(rows[place]["prompt"]) for place in places[0]])
        tokens = np.full((*places.shape, width), self._words.pad, np.int32)
        lengths = np.zeros(places.shape, np.int32)
        for index in np.ndindex(places.shape):
            ids = rows[places[index]]["tokens"]
            tokens[index][: len(ids)], lengths[index] = ids, len(ids)
        return prompts, tokens, lengths

    def _part(
        self,
        part: Part,
        params: Any,
        key: PRNGKeyArray,
        step: Array,
        sigma: Array,
        prompts: Prompts,
        tokens: Array,
        lengths: Array,
    ) -> tuple[Array, Array]:
        """Log-probs of whole answers [samples, problems]: by the policy that drew them, and by the clean one."""
        decoder, temperature = Placement(None).decoder(self._decoder), jnp.float32(self._config.rollout.temperature)
        params = Placement(None).working(decoder, params, gathering.sampled_in(self._config))
        vocab, chunk = self._words.vocab_size, 0 if decoder.vocab_size <= _SMALL else _CHUNK
        clean = policies.Clean(params.mean if isinstance(params, Posterior) else params, part.count)
        scores = scoring.score(decoder, clean, prompts, tokens, lengths, temperature, chunk=chunk, vocab=vocab)
        plain = jnp.sum(scores.log_probs, axis=-1)
        if part.noise is None:
            return plain, plain
        answers = rollout.Answers(tokens, None, lengths, None, None, None)
        draw = part.noise.draw(key, step)
        found = rollout.rescore(
            decoder, part.noise, params, draw, sigma, prompts, answers, temperature, vocab=vocab, chunk=chunk
        )
        return jnp.sum(found, axis=-1), plain
