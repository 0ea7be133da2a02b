"""The decode loop: prefill, then a token a pass with the cache carried in place, until every row has ended."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxpsn.core import checks
from jaxpsn.core.errors import refuse
from jaxpsn.lm import apart, distribution, model
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.policies import Policy
from jaxpsn.lm.prompts import Prompts


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn; static. The temperature is an argument of its own, traced."""

    max_tokens: int
    ends: tuple[int, ...]
    """Tokens that end a completion (each counts in its length and has a log-prob)."""
    pad: int = 0
    """Filler after the end; it may equal an end token."""
    top_p: float = 1.0
    """Nucleus; below 1 only for evaluation, as a trainer's log-probs know nothing of it."""
    top_k: int = 0
    """Most likely tokens to choose from; 0 is all. Only for evaluation."""
    indicators: bool = False
    """Whether certainty, confidence and pooled hidden states are accumulated (one more pass at the end)."""
    vocab: int | None = None
    """Real entries of a padded vocabulary; the others are never drawn nor counted."""

    def __post_init__(self) -> None:
        checks.whole("max_tokens", self.max_tokens, 1)
        checks.whole("top_k", self.top_k, 0)
        checks.real("top_p", self.top_p, 0.0, 1.0, open_low=True)
        if not isinstance(self.ends, tuple) or not all(isinstance(end, int) for end in self.ends):
            refuse("ends", self.ends, "a tuple of token ids")
        for name, ids in (("pad", (self.pad,)), ("ends", self.ends)):
            for token in ids:
                checks.whole(name, token, 0)
        if self.vocab is not None:
            checks.whole("vocab", self.vocab, 1)


@struct.dataclass
class Sums:
    """Running sums over a row's tokens, in float32."""

    certainty: Any  # f32[members, rows]
    confidence: Any  # f32[members, rows]
    pooled: Any  # f32[members, rows, hidden]
    owed: Any  # bool[members, rows]: the last token's hidden state is not in `pooled` yet


@struct.dataclass
class State:
    """Rows in the middle of being written."""

    step: Any  # i32[]: tokens drawn so far
    width: Any  # i32[]: slots of the padded prompts; token t of a completion goes to slot width + t
    rows: Any  # i32[members, rows]: global row ids
    start: Any  # i32[members, rows]: slot at which the row's prompt begins
    open: Any  # bool[members, rows]: no end token yet
    token: Any  # i32[members, rows]: the last token, not in the cache yet
    lengths: Any  # i32[members, rows]
    tokens: Any  # i32[members, rows, max_tokens]
    log_probs: Any  # f32[members, rows, max_tokens]
    entropy: Any  # f32[members, rows, max_tokens]
    cache: Any  # model.Cache, its leaves [members, layers, rows, ...]
    sums: Any  # Sums, or None without indicators


def check(config: DecoderConfig, sampling: Sampling) -> None:
    """Refuse token ids that the decoder's vocabulary does not have."""
    size = sampling.vocab if sampling.vocab is not None else config.vocab_size
    if size > config.vocab_size:
        refuse("vocab", size, f"at most the decoder's {config.vocab_size}")
    for end in sampling.ends:
        if end >= size:
            refuse("ends", end, f"a token below {size}")
    if sampling.pad >= config.vocab_size:
        refuse("pad", sampling.pad, f"a token below {config.vocab_size}")


def _prefill(
    config: DecoderConfig, policy: Policy, prompts: Prompts, slots: int, copies: int
) -> tuple[Array, model.Cache]:
    """Logits of the first tokens ``[M, copies * R, V]``, and the cache with room for ``slots``.

    Each member reads each prompt once; what it read is then copied for its completions.
    """
    count, width = prompts.tokens.shape

    def read(params, x):
        cache = model.empty_cache(config, count, slots, params["embed"]["embedding"].dtype)
        hidden, cache = model.hidden_states(config, params, x["tokens"], x["start"], cache, 0)
        return model.logits(config, params, hidden[:, -1]), cache

    tokens = jnp.asarray(prompts.tokens, jnp.int32)
    start = width - jnp.asarray(prompts.lengths, jnp.int32)
    logits, cache = policy.at(0).shared(read, {"tokens": tokens, "start": start})
    if copies == 1:
        return logits, cache
    wide = jnp.tile(logits, (1, copies, 1))
    return wide, jax.tree.map(lambda side: jnp.tile(side, (1, 1, copies) + (1,) * (side.ndim - 3)), cache)


def _step(config: DecoderConfig, policy: Policy, state: State, slot: Array) -> tuple[Array, Array, model.Cache]:
    """The last tokens through the decoder: next logits ``[M, R, V]``, their hidden states, and the cache."""
    policy = policy.at(state.step)

    def read(params, x):
        hidden, cache = model.hidden_states(config, params, x["token"][:, None], x["start"], x["cache"], slot)
        return model.logits(config, params, hidden[:, -1]), hidden[:, -1], cache

    return policy.apply(read, {"token": state.token, "start": state.start, "cache": state.cache})


def _record(
    state: State, logits: Array, keys: Key[Array, "members rows"], temperature: Array, sampling: Sampling
) -> State:
    """One more token in every open row."""
    if sampling.vocab is not None:
        logits = logits[..., : sampling.vocab]
    full = distribution.tempered(logits, temperature)
    scaled = distribution.truncated(full, sampling.top_p, sampling.top_k)
    drawn = distribution.draw(scaled, keys, state.step, temperature)
    token = jnp.where(state.open, drawn, sampling.pad)
    entropy = distribution.entropy(scaled)

    def put(array, value):
        value = jnp.where(state.open, value, jnp.zeros_like(value))
        return lax.dynamic_update_slice_in_dim(array, value[..., None], state.step, 2)

    sums = state.sums
    if sums is not None:
        here = state.open.astype(jnp.float32)
        plain = entropy if scaled is full else distribution.entropy(full)
        sums = sums.replace(
            certainty=sums.certainty + here * distribution.certainty(full),
            confidence=sums.confidence + here * (jnp.log(jnp.float32(full.shape[-1])) - plain),
            owed=sums.owed | state.open,
        )
    end = jnp.zeros_like(state.open)
    for one in sampling.ends:
        end = end | (drawn == one)
    return state.replace(
        step=state.step + 1,
        open=state.open & ~end,
        token=token,
        lengths=state.lengths + state.open.astype(jnp.int32),
        tokens=lax.dynamic_update_slice_in_dim(state.tokens, token[..., None], state.step, 2),
        log_probs=put(state.log_probs, distribution.log_prob(scaled, drawn)),
        entropy=put(state.entropy, entropy),
        sums=sums,
    )


def row_keys(key: PRNGKeyArray, rows: Int[Array, "members rows"]) -> Key[Array, "members rows"]:
    """A key per row, by its global id."""
    return jax.vmap(jax.vmap(lambda row: jax.random.fold_in(key, row)))(rows)


def begin(
    config: DecoderConfig,
    policy: Policy,
    prompts: Prompts,
    rows: Int[Array, "members rows"],
    key: PRNGKeyArray,
    temperature: Float[Array, ""],
    sampling: Sampling,
) -> State:
    """Prefill of every prompt, and the first token of every row.

    There are one or more rows for each of the R prompts: column c answers prompt ``c % R``. A row with a negative id is
    filler: never open.
    """
    shape, steps, width = rows.shape, sampling.max_tokens, prompts.width
    policy = policy.over(steps)
    copies = shape[1] // prompts.tokens.shape[0]
    logits, cache = _prefill(config, policy, prompts, width + steps, copies)
    start = jnp.tile(width - jnp.asarray(prompts.lengths, jnp.int32), copies)
    sums = None
    if sampling.indicators:
        none = jnp.zeros(shape, jnp.float32)
        sums = Sums(none, none, jnp.zeros((*shape, config.hidden_size), jnp.float32), jnp.zeros(shape, bool))
    state = State(
        step=jnp.int32(0),
        width=jnp.int32(width),
        rows=rows,
        start=jnp.broadcast_to(start[None], shape),
        open=rows >= 0,
        token=jnp.zeros(shape, jnp.int32),
        lengths=jnp.zeros(shape, jnp.int32),
        tokens=jnp.full((*shape, steps), sampling.pad, jnp.int32),
        log_probs=jnp.zeros((*shape, steps), jnp.float32),
        entropy=jnp.zeros((*shape, steps), jnp.float32),
        cache=cache,
        sums=sums,
    )
    return _record(state, logits, row_keys(key, rows), temperature, sampling)


def _pool(sums: Sums, hidden: Array, counted: Array) -> Sums:
    added = jnp.where(counted[..., None], hidden.astype(jnp.float32), 0.0)
    return sums.replace(pooled=sums.pooled + added, owed=sums.owed & ~counted)


def advance(
    config: DecoderConfig,
    policy: Policy,
    state: State,
    key: PRNGKeyArray,
    temperature: Float[Array, ""],
    sampling: Sampling,
    stop: Int[Array, ""],
) -> State:
    """Tokens until ``stop`` have been drawn, or until no row is open."""
    beside = policy.apart() if config.apart else None
    if beside is None:
        return _advance(config, policy, state, key, temperature, sampling, stop)
    state = state.replace(cache=apart.cache(state.cache))
    state = _advance(config, beside, state, key, temperature, sampling, stop)
    return state.replace(cache=apart.stacked(state.cache))


def _advance(
    config: DecoderConfig,
    policy: Policy,
    state: State,
    key: PRNGKeyArray,
    temperature: Float[Array, ""],
    sampling: Sampling,
    stop: Int[Array, ""],
) -> State:
    keys, policy = row_keys(key, state.rows), policy.over(sampling.max_tokens)

    def unfinished(state):
        return (state.step < stop) & jnp.any(state.open)

    def body(state):
        logits, hidden, cache = _step(config, policy, state, state.width + state.step - 1)
        if state.sums is not None:
            state = state.replace(sums=_pool(state.sums, hidden, state.sums.owed))
        return _record(state.replace(cache=cache), logits, keys, temperature, sampling)

    state = lax.while_loop(unfinished, body, state)
    if state.sums is None:
        return state
    # Rows that stop here still owe the hidden state of their last token.
    _, hidden, _ = _step(config, policy, state, state.width + state.step - 1)
    leaves = state.sums.owed & (~state.open | (state.step == sampling.max_tokens))
    return state.replace(sums=_pool(state.sums, hidden, leaves))


def kept(state: State, columns: Int[Array, "members rows"]) -> State:
    """The rows of ``columns`` alone, chosen per member."""

    def take(leaf, axis):
        return jax.vmap(lambda one, at: jnp.take(one, at, axis=axis - 1))(leaf, columns)

    cache = jax.tree.map(lambda leaf: take(leaf, 2), state.cache)
    rest = state.replace(cache=None)
    return jax.tree.map(lambda leaf: take(leaf, 1) if leaf.ndim else leaf, rest).replace(cache=cache)
