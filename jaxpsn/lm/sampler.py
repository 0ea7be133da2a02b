"""Sampling completions: one compiled call, and a host-side sampler for hundreds of samples a prompt."""

from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Int, PRNGKeyArray

from jaxpsn.errors import refuse
from jaxpsn.lm import decoding
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.decoding import Sampling as Sampling
from jaxpsn.lm.policies import Policy
from jaxpsn.lm.prompts import Prompts as Prompts


@struct.dataclass
class Samples:
    """Completions of M members to R prompts, and what was known of each token when it was drawn.

    The first ``lengths`` tokens of a row are its completion, the end token included; what follows is filler (zero in
    the float arrays). The last three are None unless ``Sampling.indicators``.
    """

    tokens: Any  # i32[M, R, T]
    log_probs: Any  # f32[M, R, T]: under the distribution drawn from (temperature, top-p, top-k, renormalised)
    lengths: Any  # i32[M, R]
    ended: Any  # bool[M, R]: false where max_tokens cut it
    entropy: Any  # f32[M, R, T]: of that distribution, nats
    certainty: Any  # f32[M, R]: mean KL(U || p) over the row's tokens, before top-p and top-k
    confidence: Any  # f32[M, R]: mean KL(p || U) = log V - H, likewise
    pooled: Any  # f32[M, R, hidden]: mean final hidden state of the generated tokens


def _samples(state: decoding.State) -> Samples:
    """What a finished state holds."""
    certainty = confidence = pooled = None
    if state.sums is not None:
        count = jnp.maximum(state.lengths, 1).astype(jnp.float32)
        certainty, confidence = state.sums.certainty / count, state.sums.confidence / count
        pooled = state.sums.pooled / count[..., None]
    return Samples(
        state.tokens, state.log_probs, state.lengths, ~state.open, state.entropy, certainty, confidence, pooled
    )


def sample(
    config: DecoderConfig,
    policy: Policy,
    prompts: Prompts,
    rows: Int[Array, "members prompts"],
    key: PRNGKeyArray,
    temperature: Any,
    sampling: Sampling,
) -> Samples:
    """Every member's completion of every prompt; jittable with ``config`` and ``sampling`` static.

    ``rows`` are global row ids: token t of row i is drawn with ``fold_in(fold_in(key, i), t)``, so the tokens do not
    depend on how rows are laid out or cut into calls. ``temperature`` is a traced scalar; at 0 the most likely token
    is taken, and ``log_probs`` and ``entropy`` are those at temperature 1. Decoding stops when all rows have ended.
    """
    decoding.check(config, sampling)
    if rows.shape != (policy.members, prompts.tokens.shape[0]):
        refuse("rows", rows.shape, f"[{policy.members} members, {prompts.tokens.shape[0]} prompts]")
    temperature = jnp.asarray(temperature, jnp.float32)
    rows = jnp.asarray(rows, jnp.int32)
    state = decoding.begin(config, policy, prompts, rows, key, temperature, sampling)
    stop = jnp.int32(sampling.max_tokens)
    return _samples(decoding.advance(config, policy, state, key, temperature, sampling, stop))
