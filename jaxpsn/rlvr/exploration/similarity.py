"""How alike the answers to one prompt are: mean pairwise cosine of their vectors, one number for each prompt.

1 means that all say the same. Vectors are counts of n-grams, hidden states of the clean policy pooled over an answer's
tokens, or embeddings of a sentence encoder (:mod:`jaxpsn.lm.bert`); or only equality counts. What cannot be measured is
NaN, which the rules of :mod:`jaxpsn.rlvr.exploration.sigma` leave out.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxpsn.core import checks

Alike = Callable[[Any, Any, Any, list[list[str]]], np.ndarray]
NOTHING = 1e-5
"""Vectors shorter than this share of the typical one, after centring, are rounding errors."""


def pooled_cosine(
    pooled: Float[Array, "P n d"], valid: Bool[Array, "P n"] | None = None, centre: bool = True
) -> Float[Array, " P"]:
    """Mean pairwise cosine of the n answers to each of P prompts.

    ``valid`` marks answers that have tokens; others are left out, and a prompt with fewer than two is NaN.

    Hidden states share a large common component: uncentred cosines are all near 1. ``centre`` subtracts the mean over
    *all* prompts' answers, so that 1 still means equal, and 0 means as different as answers to unrelated prompts.
    Centring each prompt on its own would say nothing: n centred vectors have a mean cosine of about -1/(n - 1),
    exactly -1 for two, whatever they are. For the same reason a single prompt is never centred.
    """
    valid = jnp.ones(pooled.shape[:2], bool) if valid is None else valid
    here = valid[..., None].astype(jnp.float32)
    vectors = jnp.where(valid[..., None], pooled.astype(jnp.float32), 0.0)
    count = jnp.maximum(jnp.sum(here), 1.0)
    typical = jnp.sqrt(jnp.sum(jnp.square(vectors)) / count)
    if centre and pooled.shape[0] > 1:
        vectors = (vectors - jnp.sum(vectors, axis=(0, 1), keepdims=True) / count) * here
    length = jnp.sqrt(jnp.sum(jnp.square(vectors), axis=-1, keepdims=True))
    central = length <= NOTHING * typical
    # Vectors at the centre have no direction of their own: they get one in common, so that equal answers count as such.
    unit = jnp.where(central, 0.0, vectors / jnp.where(central, 1.0, length))
    unit = jnp.concatenate([unit, central.astype(jnp.float32)], axis=-1) * here
    number = jnp.sum(here[..., 0], axis=1)
    # The sum over pairs i != j of u_i . u_j is |sum of u|^2 minus the number of unit vectors.
    pairs = jnp.sum(jnp.square(jnp.sum(unit, axis=1)), axis=-1) - number
    return jnp.where(number >= 2.0, pairs / jnp.maximum(number * (number - 1.0), 1.0), jnp.nan)


def ngram_cosine(
    texts: Sequence[Sequence[str]], n: int = 3, unit: str = "character", buckets: int = 4096
) -> Float[np.ndarray, " P"]:
    """Mean pairwise cosine of hashed n-gram counts of the answers to each prompt, in [0, 1]; float32, on the host.

    N-grams of characters, or of words (``unit="word"``), with marks of the beginning and the end; counted in
    ``buckets`` by a hash that is the same in every process. Empty answers are left out; a prompt with fewer than two
    others is NaN. Prompts may have different numbers of answers.
    """
    checks.whole("n", n, 1, 16)
    checks.whole("buckets", buckets, 2)
    checks.choice("unit", unit, ("character", "word"))
    return np.array([_mean_cosine([_counts(t, n, unit, buckets) for t in answers if t]) for answers in texts], "f4")


def equal_pairs(texts: Sequence[Sequence[str]]) -> Float[np.ndarray, " P"]:
    """Share of the pairs of answers to each prompt that are the same text, in [0, 1]; float32, on the host.

    0 means that all answers are distinct. Empty answers are left out; a prompt with fewer than two others is NaN.
    """
    return np.array([_equal([text for text in answers if text]) for answers in texts], "f4")


def _equal(answers: list[str]) -> float:
    count = len(answers)
    if count < 2:
        return np.nan
    return sum(same * (same - 1) for same in Counter(answers).values()) / (count * (count - 1))


def _mean_cosine(counts: list[np.ndarray]) -> float:
    if len(counts) < 2:
        return np.nan
    unit = np.stack([count / np.linalg.norm(count) for count in counts])
    return (np.square(unit.sum(axis=0)).sum() - len(unit)) / (len(unit) * (len(unit) - 1))


def _counts(text: str, n: int, unit: str, buckets: int) -> np.ndarray:
    """Counts of n-grams by bucket; at least one, as marks stand at both ends."""
    if unit == "word":
        codes = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in text.split()], np.uint64)
    else:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64) + np.uint64(1)
    marks = np.zeros(n - 1, np.uint64)
    codes = np.concatenate([marks, codes, marks]) if n > 1 else codes
    if not len(codes):
        codes = np.zeros(n, np.uint64)  # words of a text of spaces
    grams = np.lib.stride_tricks.sliding_window_view(codes, n)
    # One multiply and one shift for each unit of the n-gram; wrapping around 2^64 is meant.
    odd = np.uint64(0x9E3779B97F4A7C15)
    hashed = np.zeros(len(grams), np.uint64)
    for place in range(n):
        hashed = (hashed ^ grams[:, place]) * odd
        hashed ^= hashed >> np.uint64(29)
    return np.bincount((hashed % np.uint64(buckets)).astype(np.int64), minlength=buckets).astype(np.float64)


def measure(kind: str, learner: Any, centre: bool = True, encode: Any = None) -> Alike:
    """``(params, prompts, answers, texts) -> [P]``: the likeness of that name of the answers to each of P problems.

    ``learner``: a ``rlvr.learner.Learner``; ``encode`` (``lm.bert.load``) serves bert; ``params``: the clean policy.
    """
    if kind == "ngram":
        return lambda params, prompts, answers, texts: ngram_cosine(texts)
    if kind == "equal":
        return lambda params, prompts, answers, texts: equal_pairs(texts)
    compare = jax.jit(lambda vectors: pooled_cosine(vectors, centre=centre))
    if kind == "bert":

        def by_encoder(params: Any, prompts: Any, answers: Any, texts: list[list[str]]) -> np.ndarray:
            flat = encode([text for row in texts for text in row])
            return np.asarray(compare(jnp.reshape(flat, (len(texts), -1, flat.shape[-1]))))

        return by_encoder
    place = learner.place
    pool = place.jit(learner.pooled, learner.places(), place.whole())

    def by_states(params: Any, prompts: Any, answers: Any, texts: list[list[str]]) -> np.ndarray:
        # The hidden states are the clean policy's, whoever wrote the answers.
        pooled = answers.pooled
        if np.any(answers.sigma):
            given = place.put((prompts, answers.tokens, answers.lengths), learner.places()[1:])
            pooled = jax.device_get(pool(params, *given))
        return np.asarray(compare(jnp.moveaxis(jnp.asarray(pooled), 0, 1)))

    return by_states
