"""Answers to a step's problems, from the clean policy and from perturbed ones, in the layout [sample, problem]."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.lm import policies, sampler, scoring
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.rlvr.perturbation import Perturbation

CLEAN = -1
"""The member of an answer that the clean policy gave."""


@struct.dataclass
class Answers:
    """Sampled answers: S of them to each of P problems, T tokens at most."""

    tokens: Any  # [S, P, T] int32, filler after the end
    log_probs: Any  # [S, P, T] float32, under the policy that sampled
    lengths: Any  # [S, P] int32, the end token included
    ended: Any  # [S, P] bool, False where the limit was hit
    member: Any  # [S] int32: which perturbation, CLEAN for none
    sigma: Any  # [S] float32, its scale
    certainty: Any = None  # [S, P] float32, mean KL(U || p) of a token; None unless asked for
    confidence: Any = None  # [S, P] float32, mean KL(p || U) likewise
    pooled: Any = None  # [S, P, d] mean hidden state of the answer likewise


def _answers(samples: sampler.Samples, repeats: int, member: Array, sigma: Array) -> Answers:
    """[members, repeats * P, ...] as [members * repeats, P, ...]."""

    def split(leaf: Array) -> Array:
        members, rows = leaf.shape[:2]
        return leaf.reshape(members * repeats, rows // repeats, *leaf.shape[2:])

    names = ("tokens", "log_probs", "lengths", "ended", "certainty", "confidence", "pooled")
    parts = {name: getattr(samples, name) for name in names}
    found = {name: None if leaf is None else split(leaf) for name, leaf in parts.items()}
    return Answers(member=jnp.repeat(member, repeats), sigma=jnp.repeat(sigma, repeats), **found)


def clean(
    decoder: DecoderConfig,
    params: Any,
    prompts: sampler.Prompts,
    first: int,
    count: int,
    key: PRNGKeyArray,
    temperature: Float[Array, ""],
    sampling: sampler.Sampling,
) -> Answers:
    """``count`` answers of the clean policy, the group's samples ``first`` to ``first + count``."""
    rows = _rows(first, count, prompts.tokens.shape[0])
    policy = policies.Clean(params, count)
    samples = sampler.sample(decoder, policy, prompts, rows, key, temperature, sampling)
    member, sigma = jnp.full((count,), CLEAN, jnp.int32), jnp.zeros((count,), jnp.float32)
    return _answers(samples, 1, member, sigma)


def noisy(
    decoder: DecoderConfig,
    perturbation: Perturbation,
    params: Any,
    draw: Any,
    sigma: Float[Array, ""],
    prompts: sampler.Prompts,
    first: int,
    key: PRNGKeyArray,
    temperature: Float[Array, ""],
    sampling: sampler.Sampling,
    first_member: int = 0,
) -> Answers:
    """``members * answers`` answers of the perturbed policies; member m gives samples m * answers onwards.

    ``first_member``: what the first of them is called.
    """
    members, repeats = perturbation.members, perturbation.answers
    rows = _rows(first, members * repeats, prompts.tokens.shape[0]).reshape(members, -1)
    wide = jax.tree.map(lambda leaf: jnp.tile(leaf, (repeats, *(1,) * (leaf.ndim - 1))), prompts)
    policy = perturbation.policy(params, draw, sigma)
    samples = sampler.sample(decoder, policy, wide, rows, key, temperature, sampling)
    names = first_member + jnp.arange(members, dtype=jnp.int32)
    return _answers(samples, repeats, names, jnp.broadcast_to(jnp.asarray(sigma, jnp.float32), (members,)))


def _rows(first: int, count: int, problems: int) -> Array:
    """Ids of the samples of each problem, [count, P]: they alone decide a row's randomness."""
    samples = jnp.arange(first, first + count, dtype=jnp.int32)[:, None]
    return samples * jnp.int32(problems) + jnp.arange(problems, dtype=jnp.int32)[None, :]


def join(parts: Sequence[Answers]) -> Answers:
    """The answers of several parts, on the host, as one group; the indicators are left behind."""
    parts = [part.replace(certainty=None, confidence=None, pooled=None) for part in parts]

    def together(*leaves: Any) -> Any:
        return None if leaves[0] is None else np.concatenate(leaves)

    return jax.tree.map(together, *parts, is_leaf=lambda leaf: leaf is None)


def rescore(
    decoder: DecoderConfig,
    perturbation: Perturbation,
    params: Any,
    draw: Any,
    sigma: Float[Array, ""],
    prompts: sampler.Prompts,
    answers: Answers,
    temperature: Float[Array, ""],
    vocab: int | None = None,
    chunk: int = 0,
) -> Float[Array, "samples problems tokens"]:
    """The perturbed policies' log-probs of ``answers`` in the layout of :func:`noisy`, whoever sampled them.

    With the draw of the step that sampled them these are the sampler's own, to rounding. ``vocab`` and ``chunk`` are
    those of ``scoring.score``: real entries of a padded vocabulary, and positions whose logits exist at once.
    """
    members, repeats = perturbation.members, perturbation.answers
    samples, problems, width = answers.tokens.shape
    wide = jax.tree.map(lambda leaf: jnp.tile(leaf, (repeats, *(1,) * (leaf.ndim - 1))), prompts)
    tokens = answers.tokens.reshape(members, repeats * problems, width)
    lengths = answers.lengths.reshape(members, repeats * problems)
    policy = perturbation.policy(params, draw, sigma)
    scores = scoring.score(decoder, policy, wide, tokens, lengths, temperature, chunk=chunk, vocab=vocab)
    return scores.log_probs.reshape(samples, problems, width)
