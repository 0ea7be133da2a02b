"""Teacher-forced scoring: log-probs and indicators of given completions in one pass."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Int

from jaxpsn.core import checks
from jaxpsn.core.errors import refuse
from jaxpsn.lm import attention, distribution, model
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.policies import Clean, Policy, Redrawn
from jaxpsn.lm.prompts import Prompts


@struct.dataclass
class Scores:
    """What a policy thinks of given completions; zero beyond their lengths. See ``sampler.Samples``."""

    log_probs: Any  # f32[M, R, T]
    entropy: Any  # f32[M, R, T], nats
    certainty: Any  # f32[M, R]: mean KL(U || p)
    confidence: Any  # f32[M, R]: mean KL(p || U)
    pooled: Any  # f32[M, R, hidden]: mean final hidden state of the completion's tokens


def _readings(config, temperature, vocab, params, hidden, tokens):
    """``[3, rows, time]``: log-prob, entropy and certainty of every position."""
    logits = model.logits(config, params, hidden)[..., :vocab]
    scaled = distribution.tempered(logits, temperature)
    found = (distribution.log_prob(scaled, tokens), distribution.entropy(scaled), distribution.certainty(scaled))
    return jnp.stack(found)


def _in_chunks(readings: Any, hidden: Array, tokens: Array, chunk: int) -> Array:
    """``readings(hidden, tokens)`` some time steps after another, recomputed in the backward pass."""
    rows, time = tokens.shape
    count = -(-time // chunk)
    spare = count * chunk - time
    hidden = jnp.pad(hidden, ((0, 0), (0, spare), (0, 0))).reshape(rows, count, chunk, -1)
    tokens = jnp.pad(tokens, ((0, 0), (0, spare))).reshape(rows, count, chunk)
    parts = (jnp.moveaxis(hidden, 1, 0), jnp.moveaxis(tokens, 1, 0))
    found = lax.map(jax.checkpoint(lambda part: readings(*part)), parts)
    return jnp.moveaxis(found, 0, 2).reshape(-1, rows, count * chunk)[..., :time]


def _judge(config, temperature, vocab, chunk, params, before, after, tokens, lengths):
    """Readings and the sum of hidden states, of the states before and after each of the tokens."""
    time = tokens.shape[1]
    readings = partial(_readings, config, temperature, vocab, params)
    found = _in_chunks(readings, before, tokens, min(chunk, time)) if chunk else readings(before, tokens)
    places = jnp.arange(time, dtype=jnp.int32)[None]
    here = places < lengths[:, None]
    after = jnp.where(here[..., None], after.astype(jnp.float32), 0.0)
    return jnp.where(here[None], found, 0.0), jnp.sum(after, axis=1)


def _token_by_token(
    config: DecoderConfig, policy: Redrawn, prompts: Prompts, tokens: Any, temperature: Any, vocab: int
):
    """Readings ``[M, 3, R, T]`` and hidden states ``[M, R, T, d]`` of tokens that each have a policy of their own.

    One after another through a cache, as they were drawn: a position keeps the keys and values of its own pass.
    """
    members, count, time = tokens.shape
    policy, width = policy.over(time), prompts.width
    start = width - jnp.asarray(prompts.lengths, jnp.int32)

    def judged(params, hidden, target):
        return _readings(config, temperature, vocab, params, hidden[:, None], target[:, None])[..., 0]

    def begin(params, x):
        cache = model.empty_cache(config, count, width + time, params["embed"]["embedding"].dtype)
        hidden, cache = model.hidden_states(config, params, x["prompt"], x["start"], cache, 0)
        return judged(params, hidden[:, -1], x["target"]), cache

    def go_on(slot):
        def read(params, x):
            hidden, cache = model.hidden_states(config, params, x["token"][:, None], x["start"], x["cache"], slot)
            return judged(params, hidden[:, 0], x["target"]), hidden[:, 0], cache

        return read

    def step(cache, here):
        place, token, target = here
        x = {"token": token, "target": target, "start": starts, "cache": cache}
        readings, hidden, cache = policy.at(place).apply(go_on(width + place - 1), x)
        return cache, (readings, hidden)

    starts = jnp.broadcast_to(start[None], (members, count))
    prompt = jnp.broadcast_to(jnp.asarray(prompts.tokens, jnp.int32)[None], (members, count, width))
    first = {"prompt": prompt, "start": starts, "target": tokens[:, :, 0]}
    found, cache = policy.at(0).apply(begin, first)
    # The pass of the last token is for its hidden state alone.
    following = jnp.moveaxis(tokens, 2, 0)
    targets = jnp.concatenate([following[1:], following[-1:]])
    places = jnp.arange(1, time + 1, dtype=jnp.int32)
    _, (readings, hidden) = lax.scan(step, cache, (places, following, targets))
    readings = jnp.concatenate([found[None], readings[:-1]])
    return jnp.moveaxis(readings, 0, -1), jnp.moveaxis(hidden, 0, 2)


def _read_redrawn(
    config: DecoderConfig, policy: Redrawn, prompts: Prompts, x: dict[str, Any], temperature: Any, vocab: int
) -> tuple[Array, Array]:
    """Readings of the answers' tokens, and the sum of their hidden states, of noise that is drawn anew within them."""
    tokens = jnp.asarray(x["tokens"], jnp.int32)
    found, after = _token_by_token(config, policy, prompts, tokens, temperature, vocab)
    here = jnp.arange(tokens.shape[2], dtype=jnp.int32)[None, None] < jnp.asarray(x["lengths"])[..., None]
    pooled = jnp.sum(jnp.where(here[..., None], after.astype(jnp.float32), 0.0), axis=2)
    return jnp.where(here[:, None], found, 0.0), pooled


def _flash(config: DecoderConfig, params: model.Params) -> bool:
    return config.flash and attention.fits_cudnn(params["embed"]["embedding"].dtype, config.head_dim)


def score(
    config: DecoderConfig,
    policy: Policy,
    prompts: Prompts,
    tokens: Int[Array | np.ndarray, "members rows time"],
    lengths: Int[Array | np.ndarray, "members_ rows_"],
    temperature: Any,
    remat: bool = False,
    chunk: int = 0,
    vocab: int | None = None,
) -> Scores:
    """Every member's view of its completions, teacher forced; differentiable in the policy's parameters.

    Logits are taken at completion positions only; with ``chunk`` above 0 for that many time steps at once, so that
    ``[rows, time, vocab]`` never exists whole. ``remat`` recomputes the layers in the backward pass. ``vocab``: real
    entries of a padded vocabulary. ``temperature`` as in ``sampler.sample``, of which these are the very log-probs
    (top-p and top-k apart). Members that all have the clean weights read each prompt once, unless cuDNN's flash
    kernel takes the whole texts: its memory is linear in their length. Noise that is drawn anew within answers is
    scored token by token, each with the draw that it was sampled with.
    """
    members, count = tokens.shape[:2]
    if (members, count) != (policy.members, prompts.tokens.shape[0]) or lengths.shape != (members, count):
        shape = f"[{policy.members} members, {prompts.tokens.shape[0]} prompts]"
        refuse("tokens, lengths", (tokens.shape, lengths.shape), f"both lead with {shape}")
    checks.whole("chunk", chunk, 0)
    vocab = config.vocab_size if vocab is None else vocab
    checks.whole("vocab", vocab, 1, config.vocab_size)
    width = prompts.width
    judge = partial(_judge, config, jnp.asarray(temperature, jnp.float32), vocab, chunk)
    start = width - jnp.asarray(prompts.lengths, jnp.int32)
    prompt = jnp.asarray(prompts.tokens, jnp.int32)

    def read(params, x, prompt=prompt, start=start):
        text = jnp.concatenate([prompt, x["tokens"]], axis=1)
        hidden, _ = model.hidden_states(config, params, text, start, remat=remat)
        return judge(params, hidden[:, width - 1 : -1], hidden[:, width:], x["tokens"], x["lengths"])

    def read_together(params, x):
        last, after = model.branch_states(config, params, prompt, start, x["tokens"], remat)
        first = jnp.broadcast_to(last[None, :, None], (members, count, 1, last.shape[-1]))
        before = jnp.concatenate([first, after[:, :, :-1]], axis=2)
        return jax.vmap(judge, (None, 0, 0, 0, 0))(params, before, after, x["tokens"], x["lengths"])

    def read_apart(params, x):
        # The answers to a prompt side by side, as rows: what a mesh cuts by prompts then stays where it is.
        rows = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:]), x)
        found, pooled = read(params, rows, jnp.repeat(prompt, members, axis=0), jnp.repeat(start, members))
        found = jnp.moveaxis(found.reshape(found.shape[0], count, members, -1), 2, 0)
        return found, jnp.swapaxes(pooled.reshape(count, members, -1), 0, 1)

    x = {"tokens": tokens, "lengths": lengths}
    if isinstance(policy, Redrawn):
        found, pooled = _read_redrawn(config, policy, prompts, x, jnp.asarray(temperature, jnp.float32), vocab)
    elif isinstance(policy, Clean) and members > 1:
        reader = read_apart if _flash(config, policy.params) else read_together
        found, pooled = reader(policy.params, x)
    else:
        found, pooled = policy.apply(read, x)
    return _scores(found, pooled, lengths, vocab)


def score_texts(
    config: DecoderConfig,
    policy: Policy,
    tokens: Int[Array, "members rows time"],
    lengths: Int[Array, "members rows"],
    first: Int[Array, "members rows"],
    most: int,
    temperature: Any,
    remat: bool = False,
    chunk: int = 0,
    vocab: int | None = None,
) -> Scores:
    """As :func:`score`, of whole texts that begin at their first slot, of which what follows ``first`` is judged.

    ``first`` is at least 1 where a text has tokens, and every member has texts of its own. Scores are those of the
    tokens from ``first`` on, ``[members, rows, min(most, time - 1)]``: no text has more than ``most`` of them. Above 0
    ``chunk`` is the number of tokens of a member, in all of its rows, whose logits exist at once.
    """
    vocab, judged = config.vocab_size if vocab is None else vocab, min(most, tokens.shape[2] - 1)
    steps = chunk and max(1, chunk // tokens.shape[1])
    judge = partial(_judge, config, jnp.asarray(temperature, jnp.float32), vocab, steps)

    def read(params, x):
        start = jnp.zeros((x["tokens"].shape[0],), jnp.int32)
        hidden, _ = model.hidden_states(config, params, x["tokens"], start, remat=remat)
        # Logits are dear: the states of the prompt, and of what would lie beyond the longest answer, have none.
        hidden = model.rolled(hidden, x["first"] - 1)[:, : judged + 1]
        answers = model.rolled(x["tokens"], x["first"])[:, :judged]
        return judge(params, hidden[:, :-1], hidden[:, 1:], answers, x["lengths"] - x["first"])

    found, pooled = policy.apply(read, {"tokens": tokens, "lengths": lengths, "first": first})
    return _scores(found, pooled, lengths - first, vocab)


def _scores(found: Array, pooled: Array, lengths: Array, vocab: int) -> Scores:
    """Readings ``[M, 3, R, T]`` and sums of hidden states, as scores of so many tokens each."""
    tokens_in = jnp.maximum(lengths, 1).astype(jnp.float32)
    log_probs, entropy, certainty = found[:, 0], found[:, 1], found[:, 2]
    confidence = jnp.log(jnp.float32(vocab)) * (lengths > 0).astype(jnp.float32) - jnp.sum(entropy, axis=-1) / tokens_in
    return Scores(
        log_probs, entropy, jnp.sum(certainty, axis=-1) / tokens_in, confidence, pooled / tokens_in[..., None]
    )
