"""The rule for sigma that a config asks for, and the signals that Variant II reads off its probes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn.lm.sampler import Prompts
from jaxpsn.rlvr import sigma, similarity
from jaxpsn.rlvr.config import RlvrConfig, SigmaConfig
from jaxpsn.rlvr.learner import Learner
from jaxpsn.rlvr.rollout import Answers


def rule(config: SigmaConfig, total_steps: int, vocab: int) -> sigma.Controller:
    """The controller of a config; ``total_steps`` is the length of the run (staged), ``vocab`` bounds certainty."""
    bounds = (config.low, config.high)
    if config.rule == "staged":
        return sigma.staged(config.final, config.stages, total_steps)
    if config.rule == "kl":
        return sigma.kl(config.kl_target, config.rate, config.dead_band, bounds, config.estimator)
    if config.rule == "composite":
        return sigma.composite(
            config.indicator_target,
            config.rate,
            config.weight,
            bounds,
            config.slack,
            config.certainty,
            config.normalisation,
            span=(0.0, float(jnp.log(vocab))),
        )
    return sigma.fixed()


def _encoder(folder: Path) -> Any:
    from jaxpsn.lm import bert  # only who asks for it pays for it

    return bert.load(folder)


def signals(config: RlvrConfig, learner: Learner) -> Callable[[Any, Prompts, Answers, list[list[str]]], dict[str, Any]]:
    """Function ``(params, prompts, probes, texts) -> signals`` of Variant II."""
    encode = None if config.sigma.bert is None else _encoder(Path(config.sigma.bert))
    place = learner.place
    pool = place.jit(learner.pooled, learner.places(), place.whole())
    compare = jax.jit(similarity.pooled_cosine)

    def alike(params: Any, prompts: Prompts, probes: Answers, texts: list[list[str]]) -> Any:
        if config.sigma.similarity == "ngram":
            return similarity.ngram_cosine(texts)
        if encode is not None:
            flat = encode([text for answers in texts for text in answers])
            return compare(jnp.reshape(flat, (len(texts), -1, flat.shape[-1])))
        # The hidden states are the clean policy's, whoever wrote the answers.
        pooled = probes.pooled
        if config.sigma.probe_policy == "noisy":
            given = place.put((prompts, probes.tokens, probes.lengths), learner.places()[1:])
            pooled = jax.device_get(pool(params, *given))
        return compare(jnp.moveaxis(jnp.asarray(pooled), 0, 1))

    def read(params: Any, prompts: Prompts, probes: Answers, texts: list[list[str]]) -> dict[str, Any]:
        found = alike(params, prompts, probes, texts)
        return {"similarity": np.asarray(found), "certainty": probes.certainty, "confidence": probes.confidence}

    return read
