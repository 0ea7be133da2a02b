"""The rule for sigma that a config asks for, and the signals that Variant II reads off its probes.

What feeds the indicator: how alike the answers to a problem are (by default character trigrams of their text, which
is no sentence encoder; that takes a folder, ``sigma.bert``), and the self-certainty of the policy that gave them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn.lm.sampler import Prompts
from jaxpsn.rlvr import sigma, similarity
from jaxpsn.rlvr.config import RlvrConfig, SigmaConfig
from jaxpsn.rlvr.learner import Learner
from jaxpsn.rlvr.rollout import Answers


class Probes(NamedTuple):
    """Probe answers to a step's problems, and those of the clean policy to the same ones if they are compared."""

    prompts: Prompts
    answers: Answers
    texts: list[list[str]]  # [problem][sample]
    clean: Answers | None = None
    """With the random numbers of ``answers``: what differs between the two is the noise on the weights."""
    clean_texts: list[list[str]] | None = None


def rule(config: SigmaConfig, total_steps: int, vocab: int) -> sigma.Controller:
    """The controller of a config; ``total_steps`` is the length of the run (staged), ``vocab`` bounds certainty."""
    bounds = (config.low, config.high)
    if config.rule == "staged":
        return sigma.staged(config.final, config.stages, total_steps)
    if config.rule == "kl":
        return sigma.kl(config.kl_target, config.rate, config.dead_band, bounds, config.estimator)
    if config.rule == "composite":
        return sigma.composite(
            config.indicator_drop if config.relative else config.indicator_target,
            config.rate,
            config.weight,
            bounds,
            config.slack,
            config.certainty,
            config.normalisation,
            span=(0.0, float(jnp.log(vocab))),
            relative=config.relative,
            gain=config.gain,
        )
    return sigma.fixed()


Alike = Callable[[Any, Prompts, Answers, list[list[str]]], np.ndarray]
"""``(params, prompts, answers, texts) -> [P]``: how alike the answers to each problem are."""


def likeness(kind: str, learner: Learner, centre: bool = True, encode: Any = None) -> Alike:
    """The measure of that name; ``encode`` (``lm.bert.load``) serves bert. ``params`` are the clean policy's."""
    if kind == "ngram":
        return lambda params, prompts, answers, texts: similarity.ngram_cosine(texts)
    if kind == "equal":
        return lambda params, prompts, answers, texts: similarity.equal_pairs(texts)
    compare = jax.jit(lambda vectors: similarity.pooled_cosine(vectors, centre=centre))
    if kind == "bert":

        def by_encoder(params: Any, prompts: Prompts, answers: Answers, texts: list[list[str]]) -> np.ndarray:
            flat = encode([text for row in texts for text in row])
            return np.asarray(compare(jnp.reshape(flat, (len(texts), -1, flat.shape[-1]))))

        return by_encoder
    place = learner.place
    pool = place.jit(learner.pooled, learner.places(), place.whole())

    def by_states(params: Any, prompts: Prompts, answers: Answers, texts: list[list[str]]) -> np.ndarray:
        # The hidden states are the clean policy's, whoever wrote the answers.
        pooled = answers.pooled
        if np.any(answers.sigma):
            given = place.put((prompts, answers.tokens, answers.lengths), learner.places()[1:])
            pooled = jax.device_get(pool(params, *given))
        return np.asarray(compare(jnp.moveaxis(jnp.asarray(pooled), 0, 1)))

    return by_states


def _encoder(folder: str | None) -> Any:
    if folder is None:
        return None
    from jaxpsn.lm import bert  # only who asks for it pays for it

    return bert.load(Path(folder))


def signals(config: RlvrConfig, learner: Learner) -> Callable[[Any, Probes], dict[str, Any]]:
    """Function ``(params, probes) -> signals`` of Variant II; with an encoder also ``probes_cut``, a share."""
    asked = config.sigma
    encode = _encoder(asked.bert)
    alike = likeness(asked.similarity, learner, asked.centre, encode)

    def of(params: Any, prompts: Prompts, answers: Answers, texts: list[list[str]], owner: str) -> dict[str, Any]:
        return {
            f"{owner}similarity": alike(params, prompts, answers, texts),
            f"{owner}certainty": answers.certainty,
            f"{owner}confidence": answers.confidence,
        }

    def read(params: Any, probes: Probes) -> dict[str, Any]:
        before = None if encode is None else (encode.cut, encode.read)
        found = of(params, probes.prompts, probes.answers, probes.texts, "")
        if probes.clean is not None:
            found |= of(params, probes.prompts, probes.clean, probes.clean_texts, "clean_")
        if encode is not None:
            found["probes_cut"] = np.float32((encode.cut - before[0]) / max(encode.read - before[1], 1))
        return found

    return read
