"""Answers to a step's problems, from the clean policy and from perturbed ones, in the layout [sample, problem]."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpsn.lm import policies, sampler, scoring
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.rlvr.exploration.perturbation import Perturbation

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


def log_likelihood(answers: Answers) -> np.ndarray:
    """Log-probs [S, P] of whole answers under the policies that gave them, in nats, on the host."""
    return np.asarray(answers.log_probs).sum(axis=-1)


def _answers(samples: sampler.Samples, repeats: int, member: Array, sigma: Array) -> Answers:
    """[members, repeats * P, ...] as [members * repeats, P, ...]."""

    def split(leaf: Any) -> Any:
        members, rows = leaf.shape[:2]
        return leaf.reshape(members * repeats, rows // repeats, *leaf.shape[2:])

    names = ("tokens", "log_probs", "lengths", "ended", "certainty", "confidence", "pooled")
    parts = {name: getattr(samples, name) for name in names}
    found = {name: None if leaf is None else split(leaf) for name, leaf in parts.items()}
    return Answers(member=jnp.repeat(member, repeats), sigma=jnp.repeat(sigma, repeats), **found)


Draw = Callable[..., sampler.Samples]
"""``(decoder, policy, prompts, rows, key, temperature, sampling) -> Samples`` of row ids [members, repeats * P]."""


def at_once(
    decoder: DecoderConfig,
    policy: policies.Policy,
    prompts: sampler.Prompts,
    rows: Int[Array | np.ndarray, "members rows"],
    key: PRNGKeyArray,
    temperature: Float[Array, ""],
    sampling: sampler.Sampling,
) -> sampler.Samples:
    """All rows from the first token to the last, jittable; every member answers each prompt as often as they go in."""
    return sampler.sample(decoder, policy, _repeated(prompts, rows.shape[1]), rows, key, temperature, sampling)


def in_segments(segment: int, max_rows: int) -> Draw:
    """A :data:`Draw` on the host that lets ended rows leave the batch every ``segment`` tokens; the same numbers.

    ``max_rows``: rows decoded side by side; 0 for all.
    """

    def draw(decoder, policy, prompts, rows, key, temperature, sampling) -> sampler.Samples:
        members, problems = rows.shape[0], prompts.tokens.shape[0]
        ids = np.asarray(rows).reshape(members, -1, problems)
        engine = sampler.Sampler(decoder, sampling, max_rows or ids.size, segment)
        # The sampler's samples are [repeat, member], ours [member, repeat].
        ids = np.swapaxes(ids, 0, 1).reshape(-1, problems)
        found = engine(policy, prompts, key, float(temperature), len(ids), ids)

        def turned(leaf: Any) -> Any:
            leaf = leaf.reshape(-1, members, problems, *leaf.shape[2:])
            return np.swapaxes(leaf, 0, 1).reshape(members, -1, *leaf.shape[3:])

        return jax.tree.map(turned, found)

    return draw


def _repeated(prompts: sampler.Prompts, rows: int) -> sampler.Prompts:
    repeats = rows // prompts.tokens.shape[0]
    return jax.tree.map(lambda leaf: jnp.tile(leaf, (repeats, *(1,) * (leaf.ndim - 1))), prompts)


def of_members(members: int, prompts: sampler.Prompts, tokens: Any, lengths: Any) -> tuple[sampler.Prompts, Any, Any]:
    """Prompts, tokens and lengths of answers [members * repeats, P, ...] as ``scoring.score`` takes them by member."""
    rows = tokens.shape[0] // members * tokens.shape[1]
    return _repeated(prompts, rows), tokens.reshape(members, rows, -1), lengths.reshape(members, rows)


class Ids(NamedTuple):
    """Where a call's answers stand in the whole batch: this alone, with the key, decides their randomness."""

    first: int
    """The group's samples from here on."""
    begin: Any
    """The problems from here on."""
    problems: int
    """Of so many."""

    def rows(self, samples: int, problems: int) -> Int[Array, "{samples} {problems}"]:
        """Row ids of ``samples`` answers to each of ``problems`` problems."""
        places = jnp.asarray(self.begin, jnp.int32) + jnp.arange(problems, dtype=jnp.int32)
        numbers = jnp.arange(self.first, self.first + samples, dtype=jnp.int32)
        return numbers[:, None] * jnp.int32(self.problems) + places[None, :]


def clean(
    decoder: DecoderConfig,
    params: Any,
    prompts: sampler.Prompts,
    ids: Ids,
    count: int,
    key: PRNGKeyArray,
    temperature: Float[Array, ""],
    sampling: sampler.Sampling,
    draw: Draw = at_once,
) -> Answers:
    """``count`` answers of the clean policy to each prompt."""
    rows = ids.rows(count, prompts.tokens.shape[0])
    samples = draw(decoder, policies.Clean(params, count), prompts, rows, key, temperature, sampling)
    member, sigma = jnp.full((count,), CLEAN, jnp.int32), jnp.zeros((count,), jnp.float32)
    return _answers(samples, 1, member, sigma)


def noisy(
    decoder: DecoderConfig,
    perturbation: Perturbation,
    params: Any,
    noise: Any,
    sigma: Float[Array, ""],
    prompts: sampler.Prompts,
    ids: Ids,
    key: PRNGKeyArray,
    temperature: Float[Array, ""],
    sampling: sampler.Sampling,
    first_member: int = 0,
    draw: Draw = at_once,
) -> Answers:
    """``members * answers`` answers of the perturbed policies; member m gives samples m * answers onwards.

    ``noise`` is the perturbation's draw; ``first_member``: what the first of its members is called.
    """
    members, repeats = perturbation.members, perturbation.answers
    rows = ids.rows(members * repeats, prompts.tokens.shape[0]).reshape(members, -1)
    samples = draw(decoder, perturbation.policy(params, noise, sigma), prompts, rows, key, temperature, sampling)
    names = first_member + jnp.arange(members, dtype=jnp.int32)
    return _answers(samples, repeats, names, jnp.broadcast_to(jnp.asarray(sigma, jnp.float32), (members,)))


def beside(parts: Sequence[Answers]) -> Answers:
    """The answers to several blocks of problems, on the host, as those to all of them."""
    wide = [part.replace(member=None, sigma=None) for part in parts]
    together = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *wide)
    return together.replace(member=parts[0].member, sigma=parts[0].sigma)


def join(parts: Sequence[Answers]) -> Answers:
    """The answers of several parts, on the host, as one group; the indicators are left behind."""
    parts = [part.replace(certainty=None, confidence=None, pooled=None) for part in parts]

    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


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
    given = of_members(perturbation.members, prompts, answers.tokens, answers.lengths)
    policy = perturbation.policy(params, draw, sigma)
    scores = scoring.score(decoder, policy, *given, temperature, chunk=chunk, vocab=vocab)
    return scores.log_probs.reshape(answers.tokens.shape)
